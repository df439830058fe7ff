r"""The linear equations that say how values scale, and their null spaces.

Under a scaling, a value is multiplied along its axis by :math:`a_i^e` at channel `i`.
Each operation gives a linear equation between the unknown exponents `e` (and one modulo
2 for signs); what solves them all is the group. The channels of a space all have the
same equations, so they are solved once for each space.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from symjax_lib.symmetry.axes import Axes, Axis
from symjax_lib.symmetry.places import Places

Unknown = tuple[Axis, int]
"""The exponent of an axis at one of the leaves that the axis is the product of."""


class Term(NamedTuple):
    """A multiple of an axis's exponent: `power` for sizes, `parity` for signs."""

    axis: Axis
    power: float
    parity: int


class Equations:
    """Collects equations between exponents; `expand` sorts them by space."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self._sizes: list[Sequence[Term]] = []
        self._signs: list[Sequence[Term]] = []
        self._made_of: list[_Relation] = []

    def balance(self, terms: Sequence[Term]) -> None:
        """States that the terms add up to zero, for sizes and for signs."""
        self._sizes.append(terms)
        self._signs.append(terms)

    def equal(self, a: Axis, b: Axis) -> None:
        """States that two axes have one exponent."""
        self.balance([Term(a, 1, 1), Term(b, -1, 1)])

    def zero(self, axis: Axis) -> None:
        """States that nothing along an axis may change size or sign."""
        self.balance([Term(axis, 1, 1)])

    def unsigned(self, axis: Axis) -> None:
        """States that nothing along an axis may change its sign."""
        self._signs.append([Term(axis, 1, 1)])

    def unscaled(self, axis: Axis) -> None:
        """States that nothing along an axis may change its size."""
        self._sizes.append([Term(axis, 1, 1)])

    def made_of(
        self,
        axis: Axis,
        parts: Sequence[Axis],
        positions: Sequence[np.ndarray] | None = None,
    ) -> None:
        """States that an axis is transformed as its factors, or as its pieces."""
        self._made_of.append(_Relation(axis, parts, positions))

    def expand(self) -> tuple[dict[Axis, list], dict[Axis, list]]:
        """Returns the equations of every space, for sizes and for signs."""
        sizes, signs = defaultdict(list), defaultdict(list)
        for terms in self._sizes:
            for space, unknowns in self._unknowns([term.axis for term in terms]):
                sizes[space].append(_row(unknowns, [term.power for term in terms]))
        for terms in self._signs:
            for space, unknowns in self._unknowns([term.axis for term in terms]):
                signs[space].append(_row(unknowns, [term.parity for term in terms]))
        places = Places(self._axes)
        for relation in self._made_of:
            for space, unknowns in _ties(places, relation):
                if not self._axes.mixed(space):
                    values = [1, -1][: len(unknowns)]
                    sizes[space].append(_row(unknowns, values))
                    signs[space].append(_row(unknowns, [abs(v) for v in values]))
        return sizes, signs

    def _unknowns(self, axes: Sequence[Axis]) -> Iterator[tuple[Axis, list[Unknown]]]:
        for i, space in enumerate(self._axes.leaves(axes[0])):
            if not self._axes.mixed(space):
                yield space, [(axis, i) for axis in axes]


class _Relation(NamedTuple):
    """An axis and its factors or, with positions, its pieces."""

    axis: Axis
    parts: Sequence[Axis]
    positions: Sequence[np.ndarray] | None


def _ties(
    places: Places, relation: _Relation
) -> Iterator[tuple[Axis, tuple[Unknown, ...]]]:
    """Returns which exponents of an axis and of its parts must be equal.

    They are found by looking at positions, as the axis may have been cut or factored
    in other ways since. An exponent with no counterpart is alone, and must be 0.
    """
    axis, parts, positions = relation
    done = set()
    samples = *places.sample(axis), *places.sample_parts(parts, positions)
    for position in samples:
        whole = [(leaf, (axis, i)) for i, leaf in places.at(axis, position)]
        split = [
            (leaf, (part, i))
            for part, at in places.split(position, parts, positions)
            for i, leaf in places.at(part, at)
        ]
        for leaf in dict.fromkeys(leaf for leaf, _ in (*whole, *split)):
            here = [unknown for each, unknown in whole if each == leaf]
            there = [unknown for each, unknown in split if each == leaf]
            for pair in itertools.zip_longest(here, there):
                unknowns = tuple(unknown for unknown in pair if unknown is not None)
                if unknowns not in done:
                    done.add(unknowns)
                    yield leaf, unknowns


def _row(unknowns: Sequence[Unknown], values: Sequence[float]) -> dict[Unknown, float]:
    row: dict[Unknown, float] = defaultdict(float)
    for unknown, value in zip(unknowns, values, strict=True):
        row[unknown] += value
    return row
