"""Where along an axis its leaves are, once all axes have been joined."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from symjax_lib.symmetry.axes import Axes, Axis, Product


class Places:
    """Looks up leaves by position; `axes.leaves` numbers them in the same order."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self._samples: dict[Axis, list[int]] = {}

    def at(self, axis: Axis, position: int) -> list[tuple[int, Axis]]:
        """Returns the leaves at a position, outermost first, each with its number."""
        form = self._axes.form(axis)
        if form is None:
            return [(0, self._axes.find(axis))]
        positions = None if isinstance(form, Product) else form.positions
        inner = dict(self.split(position, form.parts, positions, numbered=True))
        found, first = [], 0
        for i, part in enumerate(form.parts):
            if i in inner:
                found += [(first + k, leaf) for k, leaf in self.at(part, inner[i])]
            first += len(self.sample(part))
        return found

    def split(
        self,
        position: int,
        parts: Sequence[Axis],
        positions: Sequence[np.ndarray] | None,
        *,
        numbered: bool = False,
    ) -> list[tuple[Axis, int]]:
        """Returns the parts that a position is made of, and the position in each."""
        names = range(len(parts)) if numbered else parts
        if positions is None:
            sizes = [self._axes.size[part] for part in parts]
            digits = np.unravel_index(position, sizes)
            return [(name, int(d)) for name, d in zip(names, digits, strict=True)]
        for name, at in zip(names, positions, strict=True):
            if (found := np.flatnonzero(at == position)).size:
                return [(name, int(found[0]))]
        return []

    def sample(self, axis: Axis) -> list[int]:
        """Returns one position for each leaf of an axis, in order."""
        root = self._axes.find(axis)
        if root not in self._samples:
            form = self._axes.form(axis)
            if form is None:
                self._samples[root] = [0]
            else:
                positions = None if isinstance(form, Product) else form.positions
                self._samples[root] = list(self.sample_parts(form.parts, positions))
        return self._samples[root]

    def sample_parts(
        self, parts: Sequence[Axis], positions: Sequence[np.ndarray] | None
    ) -> Iterator[int]:
        """Returns positions of a whole that meet all leaves of its parts, in order."""
        for i, part in enumerate(parts):
            stride = math.prod(self._axes.size[p] for p in parts[i + 1 :])
            for p in self.sample(part):
                yield p * stride if positions is None else int(positions[i][p])
