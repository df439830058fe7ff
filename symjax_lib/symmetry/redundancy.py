"""Leaves out scalings of an axis that the spaces which vary over it have already.

A factor for each head is also a factor for all channels of each head.
"""

from typing import Any

import numpy as np

from symjax_lib.symmetry import counting, linear
from symjax_lib.symmetry.spec import (
    ArraySpec,
    Factor,
    combinations,
    factors,
    kind_of,
    map_factors,
)


def reduce(solved: Any, whole: str | None) -> Any:
    """Returns spaces and specs (`spaces.Solved`) with the modes needed only.

    Args:
      solved: with all modes.
      whole: the space of size 1 of scalings of whole arrays, if there is one.
    """
    outer = {label for space in solved.spaces.values() for label in space.over}
    arrays = [*solved.parameters.values(), *solved.taps.values()]
    entries = [entry for array in arrays for entry in combinations(array)]
    for name in sorted(solved.spaces, key=lambda name: name != whole):
        if name in outer or name == whole:
            subset = frozenset([name] if name != whole else [])
            scalings, signs = (
                _needed(solved.spaces, entries, name, subset, of)
                for of in ("scalings", "signs")
            )
            solved = _keep(solved, name, scalings, signs)
    return solved


def _needed(
    spaces: Any, entries: Any, name: str, subset: frozenset[str], of: str
) -> list[int]:
    """Returns the modes of a space that no combination of other modes equals.

    Args:
      spaces: all, by name.
      entries: the factors of each kind of entry of the arrays.
      name: of the space.
      subset: what its modes depend on: the space, or nothing if it has one channel.
      of: "scalings" or "signs".
    """
    matrix = counting.exponents(spaces, entries, subset, of=of)
    modulo = 2 if of == "signs" else 0
    relevant = [s for s in spaces.values() if subset <= {*s.over, s.name}]
    ends = np.cumsum([getattr(space, of) for space in relevant])
    own = [s.name for s in relevant].index(name)
    columns = range(ends[own] - getattr(spaces[name], of), ends[own])
    kept = [c for c in range(matrix.shape[1]) if c not in columns]
    needed = []
    for mode, column in enumerate(columns):
        more = linear.rank(matrix[:, [*kept, column]], modulo)
        if more > linear.rank(matrix[:, kept], modulo):
            kept.append(column)
            needed.append(mode)
    return needed


def _keep(solved: Any, name: str, scalings: list[int], signs: list[int]) -> Any:
    """Returns the spaces and specs with only some modes of one space."""
    space = solved.spaces[name]
    gone = not (scalings or signs or space.permuted)

    def shorter(factor: Factor) -> Factor:
        if factor.label != name or factor.scalings is None:
            return factor
        if gone:
            return Factor(factor.size, name)
        return factor._replace(
            scalings=tuple(factor.scalings[i] for i in scalings),
            signs=tuple(factor.signs[i] for i in signs),
        )

    arrays = {
        field: {
            path: ArraySpec(
                tuple(map_factors(shorter, axis) for axis in array.axes),
                shorter(array.whole),
            )
            for path, array in getattr(solved, field).items()
        }
        for field in ("taps", "parameters", "outputs")
    }
    if gone:
        spaces = {k: s for k, s in solved.spaces.items() if k != name}
        return solved._replace(spaces=spaces, **arrays)
    first = next(
        factor
        for array in (*arrays["taps"].values(), *arrays["parameters"].values())
        for axis in (*array.axes, array.whole)
        for factor in factors(axis)
        if factor.label == name
    )
    moved = bool(scalings), bool(signs)
    if space.permuted:
        moved = any(first.scalings or ()), any(first.signs)
    space = space._replace(
        kind=kind_of(*moved, permuted=space.permuted),
        scalings=len(scalings),
        signs=len(signs),
    )
    return solved._replace(spaces={**solved.spaces, name: space}, **arrays)
