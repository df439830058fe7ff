"""Which axes carry the same channels: union-find over axes and products of axes."""

import math
from collections.abc import Sequence

Axis = int
"""An axis of one value; two axes in one class are permuted together."""


class Axes:
    """Classes of axes. A class may be a product of others, as after a flatten.

    Example:
      >>> axes = Axes()
      >>> height, channels, flat = axes.new(4), axes.new(3), axes.new(12)
      >>> axes.unify(flat, axes.product([height, channels]))
      >>> axes.leaves(flat) == [axes.find(height), axes.find(channels)]
      True
    """

    def __init__(self) -> None:
        self.size: list[int] = []
        self._parent: list[Axis] = []
        self._parts: dict[Axis, list[Axis]] = {}
        self._reason: dict[Axis, str] = {}
        self._curved: set[Axis] = set()

    def new(self, size: int) -> Axis:
        """Returns a new axis in a class of its own."""
        self.size.append(size)
        self._parent.append(len(self._parent))
        return len(self._parent) - 1

    def product(self, parts: Sequence[Axis]) -> Axis:
        """Returns a new axis over all tuples of its parts, the last the fastest."""
        axis = self.new(math.prod(self.size[part] for part in parts))
        self._parts[axis] = list(parts)
        return axis

    def find(self, axis: Axis) -> Axis:
        """Returns the representative of an axis's class."""
        while self._parent[axis] != axis:
            self._parent[axis] = self._parent[self._parent[axis]]
            axis = self._parent[axis]
        return axis

    def leaves(self, axis: Axis) -> list[Axis]:
        """Returns the classes without parts that an axis is the product of."""
        root = self.find(axis)
        if root not in self._parts:
            return [root]
        return [leaf for part in self._parts[root] for leaf in self.leaves(part)]

    def unify(self, a: Axis, b: Axis) -> None:
        """Puts two axes of one size in one class, and their parts likewise."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return
        if a in self._parts and b in self._parts:
            self._match(self._parts[a], self._parts[b])
        if a in self._parts:
            a, b = b, a
        # From here on `a`, which has no parts unless both have, points to `b`.
        reason, curved = self._reason.pop(a, None), a in self._curved
        self._parent[a] = b
        self._parts.pop(a, None)
        if curved:
            self.bend(b)
        if reason is not None:
            self.fix(b, reason)

    def _match(self, left: Sequence[Axis], right: Sequence[Axis]) -> None:
        """Matches two factorisations of one axis, the finer splitting the coarser."""
        left, right = list(left), list(right)
        while left and right:
            a, b = left.pop(0), right.pop(0)
            if self.size[a] == self.size[b]:
                self.unify(a, b)
                continue
            if self.size[a] > self.size[b]:
                a, b, left, right = b, a, right, left
            # `b` is the coarser: take as many factors from the left as fill it.
            factors = [a]
            while (
                left and math.prod(map(self.size.__getitem__, factors)) < self.size[b]
            ):
                factors.append(left.pop(0))
            if math.prod(map(self.size.__getitem__, factors)) != self.size[b]:
                for axis in (*factors, b, *left, *right):
                    self.fix(axis, "reshapes that overlap")
                return
            self.unify(self.product(factors), b)

    def fix(self, axis: Axis, reason: str) -> None:
        """Allows nothing but the identity on an axis."""
        for leaf in self.leaves(axis):
            self._reason.setdefault(leaf, reason)

    def fixed(self, leaf: Axis) -> str | None:
        """Returns why a leaf is fixed, or None if it is free."""
        return self._reason.get(self.find(leaf))

    def bend(self, axis: Axis) -> None:
        """Notes an operation that singles out coordinates, so matrices do not pass."""
        for leaf in self.leaves(axis):
            self._curved.add(leaf)

    def straight(self, leaf: Axis) -> bool:
        """Tells whether all operations along a leaf are linear maps of the whole."""
        return self.find(leaf) not in self._curved
