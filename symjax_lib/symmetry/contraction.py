"""Rules of operations that sum products over pairs of axes: `dot_general`, convolution.

A rule is a function `(graph, eqn, operands) -> result`.
"""

from collections.abc import Sequence
from typing import Any

from symjax_lib.symmetry.exponents import Term
from symjax_lib.symmetry.graph import Graph, Value


def _contract(
    graph: Graph, left: Value, right: Value, pairs: Sequence[tuple[int, int]]
) -> None:
    """Sums over pairs of axes: what scales one is undone by the other."""
    for i, j in pairs:
        graph.axes.unify(left[i], right[j])
        graph.equations.balance([Term(left[i], 1, 1), Term(right[j], 1, 1)])


def dot(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Any product of two arrays: contracted axes undo each other, the others stay."""
    left, right = operands
    contracted, batch = eqn.params["dimension_numbers"]
    _contract(graph, left, right, list(zip(*contracted, strict=True)))
    out = []
    for i, j in zip(*batch, strict=True):
        shared = graph.axes.new(graph.axes.size[left[i]])
        graph.axes.unify(left[i], shared)
        graph.axes.unify(right[j], shared)
        terms = [Term(left[i], 1, 1), Term(right[j], 1, 1), Term(shared, -1, 1)]
        graph.equations.balance(terms)
        graph.axes.bend(shared)
        out.append(shared)
    for operand, used, shared in zip(operands, contracted, batch, strict=True):
        out += [a for i, a in enumerate(operand) if i not in {*used, *shared}]
    return out


def convolution(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """The batch and channels pass through; positions and the kernel's window do not."""
    image, kernel = operands
    numbers = eqn.params["dimension_numbers"]
    out = graph.value(eqn.outvars[0].aval.shape)
    batch, channels, *positions = numbers.out_spec
    if eqn.params["batch_group_count"] == 1:
        out[batch] = image[numbers.lhs_spec[0]]
    out[channels] = kernel[numbers.rhs_spec[0]]
    if eqn.params["feature_group_count"] == eqn.params["batch_group_count"] == 1:
        pair = (numbers.lhs_spec[1], numbers.rhs_spec[1])
        _contract(graph, image, kernel, [pair])
    else:
        for axis in (*image, *kernel, out[batch]):
            graph.fix(axis, "a grouped convolution")
    for value, dims in ((image, numbers.lhs_spec[2:]), (kernel, numbers.rhs_spec[2:])):
        for i in dims:
            graph.fix(value[i], "positions of a convolution")
    for i in positions:
        graph.fix(out[i], "positions of a convolution")
    return out
