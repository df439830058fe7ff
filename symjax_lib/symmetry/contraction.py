"""Rules of operations that sum products over pairs of axes: `dot_general`, convolution.

A rule is a function `(graph, eqn, operands) -> result`.
"""

from collections.abc import Sequence
from typing import Any

from symjax_lib.symmetry.axes import Axis
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
    out: Value = []
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
    graph.see([*out, *(left[i] for i in contracted[0])])
    return out


def convolution(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """The batch and channels pass through; positions and the kernel's window do not."""
    image, kernel = operands
    numbers = eqn.params["dimension_numbers"]
    out = graph.value(eqn.outvars[0].aval.shape)
    batch, channels, *positions = numbers.out_spec
    lhs_batch, lhs_channels, *lhs_positions = numbers.lhs_spec
    rhs_out, rhs_in, *window = numbers.rhs_spec
    spatial = [
        *(out[i] for i in positions),
        *(image[i] for i in lhs_positions),
        *(kernel[i] for i in window),
    ]
    for axis in spatial:
        graph.mix(axis, "positions of a convolution")
    if eqn.params["batch_group_count"] > 1:
        for axis in (*image, *kernel, *out):
            graph.mix(axis, "a convolution with a grouped batch")
        return out
    out[batch] = image[lhs_batch]
    groups = eqn.params["feature_group_count"]
    if groups == 1:
        _contract(graph, image, kernel, [(lhs_channels, rhs_in)])
        out[channels] = kernel[rhs_out]
        joint = [image[lhs_channels], kernel[rhs_out]]
    else:
        joint = _grouped(
            graph, image[lhs_channels], kernel[rhs_in], kernel[rhs_out], out[channels],
            groups=groups,
        )  # fmt: skip
    graph.see([image[lhs_batch], *joint, *spatial])
    return out


def _grouped(
    graph: Graph, image: Axis, incoming: Axis, outgoing: Axis, out: Axis, *, groups: int
) -> list[Axis]:
    """Groups of channels, each with a kernel of its own: a batch of convolutions.

    Returns the axes over which the products are summed and those that stay.
    """
    size = graph.axes.size
    new = lambda *sizes: [graph.axes.new(n) for n in sizes]
    first, inner = new(groups, size[image] // groups)
    second, outer = new(groups, size[out] // groups)
    third, result = new(groups, size[out] // groups)
    for whole, parts in (
        (image, [first, inner]),
        (outgoing, [second, outer]),
        (out, [third, result]),
    ):
        long = [part for part in parts if size[part] > 1] or parts[:1]
        graph.same(whole, graph.product(long))
    _contract(graph, [inner], [incoming], [(0, 0)])
    if size[incoming] == 1:
        graph.freeze(incoming)
    graph.same(outer, result)
    graph.axes.unify(first, second)
    graph.axes.unify(first, third)
    terms = [Term(first, 1, 1), Term(second, 1, 1), Term(third, -1, 1)]
    graph.equations.balance(terms)
    graph.axes.bend(third)
    return [third, result, inner]
