"""A program with some operations written as others, before its axes are followed.

- What stacks, splits or repeats is written as slices, concatenations and reshapes.
- A slice of a reshaped or transposed value is taken first, and then reshaped: the heads
  of `qkv.reshape(n, t, 3, heads, d)` are those of three values then, not of one.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from symjax_lib import jaxprs


class Writer:
    """Equations in order, and which of them computes each variable."""

    def __init__(self) -> None:
        self.eqns: list[core.JaxprEqn] = []
        self.source: dict[Any, core.JaxprEqn] = {}

    def append(self, eqn: core.JaxprEqn) -> None:
        """Takes in an equation."""
        self.eqns.append(eqn)
        self.source.update(dict.fromkeys(eqn.outvars, eqn))

    def inline(self, body: core.ClosedJaxpr, atoms: Sequence[Any]) -> list[Any]:
        """Takes in the equations of a function of some atoms; returns its results."""
        eqns: list[core.JaxprEqn] = []
        results = jaxprs.inline(body, atoms, eqns)
        for eqn in eqns:
            self.append(eqn)
        return results

    def write(self, fn: Callable, *atoms: Any) -> list[Any]:
        """Takes in a function of some atoms; returns its results, in one list."""
        shapes = [jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in atoms]
        return self.inline(jax.make_jaxpr(fn)(*shapes), atoms)


Rule = Callable[[Writer, core.JaxprEqn, Sequence[Any]], list[Any] | None]
"""Writes an equation of given operands in another way, or returns None to keep it."""


def rewrite(jaxpr: core.Jaxpr, rule: Rule) -> core.Jaxpr:
    """Returns a program with the equations that a rule writes; it does the same.

    Args:
      jaxpr: a flat program.
      rule: for its equations, in order.
    """
    writer = Writer()
    env: dict[Any, Any] = {}
    read = lambda atom: atom if isinstance(atom, core.Literal) else env.get(atom, atom)
    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        results = rule(writer, eqn, operands)
        if results is None:
            writer.append(eqn.replace(invars=operands))
        else:
            env.update(zip(eqn.outvars, results, strict=True))
    return jaxpr.replace(
        eqns=writer.eqns, outvars=[read(atom) for atom in jaxpr.outvars]
    )


def simplified(program: jaxprs.Program) -> jaxprs.Program:
    """Returns a program in which slices come first, of operations that have rules.

    Args:
      program: any.
    """
    jaxpr = rewrite(rewrite(program.jaxpr, _equivalent), _slice_first)
    return program._replace(jaxpr=jaxpr)


def _equivalent(
    writer: Writer, eqn: core.JaxprEqn, operands: Sequence[Any]
) -> list[Any] | None:
    if eqn.primitive.name not in EQUIVALENT:
        return None
    return writer.write(EQUIVALENT[eqn.primitive.name](eqn.params), *operands)


def _split(params: dict[str, Any]) -> Callable:
    axis, sizes = params["axis"], params["sizes"]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return lambda x: [
        lax.slice_in_dim(x, start, start + size, axis=axis)
        for start, size in zip(starts, sizes, strict=True)
    ]


def _unstack(params: dict[str, Any]) -> Callable:
    axis = params["axis"]
    return lambda x: [
        lax.squeeze(lax.slice_in_dim(x, i, i + 1, axis=axis), [axis])
        for i in range(x.shape[axis])
    ]


def _stack(params: dict[str, Any]) -> Callable:
    axis = params["axis"]
    return lambda *xs: lax.concatenate([jnp.expand_dims(x, axis) for x in xs], axis)


def _tile(params: dict[str, Any]) -> Callable:
    times = params["reps"]

    def tile(x: jax.Array) -> jax.Array:
        pairs = [n for pair in zip(times, x.shape, strict=True) for n in pair]
        wide = lax.broadcast_in_dim(x, pairs, range(1, 2 * x.ndim, 2))
        return wide.reshape([r * n for r, n in zip(times, x.shape, strict=True)])

    return tile


EQUIVALENT: dict[str, Callable[[dict[str, Any]], Callable]] = {
    "split": _split,
    "unstack": _unstack,
    "stack": _stack,
    "tile": _tile,
}


class _Box(NamedTuple):
    """A part of a value, as `lax.slice` takes it."""

    starts: Sequence[int]
    limits: Sequence[int]
    strides: Sequence[int]


def _slice_first(
    writer: Writer, eqn: core.JaxprEqn, operands: Sequence[Any]
) -> list[Any] | None:
    if eqn.primitive.name != "slice":
        return None
    starts, limits = eqn.params["start_indices"], eqn.params["limit_indices"]
    box = _Box(starts, limits, eqn.params["strides"] or [1] * len(starts))
    return [_take(writer, operands[0], box)]


def _take(writer: Writer, atom: Any, box: _Box) -> Any:
    """Returns a part of a value, cut out as early as can be."""
    eqn = None if isinstance(atom, core.Literal) else writer.source.get(atom)
    name = "" if eqn is None else eqn.primitive.name
    if eqn is not None and name == "transpose":
        order = eqn.params["permutation"]
        back = [order.index(i) for i in range(len(order))]
        earlier = _Box(*([side[i] for i in back] for side in box))
        part = _take(writer, eqn.invars[0], earlier)
        return writer.write(lambda x: lax.transpose(x, order), part)[0]
    if eqn is not None and name == "reshape" and eqn.params["dimensions"] is None:
        source = eqn.invars[0]
        between, earlier = _before_reshape(_sizes(source), _sizes(atom), box)
        if between != _sizes(atom):
            if between != _sizes(source):
                (source,) = writer.write(lambda x: lax.reshape(x, between), source)
            part = _take(writer, source, earlier)
            shape = _shape(box)
            return writer.write(lambda x: lax.reshape(x, shape), part)[0]
    return writer.write(lambda x: lax.slice(x, *box), atom)[0]


def _sizes(atom: Any) -> tuple[int, ...]:
    return atom.aval.shape


def _shape(box: _Box) -> list[int]:
    return [-(-(b - a) // s) for a, b, s in zip(*box, strict=True)]


def _before_reshape(
    source: tuple[int, ...], target: tuple[int, ...], box: _Box
) -> tuple[tuple[int, ...], _Box]:
    """Returns the shape to reshape to at first, and the part of that.

    It has the axes of the source, but those of which a part is taken that is not one
    range are taken apart; it is the target if nothing is gained.
    """
    stay = target, box
    if not all(source) or not all(_shape(box)):
        return stay
    parts = {
        i: side
        for i, side in enumerate(zip(*box, strict=True))
        if side != (0, target[i], 1)
    }
    pieces: dict[int, list[tuple[int, tuple[int, int, int]]]] = {}
    for ours, theirs in matched(source, target):
        cut = [i for i in theirs if i in parts]
        if cut and (len(ours) > 1 or len(cut) > 1 or parts[cut[0]][2] > 1):
            return stay
        if cut:
            at = theirs.index(cut[0])
            before = math.prod(target[i] for i in theirs[:at])
            inner = math.prod(target[i] for i in theirs[at + 1 :])
            start, limit, _ = parts.pop(cut[0])
            whole = [(before, (0, before, 1))] if before > 1 else []
            size = target[cut[0]] * inner
            pieces[ours[0]] = [*whole, (size, (start * inner, limit * inner, 1))]
    if parts:
        return stay
    split = [
        piece for i, n in enumerate(source) for piece in pieces.get(i, [(n, (0, n, 1))])
    ]
    shape = tuple(n for n, _ in split)
    return shape, _Box(*zip(*(side for _, side in split), strict=True))


def matched(
    left: Sequence[int], right: Sequence[int]
) -> list[tuple[list[int], list[int]]]:
    """Returns the axes on either side of a reshape that are made of the same.

    Args:
      left: sizes, none of them 0.
      right: sizes of the same product.

    Returns:
      Groups of axes with equal products, in order; without those of size 1.

    Example:
      >>> matched((2, 1, 6, 5), (2, 3, 2, 5))
      [([0], [0]), ([2], [1, 2]), ([3], [3])]
    """
    ours = [i for i, n in enumerate(left) if n > 1]
    theirs = [i for i, n in enumerate(right) if n > 1]
    groups = []
    while ours and theirs:
        a, b = [ours.pop(0)], [theirs.pop(0)]
        while (m := math.prod(left[i] for i in a)) != (
            n := math.prod(right[i] for i in b)
        ):
            if m < n:
                a.append(ours.pop(0))
            else:
                b.append(theirs.pop(0))
        groups.append((a, b))
    return groups
