"""Writes out loops over layers whose variables are stacked, one after the other."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax.extend import core

from symjax_lib import jaxprs
from symjax_lib.symmetry.rewriting import Writer, rewrite


def unrolled(program: jaxprs.Program) -> tuple[jaxprs.Program, dict[Any, list[Any]]]:
    """Writes out each `scan` over slices of variables, one iteration after the other.

    Args:
      program: any.

    Returns:
      The program with the slices as variables of their own, in place of the stacked
      ones; and the slices of each stacked variable.
    """
    slices = {var: _slices(var) for var in _stacked(program)}
    if not slices:
        return program, {}

    def rule(
        writer: Writer, eqn: core.JaxprEqn, operands: Sequence[Any]
    ) -> list[Any] | None:
        if any(var in slices for var in jaxprs.variables(operands)):
            return _iterations(writer, eqn, operands, slices)
        return None

    jaxpr = rewrite(program.jaxpr, rule)
    variables = [v for var in program.variables for v in slices.get(var, [var])]
    jaxpr = jaxpr.replace(invars=[*variables, *program.inputs])
    return program._replace(jaxpr=jaxpr, variables=variables), slices


def _stacked(program: jaxprs.Program) -> list[Any]:
    """Returns the variables that are used as slices in loops and in no other way."""
    sliced, whole = set(), set(jaxprs.variables(program.jaxpr.outvars))
    for eqn in program.jaxpr.eqns:
        first = len(eqn.invars)
        if eqn.primitive.name == "scan" and eqn.params["length"]:
            first = eqn.params["num_consts"] + eqn.params["num_carry"]
        whole.update(jaxprs.variables(eqn.invars[:first]))
        sliced.update(jaxprs.variables(eqn.invars[first:]))
    return [var for var in program.variables if var in sliced - whole]


def _slices(var: Any) -> list[Any]:
    length, *shape = var.aval.shape
    return [core.Var(var.aval.update(shape=tuple(shape))) for _ in range(length)]


def _iterations(
    writer: Writer,
    eqn: core.JaxprEqn,
    operands: Sequence[Any],
    slices: dict[Any, list[Any]],
) -> list[Any]:
    """Writes out one loop; returns what it computes."""
    p = eqn.params
    first, last = p["num_consts"], p["num_consts"] + p["num_carry"]
    constants, carried, stacked = (
        operands[:first],
        operands[first:last],
        operands[last:],
    )
    order = range(p["length"])
    rows: list[Sequence[Any]] = [()] * p["length"]
    for i in reversed(order) if p["reverse"] else order:
        row = [
            slices[atom][i]
            if not isinstance(atom, core.Literal) and atom in slices
            else writer.write(lambda x, i=i: x[i], atom)[0]
            for atom in stacked
        ]
        results = writer.inline(p["jaxpr"], [*constants, *carried, *row])
        carried, rows[i] = results[: len(carried)], results[len(carried) :]
    columns = zip(*rows, strict=True)
    stack = lambda *values: jnp.stack(values)
    return [*carried, *(writer.write(stack, *column)[0] for column in columns)]
