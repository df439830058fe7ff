"""Rules of operations that look up positions given by an operand.

A rule is a function `(graph, eqn, operands, constants) -> result`; the positions are
known if they are among the constants.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from symjax_lib.symmetry.axes import Axis
from symjax_lib.symmetry.graph import Graph, Value

_CHOSEN = "positions chosen by an index"


def gather(
    graph: Graph, eqn: Any, operands: Sequence[Value], constants: Sequence[Any]
) -> Value:
    """Looks up slices: axes taken whole stay, such as the channels of an embedding."""
    table, indices = operands
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    shape = eqn.outvars[0].aval.shape
    out = graph.value(shape)
    paired, cut = numbers.operand_batching_dims, numbers.collapsed_slice_dims
    sliced = [i for i in range(len(table)) if i not in (*paired, *cut)]
    for i, axis in zip(sorted(numbers.offset_dims), sliced, strict=True):
        if fills(eqn):
            graph.freeze(table[axis])
        if sizes[axis] == graph.axes.size[table[axis]]:
            out[i] = table[axis]
        else:
            _mix(graph, [out[i], table[axis]])
    looked_up = [i for i in range(len(shape)) if i not in numbers.offset_dims]
    for i, index in zip(looked_up, indices[:-1], strict=True):
        graph.axes.unify(index, out[i])
        graph.equations.zero(index)
        graph.axes.bend(index)
    for axis, index in zip(paired, numbers.start_indices_batching_dims, strict=True):
        graph.same(table[axis], out[looked_up[index]])
    if (
        not paired
        and len(cut) == len(looked_up) == 1
        and _is_piece(constants[1], graph.axes.size[table[cut[0]]])
    ):
        piece = graph.cut(table[cut[0]], [np.ravel(constants[1])])
        graph.same(piece[0], out[looked_up[0]])
        return out
    for axis in cut:
        _mix(graph, [table[axis]])
    in_pairs = [looked_up[i] for i in numbers.start_indices_batching_dims]
    for i in looked_up:
        if i not in in_pairs or fills(eqn):
            graph.freeze(out[i])
    return out


def fills(eqn: Any) -> bool:
    """Tells whether a number other than 0 or nan stands where an index is outside."""
    number = eqn.params.get("fill_value") if eqn.primitive.name == "gather" else None
    return number is not None and not np.isnan(number) and number != 0  # None is nan


def _is_piece(indices: Any, size: int) -> bool:
    """Tells whether indices are known, different, and within an axis."""
    if indices is None:
        return False
    flat = np.ravel(indices)
    return len({*flat.tolist()} & {*range(size)}) == flat.size


def dynamic_slice(
    graph: Graph, eqn: Any, operands: Sequence[Value], constants: Sequence[Any]
) -> Value:
    """A slice that starts anywhere: axes taken whole stay."""
    sizes = eqn.params["slice_sizes"]
    out = list(operands[0])
    for i, (axis, start) in enumerate(zip(operands[0], constants[1:], strict=True)):
        if sizes[i] == graph.axes.size[axis]:
            continue
        if start is None:
            out[i] = graph.axes.new(sizes[i])
            _mix(graph, [axis, out[i]])
        else:
            first = int(np.clip(start, 0, graph.axes.size[axis] - sizes[i]))
            (out[i],) = graph.cut(axis, [first + np.arange(sizes[i])])
    return out


def _mix(graph: Graph, axes: Sequence[Axis]) -> None:
    for axis in axes:
        graph.mix(axis, _CHOSEN)
