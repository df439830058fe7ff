"""How values scale as wholes: one more exponent for each, beside those of its axes.

It is treated as an axis of size 1 that all values share, so that a gain without axes,
or a kernel that is used twice, has its scalings too. What scales channel by channel is
not changed by it, and a scaling that those of the channels include is left out.
"""

from collections.abc import Sequence
from typing import Any

from symjax_lib.symmetry.axes import Axis
from symjax_lib.symmetry.exponents import Term
from symjax_lib.symmetry.graph import Graph
from symjax_lib.symmetry.indexing import fills

_LINEAR = (
    "name", "copy", "copy_p", "stop_gradient", "sharding_constraint",
    "broadcast_in_dim", "transpose", "squeeze", "reshape", "slice", "rev", "cumsum",
    "reduce_window_sum", "reduce_sum", "gather", "dynamic_slice",
)  # fmt: skip
_EXTREMA = (
    "max", "min", "reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min",
)  # fmt: skip
_SUMS = ("add", "sub", "add_any", "concatenate", "pad")
_PRODUCTS = ("mul", "dot_general", "conv_general_dilated")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


def relate(
    graph: Graph, eqn: Any, operands: Sequence[Axis | None], results: Sequence[Axis]
) -> None:
    """States how the results of an operation scale with its operands.

    Args:
      graph: takes in the equations.
      eqn: the operation.
      operands: one axis for each; None where it is a constant that is zero everywhere,
        which scales in any way.
      results: one axis for each.
    """
    name, equations, out = eqn.primitive.name, graph.equations, results[0]
    given = [axis for axis in operands if axis is not None]
    if name in _LINEAR and not fills(eqn):
        for axis in results:
            equations.equal(given[0], axis)
    elif name in _SUMS or name in _EXTREMA:
        for axis in given:
            equations.equal(axis, out)
        if name in _EXTREMA:
            equations.unsigned(out)
    elif name in _PRODUCTS:
        equations.balance([*(Term(axis, 1, 1) for axis in given), Term(out, -1, 1)])
    elif name == "div":
        powers = zip(operands, (1, -1), strict=True)
        terms = [Term(axis, power, 1) for axis, power in powers if axis is not None]
        equations.balance([*terms, Term(out, -1, 1)])
    elif name in _COMPARISONS:
        for axis in given:
            equations.equal(axis, given[0])
            equations.unsigned(axis)
        equations.zero(out)
    elif name == "select_n":
        which, *cases = operands
        for axis in cases:
            if axis is not None:
                equations.equal(axis, out)
        if which is not None:
            equations.zero(which)
    else:
        for axis in (*given, *results):
            equations.zero(axis)
