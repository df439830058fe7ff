"""Finds the symmetries of a function of variables, from the function itself."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import eval_jaxpr
from jax.extend import core

from symjax_lib import jaxprs
from symjax_lib.symmetry import islands, rules
from symjax_lib.symmetry.graph import Graph, Value
from symjax_lib.symmetry.spaces import solve
from symjax_lib.symmetry.spec import SymmetrySpec


def trace(fn: Callable, variables: Any, *inputs: Any) -> SymmetrySpec:
    r"""Derives which changes of the variables leave a function as it is.

    Every axis of every value in the traced function belongs to a space of channels.
    Permutations act on each space that inputs, outputs, constants and operations with
    positions do not fix. Scalings and signs are the exponents that solve one linear
    equation per operation (Proposition 3.4 of the paper is the case of a chain of dense
    layers). An operation that is not understood fixes what it touches: refusing a
    symmetry is safe.

    Args:
      fn: any function `fn(variables, *inputs)` that JAX can trace, of a model usually
        the one in evaluation mode: statistics that it returns are outputs, and fixed.
      variables: a pytree of arrays; only shapes and dtypes matter.
      *inputs: likewise.

    Returns:
      A `SymmetrySpec`, which prints as a table; see `sample`, `act` and `certify` for
      its use.

    Raises:
      ValueError: a tap's name is given twice, or is inside a loop; or two variables
        have the same path.

    Example:
      >>> def mlp(v, x):
      ...     return jax.nn.relu(x @ v["in"] + v["bias"]) @ v["out"]
      >>> shapes = {"in": (3, 8), "bias": (8,), "out": (8, 2)}
      >>> v = {name: jnp.ones(shape) for name, shape in shapes.items()}
      >>> spec = trace(mlp, v, jnp.ones((1, 3)))
      >>> [(s.kind, s.size) for s in spec.spaces.values()], spec.dimension
      ([('positive_monomial', 8)], 8)

    References:
      Godfrey et al. 2022, sections 3.2, E.4 and E.9.
    """
    program = jaxprs.trace(fn, variables, *inputs, rules=False)
    named = jaxprs.named_values("symmetry.trace", program)
    outputs = program.jaxpr.outvars
    eqns = jaxprs.needed(program.jaxpr.eqns, [*outputs, *named.values()], ())
    walk = _Walk(program)
    for eqn in eqns:
        walk.step(eqn)
    order = list(dict.fromkeys(var for eqn in eqns for var in _variables(eqn.invars)))
    fixed = [("an input", var) for var in program.inputs]
    fixed += [("an output", atom) for atom in outputs]
    fixed += [("not used", var) for var in {*program.variables}.difference(order)]
    for reason, atom in fixed:
        for axis in walk.value(atom):
            walk.graph.fix(axis, reason)
    leaves, tree = jax.tree_util.tree_flatten_with_path(variables)
    paths = [jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in leaves]
    if len(set(paths)) < len(paths):
        raise ValueError(
            f"symmetry.trace: two variables have one path among {paths}; rename one."
        )
    by_use = sorted(
        zip(paths, program.variables, strict=True),
        key=lambda pair: order.index(pair[1]) if pair[1] in order else len(order),
    )
    parameters = {path: walk.value(var) for path, var in by_use}
    taps = {name: walk.value(var) for name, var in named.items()}
    solved = solve(walk.graph, parameters, taps)
    return SymmetrySpec(
        solved.spaces,
        jax.tree.unflatten(tree, [solved.parameters[path] for path in paths]),
        solved.taps,
        solved.fixed,
    )


_variables = jaxprs.variables
_Chain = dict[Any, Any]


def _is_numeric(constant: Any) -> bool:
    """Tells numbers from random keys."""
    dtype = getattr(constant, "dtype", None)
    return dtype is None or not jax.numpy.issubdtype(dtype, jax.dtypes.extended)


def _is_zero(constant: Any) -> bool:
    return constant is not None and _is_numeric(constant) and not np.any(constant)


def _is_uniform(constant: Any) -> bool:
    if not _is_numeric(constant) or np.iscomplexobj(constant):
        return False
    # Not by their range, which is nan where one of them is.
    return bool(np.size(constant)) and bool((constant == np.ravel(constant)[0]).all())


def _repeats(numbers: np.ndarray, axis: int) -> bool:
    return (
        bool(np.all(numbers == numbers.take([0], axis=axis))) if numbers.size else True
    )


class _Walk:
    """Goes through the equations; keeps what is known of every variable."""

    def __init__(self, program: jaxprs.Program) -> None:
        self.graph = Graph()
        self._jaxpr = program.jaxpr
        self._known = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
        self._values = {v: self.graph.value(v.aval.shape) for v in program.jaxpr.invars}
        # Elementwise results wait here until an operation of another kind needs them:
        # for each the variable that it is a function of, and the equations between.
        self._islands: dict[Any, tuple[Any, _Chain]] = {}
        self._keep_whole_numbers(self._values)

    def step(self, eqn: core.JaxprEqn) -> None:
        """Takes in one equation, whose operands are known."""
        constants = [self._constant(atom) for atom in eqn.invars]
        if all(constant is not None for constant in constants):
            self._known.update(self._evaluate(eqn))
        elif (island := self._island(eqn, constants)) is not None:
            self._islands[eqn.outvars[0]] = island
        else:
            free = eqn.primitive.name in rules.ZERO_IS_FREE
            operands = [
                None if free and _is_zero(c) else self.value(atom)
                for atom, c in zip(eqn.invars, constants, strict=True)
            ]
            results = rules.apply(self.graph, eqn, operands)
            values = dict(zip(eqn.outvars, results, strict=True))
            self._keep_whole_numbers(values)
            self._values.update(values)

    def _keep_whole_numbers(self, values: dict[Any, Value]) -> None:
        """Allows only permutations where a scaled value would have to be rounded."""
        for var, value in values.items():
            if not jax.numpy.issubdtype(var.aval.dtype, jax.numpy.inexact):
                for axis in value:
                    self.graph.freeze(axis)

    def _evaluate(self, eqn: core.JaxprEqn) -> dict[Any, Any]:
        known = {v: self._known[v] for v in jaxprs.variables(eqn.invars)}
        alone = self._jaxpr.replace(
            constvars=[], invars=[*known], outvars=eqn.outvars, eqns=[eqn]
        )
        with jax.ensure_compile_time_eval():
            results = eval_jaxpr(alone, (), *known.values())
        return dict(zip(eqn.outvars, results, strict=True))

    def value(self, atom: Any) -> Value:
        """Returns the axes of a variable or a constant."""
        constant = self._constant(atom)
        if constant is not None:
            return self._constant_value(constant)
        if atom not in self._values:
            root, chain = self._islands[atom]
            sigma = islands.function(root, chain, atom, self._known)
            self._values[atom] = islands.apply(self.graph, self.value(root), sigma)
        return self._values[atom]

    def _constant(self, atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else self._known.get(atom)

    def _constant_value(self, constant: Any) -> Value:
        """Fixes the axes along which a constant varies; along others it repeats."""
        value = self.graph.value(np.shape(constant))
        numbers = np.asarray(constant) if _is_numeric(constant) else None
        for i, axis in enumerate(value):
            if numbers is not None and _repeats(numbers, i):
                self.graph.freeze(axis)
            else:
                self.graph.fix(axis, "a constant that varies along it")
        return value

    def _island(self, eqn: Any, constants: Sequence[Any]) -> tuple[Any, _Chain] | None:
        """Extends the chains of the operands if the result is a function of one value.

        The constants in it must be uniform, as one function is meant for all entries.
        """
        if eqn.primitive.name not in rules.ELEMENTWISE:
            return None
        if any(c is not None and not _is_uniform(c) for c in constants):
            return None
        moving = [a for a, c in zip(eqn.invars, constants, strict=True) if c is None]
        found = [self._islands.get(atom, (atom, {})) for atom in moving]
        root, result = found[0][0], eqn.outvars[0]
        if any(other is not root for other, _ in found):
            return None
        if not jax.numpy.issubdtype(root.aval.dtype, jax.numpy.floating):
            return None
        complex_result = jax.numpy.issubdtype(
            result.aval.dtype, jax.numpy.complexfloating
        )
        if complex_result or root.aval.shape != result.aval.shape:
            return None
        merged = {var: e for _, chain in found for var, e in chain.items()}
        return root, {**merged, result: eqn}
