"""The axes of the values of a program, and the equations between their exponents."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from symjax_lib.symmetry.axes import Axes, Axis
from symjax_lib.symmetry.exponents import Equations

Value = list[Axis]
"""A value is known by its axes."""


class Graph:
    """The axes of a program and the equations between them."""

    def __init__(self) -> None:
        self.axes = Axes()
        self.equations = Equations(self.axes)
        # What is seen together, from which `fibres` tells which axes vary over others.
        self.seen: list[Value] = []
        self._around: Value = []
        self._lines: list[tuple[Value, str]] = []

    def value(self, shape: Sequence[int]) -> Value:
        """Returns a value with new axes."""
        return [self.axes.new(size) for size in shape]

    def see(self, value: Value) -> None:
        """Notes the axes of a value, or of all the indices that an operation runs over.

        Whatever differs along one axis from position to position of another must have
        that other axis beside it wherever it is seen.
        """
        self.seen.append([*value, *self._around])

    @contextmanager
    def inside(self, axis: Axis) -> Iterator[None]:
        """All that is seen meanwhile exists once for each position of an axis."""
        self._around.append(axis)
        yield
        self._around.pop()

    def mark(self, value: Value, line: str) -> None:
        """Notes the line of code of an activation."""
        self._lines.append((value, line))

    def first_lines(self) -> dict[Axis, str]:
        """Returns for each leaf the line of the first activation on it."""
        found: dict[Axis, str] = {}
        for value, line in self._lines:
            for axis in value:
                for leaf in self.axes.leaves(axis):
                    found.setdefault(leaf, line)
        return found

    def fix(self, axis: Axis, reason: str) -> None:
        """Allows nothing on an axis, and no permutations on those in its class."""
        self.axes.fix(axis, reason)
        self.equations.zero(axis)

    def mix(self, axis: Axis, reason: str) -> None:
        """Allows nothing at all in the class of an axis whose positions are mixed."""
        self.axes.mix(axis, reason)

    def is_mixed(self, axis: Axis) -> bool:
        """Tells whether nothing is allowed on an axis and all that will be joined."""
        return all(self.axes.mixed(leaf) for leaf in self.axes.leaves(axis))

    def freeze(self, axis: Axis) -> None:
        """Allows permutations only on an axis."""
        self.equations.zero(axis)
        self.axes.bend(axis)

    def ordered(self, axis: Axis) -> None:
        """Allows nothing on an axis that reverses an order: no signs, no matrices."""
        self.equations.unsigned(axis)
        self.axes.bend(axis)

    def same(self, a: Axis, b: Axis) -> None:
        """Joins two axes that are transformed alike."""
        self.axes.unify(a, b)
        self.equations.equal(a, b)

    def product(self, parts: Sequence[Axis]) -> Axis:
        """Returns an axis that is transformed as the product of its parts."""
        axis = self.axes.product(parts)
        if len(parts) > 1:
            self.equations.made_of(axis, parts)
        return axis

    def pieces(self, parts: Sequence[Axis], positions: Sequence[np.ndarray]) -> Axis:
        """Returns an axis that is transformed as its parts are, each at its places."""
        axis = self.axes.pieces(parts, positions)
        self.equations.made_of(axis, parts, positions)
        return axis

    def cut(self, axis: Axis, positions: Sequence[np.ndarray]) -> list[Axis]:
        """Returns new axes for pieces of an axis; what is left over is cut off too."""
        if self.is_mixed(axis):
            reason = "positions along this axis are treated differently"
            parts = [self.axes.new(len(at)) for at in positions]
            for each in (axis, *parts):
                self.mix(each, reason)
            return parts
        rest = np.setdiff1d(np.arange(self.axes.size[axis]), np.concatenate(positions))
        places = [at for at in (*positions, rest) if at.size]
        parts = [self.axes.new(len(at)) for at in (*positions, rest)]
        used = [part for part in parts if self.axes.size[part]]
        self.same(axis, self.pieces(used, places))
        return parts[: len(positions)]
