"""Rules of operations that rearrange, repeat, cut out or reduce axes.

A rule is a function `(graph, eqn, operands) -> result`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from symjax_lib.symmetry.axes import Axis
from symjax_lib.symmetry.graph import Graph, Value
from symjax_lib.symmetry.rewriting import matched


def alias(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Operations that change nothing."""
    return operands[0]


def barrier(graph: Graph, eqn: Any, operands: Sequence[Value]) -> list[Value]:
    """Changes nothing either, for several values at once."""
    return [*operands]


def broadcast(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Along a new axis all entries are equal, so they must stay so."""
    out = graph.value(eqn.params["shape"])
    repeated = set(range(len(out)))
    for axis, i in zip(operands[0], eqn.params["broadcast_dimensions"], strict=True):
        if graph.axes.size[axis] == graph.axes.size[out[i]]:
            out[i] = axis
            repeated.remove(i)
        else:
            graph.freeze(axis)
    for i in repeated:
        graph.freeze(out[i])
    return out


def transpose(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """The same axes in another order."""
    return [operands[0][i] for i in eqn.params["permutation"]]


def squeeze(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Axes of size 1 that go."""
    kept = set(range(len(operands[0]))) - set(eqn.params["dimensions"])
    for i in eqn.params["dimensions"]:  # what is not there cannot be undone
        graph.freeze(operands[0][i])
    return [operands[0][i] for i in sorted(kept)]


def reshape(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Merges and splits axes; axes of size 1 come and go."""
    size = graph.axes.size
    out = graph.value(eqn.outvars[0].aval.shape)
    order = eqn.params["dimensions"] or range(len(operands[0]))
    operand = [operands[0][i] for i in order]
    if not all(size[axis] for axis in operand):
        for axis in (*operand, *out):
            graph.mix(axis, "a reshape of nothing")
        return out
    for axis in (a for a in (*operand, *out) if size[a] == 1):
        graph.freeze(axis)
    sizes = [[size[axis] for axis in side] for side in (operand, out)]
    for left, right in matched(*sizes):
        sources, targets = [operand[i] for i in left], [out[i] for i in right]
        if len(targets) == 1:
            out[right[0]] = graph.product(sources)
        else:
            graph.same(graph.product(sources), graph.product(targets))
    return out


def slice_(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Cuts a piece out of an axis; the rest of it is another."""
    p = eqn.params
    strides = p["strides"] or [1] * len(operands[0])
    ranges = zip(p["start_indices"], p["limit_indices"], strides, strict=True)
    return _take(graph, operands[0], [np.arange(*each) for each in ranges])


def reverse(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """The same positions in the other direction."""
    places = [np.arange(graph.axes.size[axis]) for axis in operands[0]]
    for i in eqn.params["dimensions"]:
        places[i] = places[i][::-1]
    return _take(graph, operands[0], places)


def _take(graph: Graph, operand: Value, places: Sequence[np.ndarray]) -> Value:
    """Returns the axes of what stands at some positions."""
    out = list(operand)
    for i, at in enumerate(places):
        if not np.array_equal(at, np.arange(graph.axes.size[operand[i]])):
            (out[i],) = graph.cut(operand[i], [at])
    return out


def concatenate(graph: Graph, eqn: Any, operands: Sequence[Value | None]) -> Value:
    """Puts axes side by side; the other axes are transformed alike.

    An operand that is zero everywhere is given as None, and may change in any way.
    """
    shapes = [atom.aval.shape for atom in eqn.invars]
    i = eqn.params["dimension"]
    out = graph.value(eqn.outvars[0].aval.shape)
    parts = [
        graph.axes.new(shape[i]) if operand is None else operand[i]
        for operand, shape in zip(operands, shapes, strict=True)
    ]
    stops = np.cumsum([shape[i] for shape in shapes])
    places = [
        np.arange(stop - shape[i], stop)
        for stop, shape in zip(stops, shapes, strict=True)
    ]
    out[i] = _beside(graph, parts, places)
    for operand in operands:
        for k, axis in enumerate(operand or []):
            if k != i:
                graph.same(axis, out[k])
    return out


def _beside(graph: Graph, parts: Sequence[Axis], places: Sequence[np.ndarray]) -> Axis:
    """Returns an axis of pieces, or one without if nothing is allowed on any."""
    kept = [k for k, at in enumerate(places) if at.size]
    parts, places = [parts[k] for k in kept], [places[k] for k in kept]
    if not all(graph.is_mixed(part) for part in parts):
        return graph.pieces(parts, places)
    reason = "joined with positions that are fixed"
    axis = graph.axes.new(sum(map(len, places)))
    for each in (axis, *parts):
        graph.mix(each, reason)
    return axis


def pad(graph: Graph, eqn: Any, operands: Sequence[Value | None]) -> Value:
    """Puts new positions around those of an axis; if they are zero, they are free.

    A padding that is zero is given as None. Negative padding cuts positions off.
    """
    operand, filling = operands
    shape = eqn.outvars[0].aval.shape
    out = list(operand or graph.value(eqn.invars[0].aval.shape))
    for i, (low, _, interior) in enumerate(eqn.params["padding_config"]):
        size = graph.axes.size[out[i]]
        places = low + np.arange(size) * (interior + 1)
        inside = np.flatnonzero((places >= 0) & (places < shape[i]))
        if inside.size < size:
            (out[i],) = graph.cut(out[i], [inside])
        if shape[i] > inside.size:
            new = np.setdiff1d(np.arange(shape[i]), places[inside])
            parts = [out[i], graph.axes.new(new.size)]
            out[i] = _beside(graph, parts, [places[inside], new])
    if filling is not None:
        for axis in out:
            graph.freeze(axis)
    return out


def cumulate(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Running sums: along one axis positions are ordered, the others stay."""
    i = eqn.params["axis"]
    graph.mix(operands[0][i], f"operation {eqn.primitive.name!r}")
    out = list(operands[0])
    out[i] = graph.axes.new(graph.axes.size[out[i]])
    graph.mix(out[i], f"operation {eqn.primitive.name!r}")
    return out


def windows(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Pooling: acts on windows of some axes and leaves the others alone."""
    p = eqn.params
    sizes = p["window_dimensions"], p["window_strides"], p["base_dilation"]
    out = list(operands[0])
    for i, (*ones, padding) in enumerate(zip(*sizes, p["padding"], strict=True)):
        if not (ones == [1, 1, 1] and tuple(padding) == (0, 0)):
            out[i] = graph.axes.new(eqn.outvars[0].aval.shape[i])
            graph.mix(out[i], "windows along this axis")
            graph.mix(operands[0][i], "windows along this axis")
    return out


def window_extremum(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Max-pooling: as other pooling, and no sign may change."""
    out = windows(graph, eqn, operands)
    for axis in out:
        graph.ordered(axis)
    return out


def reduce_sum(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """A sum over channels lets them be permuted, not scaled."""
    reduced = set(eqn.params["axes"])
    for i in reduced:
        graph.freeze(operands[0][i])
    return [axis for i, axis in enumerate(operands[0]) if i not in reduced]


def reduce_extremum(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """As a sum over channels, and no sign may change."""
    out = reduce_sum(graph, eqn, operands)
    for axis in out:
        graph.ordered(axis)
    return out
