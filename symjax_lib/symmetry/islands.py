"""Chains of elementwise operations on one value, seen as a single function of it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from symjax_lib import intertwiners
from symjax_lib.symmetry.exponents import Term
from symjax_lib.symmetry.graph import Graph, Value


def apply(graph: Graph, operand: Value, sigma: Callable) -> Value:
    """Returns the axes of `sigma(operand)`, by what the classifier says of `sigma`.

    Args:
      graph: takes in the equations.
      operand: axes, all of which are treated alike.
      sigma: elementwise.
    """
    out = graph.value([graph.axes.size[axis] for axis in operand])
    found = _classify(sigma)
    for axis, result in zip(operand, out, strict=True):
        graph.axes.unify(axis, result)
        power = 0.0 if found is None else found.exponent
        parity = None if found is None else found.parity
        if power is None or found is None:
            graph.equations.unscaled(axis)
        if parity is None:
            graph.equations.unsigned(axis)
        terms = [Term(axis, power or 0.0, int(parity == "odd")), Term(result, -1, 1)]
        graph.equations.balance(terms)
        if found is None or found.kind != "general_linear":
            graph.axes.bend(axis)
    return out


def _classify(sigma: Callable) -> intertwiners.Classification | None:
    try:
        return intertwiners.classify(sigma)
    except ValueError:  # Constant, or nowhere finite: nothing is claimed of it.
        return None


def function(
    root: core.Var,
    chain: Mapping[core.Var, core.JaxprEqn],
    result: core.Var,
    known: Mapping[core.Var, Any],
) -> Callable[[jax.Array], jax.Array]:
    """Returns the elementwise function from `root` to `result`, at any precision.

    Args:
      root: the variable that the chain starts from.
      chain: the equations on the way, in order, by what they compute; their other
        operands are constants.
      result: the variable that it ends with.
      known: values of the constants, each of them uniform.
    """

    def sigma(x: jax.Array) -> jax.Array:
        env = {root: x}

        def read(atom: Any) -> jax.Array:
            if not isinstance(atom, core.Literal) and atom in env:
                return env[atom]
            value = atom.val if isinstance(atom, core.Literal) else known[atom]
            value = jnp.ravel(jnp.asarray(value))[0]
            if jnp.issubdtype(value.dtype, jnp.floating):
                value = value.astype(x.dtype)
            return jnp.broadcast_to(value, x.shape)

        for var, eqn in chain.items():
            params = dict(eqn.params)
            target = params.get("new_dtype")
            if target is not None and jnp.issubdtype(target, jnp.floating):
                params["new_dtype"] = x.dtype
            if "sharding" in params:
                params["sharding"] = None
            env[var] = eqn.primitive.bind(*map(read, eqn.invars), **params)
        return env[result]

    return sigma
