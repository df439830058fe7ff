"""What each primitive operation means for the axes of its operands and results.

A rule is a function `(graph, eqn, operands) -> results` that aliases, joins or fixes
axes and states the equations between their exponents. A primitive without a rule fixes
everything it touches: refusing a symmetry is safe, inventing one is a bug.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from symjax_lib.symmetry.axes import Axes, Axis
from symjax_lib.symmetry.exponents import Equations, Term

Value = list[Axis]
"""A value is known by its axes."""

# Functions of one value: `islands` classifies whole chains of them numerically.
# fmt: off
UNARY = frozenset((
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "ceil",
    "convert_element_type", "cos", "cosh", "digamma", "erf", "erf_inv", "erfc", "exp",
    "exp2", "expm1", "floor", "integer_pow", "is_finite", "lgamma", "log", "log1p",
    "logistic", "neg", "not", "reduce_precision", "round", "rsqrt", "sign", "sin",
    "sinh", "sqrt", "square", "tan", "tanh",
))
# fmt: on


class Graph:
    """The axes of a program and the equations between them."""

    def __init__(self) -> None:
        self.axes = Axes()
        self.equations = Equations(self.axes)

    def value(self, shape: Sequence[int]) -> Value:
        """Returns a value with new axes."""
        return [self.axes.new(size) for size in shape]

    def fix(self, axis: Axis, reason: str) -> None:
        """Allows nothing on an axis."""
        self.axes.fix(axis, reason)

    def freeze(self, axis: Axis) -> None:
        """Allows permutations only on an axis."""
        self.equations.zero(axis)
        self.axes.bend(axis)

    def ordered(self, axis: Axis) -> None:
        """Allows nothing on an axis that reverses an order: no signs, no matrices."""
        self.equations.unsigned(axis)
        self.axes.bend(axis)

    def same(self, a: Axis, b: Axis) -> None:
        """Joins two axes that are transformed alike."""
        self.axes.unify(a, b)
        self.equations.equal(a, b)


def apply(graph: Graph, eqn: Any, operands: Sequence[Value | None]) -> list[Value]:
    """Returns the values that an equation computes."""
    rule = RULES.get(eqn.primitive.name)
    if rule is not None:
        return [rule(graph, eqn, operands)]
    results = [graph.value(var.aval.shape) for var in eqn.outvars]
    for value in (*operands, *results):
        for axis in value or []:
            graph.fix(axis, f"operation {eqn.primitive.name!r}")
    return results


def _alias(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    return operands[0]


def _join(
    graph: Graph, eqn: Any, operands: Sequence[Value | None]
) -> tuple[Value, list[list[tuple[int, Axis]]]]:
    """Joins the operands' axes with the result's, position by position.

    Returns the result and, for each of its axes, the operands' axes that vary with it;
    an operand of size 1 there is repeated, so nothing may change along that axis of it.
    """
    out = graph.value(eqn.outvars[0].aval.shape)
    varying: list[list[tuple[int, Axis]]] = [[] for _ in out]
    for position, operand in enumerate(operands):
        for i, axis in enumerate(operand or []):
            if graph.axes.size[axis] == graph.axes.size[out[i]]:
                graph.axes.unify(axis, out[i])
                varying[i].append((position, axis))
            else:
                graph.freeze(axis)
    return out, varying


def _sum(graph: Graph, eqn: Any, operands: Sequence[Value | None]) -> Value:
    """Addition, subtraction, choice: all operands scale as the result does.

    An operand that is zero everywhere is given as None, and scales in any way.
    """
    out, varying = _join(graph, eqn, operands)
    for axis, members in zip(out, varying, strict=True):
        for _, member in members:
            graph.equations.equal(member, axis)
        if len(members) < _nonzero(operands):
            graph.freeze(axis)
    return out


def _nonzero(operands: Sequence[Value | None]) -> int:
    return sum(operand is not None for operand in operands)


def _extremum(graph: Graph, eqn: Any, operands: Sequence[Value | None]) -> Value:
    out = _sum(graph, eqn, operands)
    for axis in out:
        graph.ordered(axis)
    return out


def _product(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Products and quotients: the exponents add up, or are subtracted."""
    powers = (1, -1 if eqn.primitive.name == "div" else 1)
    out, varying = _join(graph, eqn, operands)
    for axis, members in zip(out, varying, strict=True):
        terms = [Term(member, powers[position], 1) for position, member in members]
        graph.equations.balance([*terms, Term(axis, -1, 1)])
        if [powers[position] for position, _ in members] != [1]:
            graph.axes.bend(axis)
    return out


def _comparison(graph: Graph, eqn: Any, operands: Sequence[Value | None]) -> Value:
    """The operands may grow together; the result is a truth value and does not."""
    out, varying = _join(graph, eqn, operands)
    for axis, members in zip(out, varying, strict=True):
        graph.freeze(axis)
        for _, member in members:
            graph.equations.equal(member, members[0][1])
            graph.ordered(member)
            if len(members) < _nonzero(operands):
                graph.freeze(member)
    return out


def _choice(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """`select_n`: the first operand chooses among the others."""
    which, *cases = operands
    out = _sum(graph, eqn, cases)
    for axis, chosen in zip(which or [], out, strict=False):
        graph.freeze(axis)
        if graph.axes.size[axis] == graph.axes.size[chosen]:
            graph.axes.unify(axis, chosen)
    return out


def _elementwise(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Any other function of several values: permutations only."""
    out, varying = _join(graph, eqn, operands)
    for axis, members in zip(out, varying, strict=True):
        for each in (axis, *(member for _, member in members)):
            graph.freeze(each)
    return out


def _broadcast(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
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


def _transpose(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    return [operands[0][i] for i in eqn.params["permutation"]]


def _squeeze(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    kept = set(range(len(operands[0]))) - set(eqn.params["dimensions"])
    for i in eqn.params["dimensions"]:  # what is not there cannot be undone
        graph.freeze(operands[0][i])
    return [operands[0][i] for i in sorted(kept)]


def _reshape(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
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


def _slice(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    shape = eqn.outvars[0].aval.shape
    sizes = [graph.axes.size[axis] for axis in operands[0]]
    touched = [i for i in range(len(shape)) if shape[i] != sizes[i]]
    return _untouched(graph, operands[0], shape, touched)


def _reverse(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    shape = eqn.outvars[0].aval.shape
    return _untouched(graph, operands[0], shape, eqn.params["dimensions"])


def _windows(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
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


def _window_extremum(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    out = _windows(graph, eqn, operands)
    for axis in out:
        graph.ordered(axis)
    return out


def _reduce_sum(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    reduced = set(eqn.params["axes"])
    for i in reduced:
        graph.freeze(operands[0][i])
    return [axis for i, axis in enumerate(operands[0]) if i not in reduced]


def _reduce_extremum(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    out = _reduce_sum(graph, eqn, operands)
    for axis in out:
        graph.ordered(axis)
    return out


def _contract(
    graph: Graph, left: Value, right: Value, pairs: Sequence[tuple[int, int]]
) -> None:
    """Sums over pairs of axes: what scales one is undone by the other."""
    for i, j in pairs:
        graph.axes.unify(left[i], right[j])
        graph.equations.balance([Term(left[i], 1, 1), Term(right[j], 1, 1)])


def _dot(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
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


def _convolution(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
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


_SUMS = ("add", "sub", "add_any")
_EXTREMA = ("max", "min")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_OTHERS = ("pow", "rem", "atan2", "and", "or", "xor", "clamp", *UNARY)
# For these a zero scales in any way, and is given as None.
ZERO_IS_FREE = frozenset([*_SUMS, *_EXTREMA, *_COMPARISONS, "select_n"])
ELEMENTWISE = ZERO_IS_FREE.union(_OTHERS, ["mul", "div"])

RULES: dict[str, Callable[[Graph, Any, Any], Value]] = {
    **dict.fromkeys(["name", "copy", "copy_p", "stop_gradient"], _alias),
    **dict.fromkeys(_SUMS, _sum),
    **dict.fromkeys(_EXTREMA, _extremum),
    **dict.fromkeys(["mul", "div"], _product),
    **dict.fromkeys(_COMPARISONS, _comparison),
    **dict.fromkeys(_OTHERS, _elementwise),
    "select_n": _choice,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "reshape": _reshape,
    "slice": _slice,
    "rev": _reverse,
    "reduce_window_sum": _windows,
    **dict.fromkeys(["reduce_window_max", "reduce_window_min"], _window_extremum),
    "reduce_sum": _reduce_sum,
    **dict.fromkeys(["reduce_max", "reduce_min"], _reduce_extremum),
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
}
