"""Rules of operations that rearrange, repeat, cut out or reduce axes.

A rule is a function `(graph, eqn, operands) -> result`.
"""

import math
from collections.abc import Sequence
from typing import Any

from symjax_lib.symmetry.axes import Axis
from symjax_lib.symmetry.graph import Graph, Value


def alias(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Operations that change nothing."""
    return operands[0]


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
    left = [axis for axis in operands[0] if size[axis] > 1]
    right = [i for i, axis in enumerate(out) if size[axis] > 1]
    for axis in (a for a in (*operands[0], *out) if size[a] == 1):
        graph.freeze(axis)
    while left and right:
        sources, targets = [left.pop(0)], [right.pop(0)]
        while (a := math.prod(size[axis] for axis in sources)) != (
            b := math.prod(size[out[i]] for i in targets)
        ):
            if a < b:
                sources.append(left.pop(0))
            else:
                targets.append(right.pop(0))
        if len(sources) == len(targets) == 1:
            out[targets[0]] = sources[0]
        elif len(targets) == 1:
            out[targets[0]] = graph.axes.product(sources)
            graph.equations.product(out[targets[0]], sources)
        else:
            parts = [out[i] for i in targets]
            whole = _whole(graph, sources)
            pieces = graph.axes.product(parts)
            graph.equations.product(pieces, parts)
            graph.same(whole, pieces)
    return out


def _whole(graph: Graph, axes: Sequence[Axis]) -> Axis:
    if len(axes) == 1:
        return axes[0]
    whole = graph.axes.product(axes)
    graph.equations.product(whole, axes)
    return whole


def _untouched(
    graph: Graph, operand: Value, shape: Sequence[int], touched: Any
) -> Value:
    """Returns the operand with fixed axes where an operation depends on position."""
    out = list(operand)
    for i in touched:
        out[i] = graph.axes.new(shape[i])
        graph.fix(out[i], "positions along this axis are treated differently")
        graph.fix(operand[i], "positions along this axis are treated differently")
    return out


def slice_(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """What is cut out of an axis depends on positions."""
    shape = eqn.outvars[0].aval.shape
    sizes = [graph.axes.size[axis] for axis in operands[0]]
    touched = [i for i in range(len(shape)) if shape[i] != sizes[i]]
    return _untouched(graph, operands[0], shape, touched)


def reverse(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """So does the other direction."""
    shape = eqn.outvars[0].aval.shape
    return _untouched(graph, operands[0], shape, eqn.params["dimensions"])


def windows(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Pooling: acts on windows of some axes and leaves the others alone."""
    p = eqn.params
    alone = [
        window == stride == base == 1 and tuple(padding) == (0, 0)
        for window, stride, base, padding in zip(
            p["window_dimensions"],
            p["window_strides"],
            p["base_dilation"],
            p["padding"],
            strict=True,
        )
    ]
    touched = [i for i, untouched in enumerate(alone) if not untouched]
    return _untouched(graph, operands[0], eqn.outvars[0].aval.shape, touched)


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
