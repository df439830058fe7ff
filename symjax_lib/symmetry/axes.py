"""Which axes carry the same channels: union-find over axes, factors and pieces."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Axis = int
"""An axis of one value; two axes in one class are permuted together."""


_DEEPEST = 64
"""Pieces in pieces, or products, more than these are not followed."""


class Product(NamedTuple):
    """All tuples of some axes, the last the fastest, as after a flatten."""

    parts: Sequence[Axis]


class Pieces(NamedTuple):
    """Axes side by side, as after a concatenation; each with its positions."""

    parts: Sequence[Axis]
    positions: Sequence[np.ndarray]


class Axes:
    """Classes of axes. A class may be a product of others, or consist of pieces.

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
        self._form: dict[Axis, Product | Pieces] = {}
        self._reason: dict[Axis, str] = {}
        self._curved: set[Axis] = set()
        self._mixed: set[Axis] = set()
        self._depth = 0

    def new(self, size: int) -> Axis:
        """Returns a new axis in a class of its own."""
        self.size.append(size)
        self._parent.append(len(self._parent))
        return len(self._parent) - 1

    def product(self, parts: Sequence[Axis]) -> Axis:
        """Returns an axis over all tuples of its parts, the last the fastest."""
        if len(parts) == 1:
            return parts[0]
        axis = self.new(math.prod(self.size[part] for part in parts))
        self._form[axis] = Product(list(parts))
        return axis

    def pieces(self, parts: Sequence[Axis], positions: Sequence[np.ndarray]) -> Axis:
        """Returns a new axis that has each part at the positions given for it."""
        axis = self.new(sum(self.size[part] for part in parts))
        self._form[axis] = Pieces(list(parts), list(positions))
        return axis

    def find(self, axis: Axis) -> Axis:
        """Returns the representative of an axis's class."""
        while self._parent[axis] != axis:
            self._parent[axis] = self._parent[self._parent[axis]]
            axis = self._parent[axis]
        return axis

    def form(self, axis: Axis) -> Product | Pieces | None:
        """Returns what an axis is made of, or None for a leaf."""
        return self._form.get(self.find(axis))

    def leaves(self, axis: Axis) -> list[Axis]:
        """Returns the classes without parts that an axis is made of, in order."""
        form = self.form(axis)
        if form is None:
            return [self.find(axis)]
        return [leaf for part in form.parts for leaf in self.leaves(part)]

    def unify(self, a: Axis, b: Axis) -> None:
        """Puts two axes of one size in one class, and their parts likewise."""
        self._depth += 1
        self._unify(self.find(a), self.find(b))
        self._depth -= 1

    def _unify(self, a: Axis, b: Axis) -> None:
        if a == b:
            return
        # Such as `x + roll(x, 1)`, where one position after the other is cut off.
        deep = self._depth > _DEEPEST
        if deep or self._inside(a, b) or self._inside(b, a):
            self.mix(a, "positions of one axis that are tied to others of it")
            self.mix(b, "positions of one axis that are tied to others of it")
            return
        left, right = self._form.get(a), self._form.get(b)
        if isinstance(left, Product) and isinstance(right, Product):
            self._match(left.parts, right.parts)
        elif isinstance(left, Pieces) and isinstance(right, Pieces):
            self._refine(left, right)
        elif isinstance(left, Product) and isinstance(right, Pieces):
            self._distribute(left, right)
        elif isinstance(left, Pieces) and isinstance(right, Product):
            self._distribute(right, left)
            a, b = b, a
        elif left is not None:
            a, b = b, a
        # From here on `a`, which has no form that `b` has not, points to `b`.
        a, b = self.find(a), self.find(b)
        if a != b:
            self._join(a, b)

    def _join(self, a: Axis, b: Axis) -> None:
        reason, curved, mixed = (
            self._reason.pop(a, None),
            a in self._curved,
            a in self._mixed,
        )
        self._parent[a] = b
        self._form.pop(a, None)
        if curved:
            self.bend(b)
        if mixed:
            self._mixed.update(self.leaves(b))
        if reason is not None:
            self.fix(b, reason)

    def _inside(self, a: Axis, b: Axis) -> bool:
        form = self._form.get(b)
        return form is not None and any(
            self.find(part) == a or self._inside(a, self.find(part))
            for part in form.parts
        )

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
            while left and self._volume(factors) < self.size[b]:
                factors.append(left.pop(0))
            if self._volume(factors) != self.size[b]:
                for axis in (*factors, b, *left, *right):
                    self.mix(axis, "reshapes that overlap")
                return
            self.unify(self.product(factors), b)

    def _volume(self, parts: Sequence[Axis]) -> int:
        return math.prod(self.size[part] for part in parts)

    def _refine(self, left: Pieces, right: Pieces) -> None:
        """Cuts two lists of pieces of one axis where either is cut."""
        cuts: list[tuple[int, int, Axis, np.ndarray, np.ndarray]] = []
        for i, here in enumerate(left.positions):
            for j, there in enumerate(right.positions):
                _, at, of = np.intersect1d(here, there, return_indices=True)
                if at.size:
                    order = np.argsort(at)
                    cuts.append((i, j, self.new(at.size), at[order], of[order]))
        for i, part in enumerate(left.parts):
            self._cut(part, [(axis, at) for k, _, axis, at, _ in cuts if k == i])
        for j, part in enumerate(right.parts):
            self._cut(part, [(axis, of) for _, k, axis, _, of in cuts if k == j])

    def _cut(self, axis: Axis, cuts: Sequence[tuple[Axis, np.ndarray]]) -> None:
        (first, at), *_ = cuts
        if np.array_equal(at, np.arange(self.size[axis])):
            self.unify(axis, first)
        else:
            parts, positions = zip(*cuts, strict=True)
            self.unify(axis, self.pieces(parts, positions))

    def _distribute(self, product: Product, pieces: Pieces) -> None:
        """Writes pieces of a product as products of pieces of its factors."""
        sizes = [self.size[part] for part in product.parts]
        boxes = [_box(at, sizes) for at in pieces.positions]
        factors = [
            self._box_sides(part, [box[i] for box in boxes if box is not None])
            for i, part in enumerate(product.parts)
        ]
        if None in boxes or None in factors:
            for axis in (*product.parts, *pieces.parts):
                self.mix(axis, "pieces that cut across a product of axes")
            return
        for part, box in zip(pieces.parts, boxes, strict=True):
            sides = [f[side] for f, side in zip(factors, box or (), strict=True) if f]
            long = [side for side in sides if self.size[side] > 1]
            self.unify(part, self.product(long or sides[:1]))

    def _box_sides(
        self, part: Axis, sides: Sequence[tuple[int, ...]]
    ) -> dict[tuple[int, ...], Axis] | None:
        """Cuts a factor into the sides of boxes, if they are equal or disjoint."""
        distinct = list(dict.fromkeys(sides))
        if sorted(i for side in distinct for i in side) != list(range(self.size[part])):
            return None
        axes = {side: self.new(len(side)) for side in distinct}
        self._cut(part, [(axis, np.array(side)) for side, axis in axes.items()])
        return axes

    def fix(self, axis: Axis, reason: str) -> None:
        """Allows nothing but the identity on an axis."""
        for leaf in self.leaves(axis):
            self._reason.setdefault(leaf, reason)

    def fixed(self, leaf: Axis) -> str | None:
        """Returns why a leaf is fixed, or None if it is free."""
        return self._reason.get(self.find(leaf))

    def mix(self, axis: Axis, reason: str) -> None:
        """Allows nothing on an axis and its class, and nothing that varies over it."""
        self.fix(axis, reason)
        self._mixed.update(self.leaves(axis))

    def mixed(self, leaf: Axis) -> bool:
        """Tells whether positions along a leaf are mixed with each other."""
        return self.find(leaf) in self._mixed

    def bend(self, axis: Axis) -> None:
        """Notes an operation that singles out coordinates, so matrices do not pass."""
        self._curved.update(self.leaves(axis))

    def straight(self, leaf: Axis) -> bool:
        """Tells whether all operations along a leaf are linear maps of the whole."""
        return self.find(leaf) not in self._curved


def _box(positions: np.ndarray, sizes: Sequence[int]) -> list[tuple[int, ...]] | None:
    """Returns the sides of the box that positions in a product are, in their order."""
    digits = np.unravel_index(positions, sizes)
    sides = [tuple(dict.fromkeys(digit.tolist())) for digit in digits]
    grid = np.ravel_multi_index(np.meshgrid(*sides, indexing="ij"), sizes)
    return sides if np.array_equal(grid.ravel(), positions) else None
