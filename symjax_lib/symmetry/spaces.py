"""Reads the spaces and their groups off a graph of axes and equations."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from symjax_lib.symmetry import exponents
from symjax_lib.symmetry.axes import Axis
from symjax_lib.symmetry.graph import Graph, Value
from symjax_lib.symmetry.spec import ArraySpec, Factor, Space


class Solved(NamedTuple):
    """Spaces by name, specs of all arrays by path, and why other axes are fixed."""

    spaces: dict[str, Space]
    parameters: dict[str, ArraySpec]
    taps: dict[str, ArraySpec]
    fixed: dict[str, str]


class _Place(NamedTuple):
    """One factor of one axis of a parameter or tap."""

    label: str
    unknown: exponents.Unknown
    leaf: Axis


def solve(
    graph: Graph, parameters: Mapping[str, Value], taps: Mapping[str, Value]
) -> Solved:
    """Names the spaces, solves their equations, and says what each axis means.

    Args:
      graph: axes and equations of the whole function.
      parameters: the variables' axes by path, in the order of their use.
      taps: the named values' axes.
    """
    axes = graph.axes
    places = {
        leaf: [place for place in _places(graph, parameters) if place.leaf == leaf]
        for leaf in dict.fromkeys(place.leaf for place in _places(graph, parameters))
        if axes.fixed(leaf) is None
    }
    by_tap = {}
    for place in _places(graph, taps):
        by_tap.setdefault(place.leaf, []).append(place)
    sizes, signs = graph.equations.expand()
    spaces: dict[str, Space] = {}
    factors: dict[exponents.Unknown, Factor] = {}
    for leaf, touched in places.items():
        named = by_tap.get(leaf, [])
        members = [*named, *touched]
        unknowns = [place.unknown for place in members]
        scaling = exponents.scalings(sizes.get(leaf, []), unknowns)
        sign = exponents.signs(signs.get(leaf, []), unknowns)
        space = _space(graph, leaf, members, scaling, sign, taken=spaces)
        moves = space.scalings or space.signs or space.size > 1
        if not moves or not space.size:
            continue
        spaces[space.name] = space
        for i, unknown in enumerate(unknowns):
            powers, parities = (
                tuple(scaling[:, i].tolist()),
                tuple(map(int, sign[:, i])),
            )
            factors[unknown] = Factor(space.size, space.name, powers, parities)
    fixed = {
        place.label: reason
        for place in _places(graph, parameters)
        if (reason := axes.fixed(place.leaf)) is not None
    }
    specs = lambda arrays: {
        path: ArraySpec(tuple(_factors(graph, axis, factors) for axis in value))
        for path, value in arrays.items()
    }
    return Solved(spaces, specs(parameters), specs(taps), fixed)


def _places(graph: Graph, arrays: Mapping[str, Value]) -> Iterator[_Place]:
    for path, value in arrays.items():
        for i, axis in enumerate(value):
            for position, leaf in enumerate(graph.axes.leaves(axis)):
                yield _Place(f"{path}:{i}", (axis, position), leaf)


def _factors(
    graph: Graph, axis: Axis, factors: Mapping[exponents.Unknown, Factor]
) -> tuple[Factor, ...]:
    """Returns the factors of an axis, or none of them if nothing acts on it."""
    found = [
        factors.get((axis, i), Factor(graph.axes.size[leaf]))
        for i, leaf in enumerate(graph.axes.leaves(axis))
    ]
    return tuple(found) if any(factor.space for factor in found) else ()


def _space(
    graph: Graph,
    leaf: Axis,
    members: Sequence[_Place],
    scaling: np.ndarray,
    sign: np.ndarray,
    *,
    taken: Mapping[str, Space],
) -> Space:
    size, label = graph.axes.size[leaf], members[0].label
    name = label.removesuffix(":" + label.split(":")[-1])
    number = 1
    while name in taken:  # several spaces on one axis
        name = label if number == 1 else f"{label}.{number}"
        number += 1
    kinds = {
        (True, True): "monomial",
        (True, False): "positive_monomial",
        (False, True): "signed_permutation",
        (False, False): "permutation",
    }
    # The group as it acts where the space is named; there may be more elsewhere.
    kind = kinds[bool(scaling[:, 0].any()), bool(sign[:, 0].any())]
    linear = graph.axes.straight(leaf) and len(scaling) == 1
    if linear and size > 1 and (np.abs(scaling) == 1).all():
        kind = "general_linear"
    touches = tuple(dict.fromkeys(place.label for place in members))
    return Space(name, size, kind, len(scaling), len(sign), touches)
