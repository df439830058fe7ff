"""Rules of operations that act entry by entry: sums, products, comparisons, choices.

A rule is a function `(graph, eqn, operands) -> result`.
"""

from collections.abc import Sequence
from typing import Any

from symjax_lib.symmetry.axes import Axis
from symjax_lib.symmetry.exponents import Term
from symjax_lib.symmetry.graph import Graph, Value


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


def add(graph: Graph, eqn: Any, operands: Sequence[Value | None]) -> Value:
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


def extremum(graph: Graph, eqn: Any, operands: Sequence[Value | None]) -> Value:
    """Maximum and minimum: as a sum, and no sign may change."""
    out = add(graph, eqn, operands)
    for axis in out:
        graph.ordered(axis)
    return out


def product(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Products and quotients: the exponents add up, or are subtracted."""
    powers = (1, -1 if eqn.primitive.name == "div" else 1)
    out, varying = _join(graph, eqn, operands)
    for axis, members in zip(out, varying, strict=True):
        terms = [Term(member, powers[position], 1) for position, member in members]
        graph.equations.balance([*terms, Term(axis, -1, 1)])
        if [powers[position] for position, _ in members] != [1]:
            graph.axes.bend(axis)
    return out


def comparison(graph: Graph, eqn: Any, operands: Sequence[Value | None]) -> Value:
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


def choice(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """`select_n`: the first operand chooses among the others."""
    which, *cases = operands
    out = add(graph, eqn, cases)
    for axis, chosen in zip(which or [], out, strict=False):
        graph.freeze(axis)
        if graph.axes.size[axis] == graph.axes.size[chosen]:
            graph.axes.unify(axis, chosen)
    return out


def other(graph: Graph, eqn: Any, operands: Sequence[Value]) -> Value:
    """Any other function of several values: permutations only."""
    out, varying = _join(graph, eqn, operands)
    for axis, members in zip(out, varying, strict=True):
        for each in (axis, *(member for _, member in members)):
            graph.freeze(each)
    return out
