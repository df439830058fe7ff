"""Reads the spaces and their groups off a graph of axes and equations."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from symjax_lib.symmetry import axes as forms, exponents, linear, redundancy
from symjax_lib.symmetry.axes import Axis
from symjax_lib.symmetry.fibres import outer_axes
from symjax_lib.symmetry.graph import Graph, Value
from symjax_lib.symmetry.spec import (
    ArraySpec,
    AxisSpec,
    Factor,
    Pieces,
    Product,
    Space,
    factors,
    kind_of,
)


class Solved(NamedTuple):
    """Spaces by name, specs of all arrays by path, and why other axes are fixed."""

    spaces: dict[str, Space]
    parameters: dict[str, ArraySpec]
    taps: dict[str, ArraySpec]
    outputs: dict[str, ArraySpec]
    fixed: dict[str, str]


class _Place(NamedTuple):
    """One leaf of one axis of a parameter or tap."""

    label: str
    unknown: exponents.Unknown
    leaf: Axis


def solve(
    graph: Graph,
    parameters: Mapping[str, Value],
    taps: Mapping[str, Value],
    outputs: Mapping[str, Value],
) -> Solved:
    """Names the spaces, solves their equations, and says what each axis means.

    Args:
      graph: axes and equations of the whole function.
      parameters: the variables' axes by path, in the order of their use, and after
        them the axis of size 1 for all of each variable.
      taps: the named values' axes, likewise.
      outputs: those of the outputs that are transformed as variables are.
    """
    places = _by_leaf(graph, parameters)
    whole = graph.axes.find(next((v[-1] for v in parameters.values()), 0))
    over = outer_axes(graph, [leaf for leaf in places if leaf != whole])
    outer = {o for leaf in over if not graph.axes.mixed(leaf) for o in over[leaf]}
    for leaf in outer:  # its positions must stay positions
        graph.axes.bend(leaf)
    solver = _Solver(graph, places, _by_leaf(graph, taps), _by_leaf(graph, outputs))
    labels = {
        leaf: solver.name(places[leaf][0].label)
        for leaf in places
        if leaf in outer and graph.axes.fixed(leaf)
    }
    for leaf in sorted(over, key=lambda leaf: len(over[leaf])):
        if not graph.axes.mixed(leaf) and graph.axes.size[leaf]:
            space = solver.space(
                leaf, [(labels[o], graph.axes.size[o]) for o in over[leaf]]
            )
            if space is not None:
                labels[leaf] = space.name
    if places and solver.space(whole, [], name="whole") is not None:
        labels[whole] = [*solver.spaces][-1]
    specs = lambda arrays: {
        path: ArraySpec(*_trees(graph, labels, solver.found, value))
        for path, value in arrays.items()
    }
    in_order = [labels[leaf] for leaf in places if labels.get(leaf) in solver.spaces]
    in_order.sort(key=lambda name: name == labels.get(whole))
    solved = Solved(
        {name: solver.spaces[name] for name in in_order},
        specs(parameters),
        specs(taps),
        specs(outputs),
        {
            place.label: reason
            for leaf, found in places.items()
            if (reason := graph.axes.fixed(leaf)) is not None
            for place in found
        },
    )
    return _with_touches(redundancy.reduce(solved, labels.get(whole)))


def _with_touches(solved: Solved) -> Solved:
    """Notes for each space where it acts."""
    touches: dict[str, dict[str, None]] = {name: {} for name in solved.spaces}
    for path, array in (*solved.taps.items(), *solved.parameters.items()):
        labelled = [(f"{path}:{i}", axis) for i, axis in enumerate(array.axes)]
        for place, axis in (*labelled, (path, array.whole)):
            for factor in factors(axis):
                if factor.label in touches and (
                    solved.spaces[factor.label].permuted
                    or any(factor.scalings or ())
                    or any(factor.signs)
                ):
                    touches[factor.label][place] = None
    spaces = {
        name: space._replace(touches=tuple(touches[name]))
        for name, space in solved.spaces.items()
    }
    return solved._replace(spaces=spaces)


class _Solver:
    """Solves the equations of one space after the other, and names them."""

    def __init__(
        self,
        graph: Graph,
        places: Mapping[Axis, list[_Place]],
        taps: Mapping[Axis, list[_Place]],
        outputs: Mapping[Axis, list[_Place]],
    ) -> None:
        self.spaces: dict[str, Space] = {}
        self.found: dict[exponents.Unknown, Factor] = {}
        self._taken: set[str] = set()
        self._graph = graph
        self._places, self._taps, self._outputs = places, taps, outputs
        self._sizes, self._signs = graph.equations.expand()
        self._code = graph.first_lines()

    def name(self, *candidates: str) -> str:
        """Returns the first name that is not taken; if need be the last numbered."""
        numbered = (f"{candidates[-1]}.{number}" for number in itertools.count(2))
        names = itertools.chain(candidates, numbered)
        name = next(name for name in names if name not in self._taken)
        self._taken.add(name)
        return name

    def space(
        self, leaf: Axis, over: Sequence[tuple[str, int]], name: str | None = None
    ) -> Space | None:
        """Solves a leaf that varies over some labelled axes of given sizes."""
        members = [*self._taps.get(leaf, []), *self._places[leaf]]
        places = [*members, *self._outputs.get(leaf, [])]
        unknowns = [place.unknown for place in places]
        scaling = linear.solutions(self._sizes.get(leaf, []), unknowns)
        sign = linear.solutions(self._signs.get(leaf, []), unknowns, modulo=2)
        size = self._graph.axes.size[leaf]
        permuted = self._graph.axes.fixed(leaf) is None and size > 1
        if not (len(scaling) or len(sign) or permuted):
            return None
        label = name or members[0].label
        path, _, index = label.rpartition(":")
        space = Space(
            name=self.name(path, label) if index.isdigit() else self.name(label),
            size=size,
            kind=_kind(self._graph, leaf, scaling, sign),
            scalings=len(scaling),
            signs=len(sign),
            permuted=permuted,
            touches=(),
            over=tuple(label for label, _ in over),
            shape=tuple(size for _, size in over),
            code=self._code.get(leaf, ""),
        )
        self.spaces[space.name] = space
        for i, unknown in enumerate(unknowns):
            powers, odd = tuple(scaling[:, i].tolist()), tuple(map(int, sign[:, i]))
            self.found[unknown] = Factor(size, space.name, powers, odd)
        return space


def _by_leaf(graph: Graph, arrays: Mapping[str, Value]) -> dict[Axis, list[_Place]]:
    """Returns the places of every leaf in some arrays, in order."""
    places: dict[Axis, list[_Place]] = {}
    for path, value in arrays.items():
        for i, axis in enumerate(value):
            label = f"{path}:{i}" if i < len(value) - 1 else path
            for position, leaf in enumerate(graph.axes.leaves(axis)):
                place = _Place(label, (axis, position), leaf)
                places.setdefault(leaf, []).append(place)
    return places


def _kind(graph: Graph, leaf: Axis, scaling: np.ndarray, sign: np.ndarray) -> str:
    """Returns the group where the space is named; there may be more elsewhere."""
    permuted = graph.axes.fixed(leaf) is None
    linear = permuted and graph.axes.straight(leaf) and len(scaling) == 1
    if linear and graph.axes.size[leaf] > 1 and (np.abs(scaling) == 1).all():
        return "general_linear"
    first = slice(1 if permuted else None)
    scaled, signed = bool(scaling[:, first].any()), bool(sign[:, first].any())
    return kind_of(scaled, signed, permuted=permuted)


def _trees(
    graph: Graph,
    labels: Mapping[Axis, str],
    found: Mapping[exponents.Unknown, Factor],
    value: Value,
) -> tuple[tuple[AxisSpec, ...], Any]:
    """Returns what the axes of an array mean, and what scales all of it."""
    *axes, whole = (_tree(graph, labels, found, axis) for axis in value)
    return tuple(axes), whole


def _tree(
    graph: Graph,
    labels: Mapping[Axis, str],
    found: Mapping[exponents.Unknown, Factor],
    axis: Axis,
) -> AxisSpec:
    """Returns what an axis means, or one factor without a space if nothing acts."""
    numbers = iter(range(len(graph.axes.leaves(axis))))

    def build(part: Axis) -> AxisSpec:
        form = graph.axes.form(part)
        if form is None:
            leaf, size = graph.axes.find(part), graph.axes.size[part]
            still = Factor(size, labels.get(leaf, ""))
            return found.get((axis, next(numbers)), still)
        parts = tuple(map(build, form.parts))
        if isinstance(form, forms.Product):
            return Product(parts)
        return Pieces(parts, tuple(form.positions))

    return build(axis)
