"""What each primitive operation means for the axes of its operands and results.

A rule is a function `(graph, eqn, operands) -> result` that aliases, joins or fixes
axes and states the equations between their exponents. A primitive without a rule fixes
everything it touches: refusing a symmetry is safe, inventing one is a bug.
"""

from collections.abc import Callable, Sequence
from typing import Any

from symjax_lib.symmetry import contraction, elementwise, indexing, layout
from symjax_lib.symmetry.graph import Graph, Value

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


def apply(
    graph: Graph,
    eqn: Any,
    operands: Sequence[Value | None],
    constants: Sequence[Any],
) -> list[Value]:
    """Returns the values that an equation computes.

    Args:
      graph: takes in what the equation says.
      eqn: the equation.
      operands: their axes.
      constants: the operands that are known, None for others.
    """
    name = eqn.primitive.name
    if name in RULES:
        return [RULES[name](graph, eqn, operands)]
    if name in INDEXED:
        return [INDEXED[name](graph, eqn, operands, constants)]
    if name in SEVERAL:
        return SEVERAL[name](graph, eqn, operands)
    results = [graph.value(var.aval.shape) for var in eqn.outvars]
    for value in (*operands, *results):
        for axis in value or []:
            graph.mix(axis, f"operation {name!r}")
    return results


_SUMS = ("add", "sub", "add_any")
_EXTREMA = ("max", "min")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_OTHERS = ("pow", "rem", "atan2", "and", "or", "xor", "clamp", *UNARY)
# For these a zero scales in any way, and is given as None.
_CHOICES = (*_SUMS, *_EXTREMA, *_COMPARISONS, "select_n")
ZERO_IS_FREE = frozenset([*_CHOICES, "concatenate", "pad"])
ELEMENTWISE = frozenset([*_CHOICES, *_OTHERS, "mul", "div"])

RULES: dict[str, Callable[[Graph, Any, Any], Value]] = {
    **dict.fromkeys(
        ["name", "copy", "copy_p", "stop_gradient", "sharding_constraint"], layout.alias
    ),
    **dict.fromkeys(_SUMS, elementwise.add),
    **dict.fromkeys(_EXTREMA, elementwise.extremum),
    **dict.fromkeys(["mul", "div"], elementwise.product),
    **dict.fromkeys(_COMPARISONS, elementwise.comparison),
    **dict.fromkeys(_OTHERS, elementwise.other),
    "select_n": elementwise.choice,
    "broadcast_in_dim": layout.broadcast,
    "transpose": layout.transpose,
    "squeeze": layout.squeeze,
    "reshape": layout.reshape,
    "slice": layout.slice_,
    "rev": layout.reverse,
    "concatenate": layout.concatenate,
    "pad": layout.pad,
    "cumsum": layout.cumulate,
    "reduce_window_sum": layout.windows,
    **dict.fromkeys(["reduce_window_max", "reduce_window_min"], layout.window_extremum),
    "reduce_sum": layout.reduce_sum,
    **dict.fromkeys(["reduce_max", "reduce_min"], layout.reduce_extremum),
    "dot_general": contraction.dot,
    "conv_general_dilated": contraction.convolution,
}
# These are zero if one of the operands is.
PRODUCTS = frozenset(["mul", "dot_general", "conv_general_dilated"])
# Those that must know where the constants among their operands point to.
INDEXED: dict[str, Callable[[Graph, Any, Any, Any], Value]] = {
    "gather": indexing.gather,
    "dynamic_slice": indexing.dynamic_slice,
}
# Those with several results.
SEVERAL: dict[str, Callable[[Graph, Any, Any], list[Value]]] = {
    "optimization_barrier": layout.barrier,
}
