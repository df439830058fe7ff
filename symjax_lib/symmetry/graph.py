"""The axes of the values of a program, and the equations between their exponents."""

from collections.abc import Sequence

from symjax_lib.symmetry.axes import Axes, Axis
from symjax_lib.symmetry.exponents import Equations

Value = list[Axis]
"""A value is known by its axes."""


class Graph:
    """The axes of a program and the equations between them."""

    def __init__(self) -> None:
        self.axes = Axes()
        self.equations = Equations(self.axes)

    def value(self, shape: Sequence[int]) -> Value:
        """Returns a value with new axes."""
        return [self.axes.new(size) for size in shape]

    def fix(self, axis: Axis, reason: str) -> None:
        """Allows nothing on an axis."""
        self.axes.fix(axis, reason)

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
