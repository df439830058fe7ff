"""Goes through the equations of a program and keeps what is known of its values."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.core import eval_jaxpr
from jax.extend import core

from symjax_lib import jaxprs
from symjax_lib.symmetry import islands, rules
from symjax_lib.symmetry.axes import Axis
from symjax_lib.symmetry.constants import alike, is_uniform, is_zero, zeros
from symjax_lib.symmetry.graph import Graph, Value
from symjax_lib.symmetry.rewriting import simplified
from symjax_lib.symmetry.whole import relate

_Chain = dict[Any, Any]


class Walk:
    """Goes through the equations; keeps what is known of every variable."""

    def __init__(self, program: jaxprs.Program) -> None:
        self.graph = Graph()
        self.used: dict[Any, None] = {}
        self._jaxpr = program.jaxpr
        self._known = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
        self._values: dict[Any, Value] = {}
        self._wholes: dict[Any, Axis] = {}
        self._all = self.graph.axes.new(1)
        # Elementwise results wait here until an operation of another kind needs them:
        # for each the variable that it is a function of, and the equations between.
        self._islands: dict[Any, tuple[Any, _Chain]] = {}
        # An activation is a function of data; the root of a variance is none.
        self._data = jaxprs.depends_on(program.jaxpr.eqns, program.inputs)
        invars: Sequence[Any] = program.jaxpr.invars
        for var in invars:
            self._set(var, self.graph.value(var.aval.shape))

    def run(self, eqns: Sequence[core.JaxprEqn]) -> None:
        """Takes in equations, in an order in which their operands are known."""
        for eqn in eqns:
            eqn = self._decided(eqn)
            constants = [self._constant(atom) for atom in eqn.invars]
            if eqn.primitive.name in rules.PRODUCTS and any(map(is_zero, constants)):
                # What a state of zeros is multiplied by, taken to be finite, is unused.
                self._known.update(zeros(eqn))
                continue
            self.used.update(dict.fromkeys(jaxprs.variables(eqn.invars)))
            self._step(eqn, constants)

    def _decided(self, eqn: core.JaxprEqn) -> core.JaxprEqn:
        """Writes a choice with a known outcome, such as that in `var`, as that."""
        known = self._constant(eqn.invars[0]) if eqn.invars else None
        if eqn.primitive.name != "select_n" or known is None or not is_uniform(known):
            return eqn
        chosen: Any = eqn.invars[1 + int(np.ravel(known)[0])]
        params = {"new_dtype": chosen.aval.dtype, "weak_type": False, "sharding": None}
        return eqn.replace(
            primitive=lax.convert_element_type_p, invars=[chosen], params=params
        )

    def fix(self, atom: Any, reason: str) -> None:
        """Allows nothing on the axes of a variable."""
        for axis in self.value(atom):
            self.graph.fix(axis, reason)
        self.graph.freeze(self.whole(atom))

    def same(self, a: Any, b: Any) -> None:
        """Joins the axes of two variables that are transformed alike."""
        for left, right in zip(self.value(a), self.value(b), strict=True):
            self.graph.same(left, right)
        self.graph.equations.equal(self.whole(a), self.whole(b))

    def _step(self, eqn: core.JaxprEqn, constants: Sequence[Any]) -> None:
        if all(constant is not None for constant in constants):
            self._known.update(self._evaluate(eqn))
        elif (island := self._island(eqn, constants)) is not None:
            self._islands[eqn.outvars[0]] = island
        elif eqn.primitive.name == "scan":
            self._scan(eqn)
        else:
            free = eqn.primitive.name in rules.ZERO_IS_FREE
            operands = [
                None if free and is_zero(c) else self.value(atom)
                for atom, c in zip(eqn.invars, constants, strict=True)
            ]
            results = rules.apply(self.graph, eqn, operands, constants)
            for var, result in zip(eqn.outvars, results, strict=True):
                self._set(var, result)
            scaled = [
                None if is_zero(c) else self.whole(atom)
                for atom, c in zip(eqn.invars, constants, strict=True)
            ]
            wholes = [self.whole(var) for var in eqn.outvars]
            relate(self.graph, eqn, scaled, wholes)

    def _set(self, var: Any, value: Value, all_of_it: Axis | None = None) -> None:
        """Takes in the axes of a variable, the one for all of it new if not given."""
        self._values[var] = value
        self._wholes[var] = self._new_whole() if all_of_it is None else all_of_it
        self.graph.see(value)
        if not jax.numpy.issubdtype(var.aval.dtype, jax.numpy.inexact):
            # A whole number that is scaled would have to be rounded.
            for axis in (*value, self._wholes[var]):
                self.graph.freeze(axis)

    def whole(self, atom: Any) -> Axis:
        """Returns the axis of size 1 by which all of a value is scaled."""
        if self._constant(atom) is not None:
            constant = self._new_whole()
            self.graph.freeze(constant)
            return constant
        self.value(atom)
        return self._wholes[atom]

    def _new_whole(self) -> Axis:
        axis = self.graph.axes.new(1)
        self.graph.axes.unify(axis, self._all)
        return axis

    def _scan(self, eqn: core.JaxprEqn) -> None:
        """A loop: its body once, where stacked values exist for each iteration.

        What is carried from one iteration to the next is transformed alike in all.
        """
        p = eqn.params
        body = simplified(jaxprs.written_out(p["jaxpr"]))
        first, last = p["num_consts"], p["num_consts"] + p["num_carry"]
        for var, atom in zip(body.inputs[:first], eqn.invars, strict=False):
            if (constant := self._constant(atom)) is not None:
                self._known[var] = constant
            else:
                self._set(var, self.value(atom), self.whole(atom))
        carried: list[Any] = [*zip(body.inputs, eqn.invars, strict=True)][first:last]
        for var, atom in carried:
            self._set(var, self.graph.value(var.aval.shape))
            if not is_zero(self._constant(atom)):
                self.same(var, atom)
        loop = self.graph.axes.new(p["length"])
        self.graph.fix(loop, "iterations of a loop")
        self._data |= jaxprs.depends_on(body.jaxpr.eqns, body.inputs[first:])
        with self.graph.inside(loop):
            for var, atom in zip(body.inputs[last:], eqn.invars[last:], strict=True):
                iteration, *value = self.value(atom)
                self.graph.same(iteration, loop)
                self._set(var, value, self.whole(atom))
            self.run(jaxprs.needed(body.jaxpr.eqns, body.jaxpr.outvars, ()))
            results = [self.value(atom) for atom in body.jaxpr.outvars]
        for i, (var, _) in enumerate(carried):
            self.same(var, body.jaxpr.outvars[i])
        for i, (var, value) in enumerate(zip(eqn.outvars, results, strict=True)):
            axes = value if i < len(carried) else [loop, *value]
            self._set(var, axes, self.whole(body.jaxpr.outvars[i]))

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
            operand = [*self.value(root), self.whole(root)]
            *value, all_of_it = islands.apply(self.graph, operand, sigma)
            if atom in self._data:
                self.graph.mark(value, jaxprs.line(chain[atom]))
            self._set(atom, value, all_of_it)
        return self._values[atom]

    def _constant(self, atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else self._known.get(atom)

    def _constant_value(self, constant: Any) -> Value:
        """Fixes the positions at which a constant is like nowhere else along an axis.

        Positions at which it is alike may be permuted.
        """
        value = self.graph.value(np.shape(constant))
        for i, axis in enumerate(value):
            kinds = alike(constant, i)
            if kinds is None:
                self.graph.fix(axis, "a constant that varies along it")
                continue
            if len(kinds) > 1:
                parts = [self.graph.axes.new(at.size) for at in kinds]
                for part, at in zip(parts, kinds, strict=True):
                    if at.size == 1:
                        self.graph.fix(part, "a constant that varies along it")
                value[i] = axis = self.graph.pieces(parts, kinds)
            self.graph.freeze(axis)
        return value

    def _island(self, eqn: Any, constants: Sequence[Any]) -> tuple[Any, _Chain] | None:
        """Extends the chains of the operands if the result is a function of one value.

        The constants in it must be uniform, as one function is meant for all entries.
        """
        if eqn.primitive.name not in rules.ELEMENTWISE:
            return None
        if any(c is not None and not is_uniform(c) for c in constants):
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
