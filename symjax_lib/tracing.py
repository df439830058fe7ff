r"""Names values inside any JAX function, reads them, and cuts the function at one.

`tap(x, name)` marks a value where it is computed. `taps(fn)` also returns all marked
values. `split(fn, name)` cuts `fn` into the part before the value and the part after,

.. math:: f = f_{>l} \circ f_{\leq l},

which is what stitching needs: front and back may run with different variables, or come
from different functions. All of it works on the traced function, so the model may be
written in any library, and the results can be jitted, vmapped and differentiated.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.core import eval_jaxpr
from jax.extend import core

from symjax_lib import jaxprs


def tap(x: jax.Array, name: str) -> jax.Array:
    """Names a value; returns it unchanged and costs nothing in the compiled function.

    Use the result: `x = tap(nn.relu(x), "conv1")`. A value that nobody uses is not on
    the way to the output, and cannot be cut at. It is JAX's `checkpoint_name` with the
    name `tap:conv1`, by which `jax.checkpoint` policies can refer to it; other names
    that a model gives are left alone.

    Args:
      x: one array.
      name: unique within the function.

    Returns:
      `x`.

    Raises:
      TypeError: `x` is not one array (a name must stand for one value).

    Example:
      >>> tap(jnp.ones(2), "ones").tolist()
      [1.0, 1.0]
    """
    if len(jax.tree.leaves(x)) != 1 or jax.tree.leaves(x)[0] is not x:
        raise TypeError(f"tap: {name!r} must name one array, got {type(x).__name__}.")
    return checkpoint_name(x, jaxprs.PREFIX + name)


def taps(fn: Callable) -> Callable:
    """Makes a function return its named values beside its output.

    Args:
      fn: any function that JAX can trace.

    Returns:
      A function of the same arguments, by position, that returns `(out, {name:
      value})`, the names in the order in which they are computed.

    Raises:
      ValueError: (when called) two values have one name, or one is inside a loop.

    Example:
      >>> f = lambda w, x: jnp.sum(tap(jnp.tanh(w * x), "hidden"))
      >>> out, named = taps(f)(2.0, jnp.zeros(3))
      >>> float(out), named["hidden"].shape
      (0.0, (3,))
    """

    def with_taps(*args: Any) -> tuple[Any, dict[str, jax.Array]]:
        program = jaxprs.trace(fn, *args)
        named = jaxprs.named_values("tracing.taps", program)
        jaxpr = program.jaxpr.replace(outvars=[*program.jaxpr.outvars, *named.values()])
        leaves = jax.tree.leaves(args)
        results = eval_jaxpr(jaxpr, program.consts, *leaves)
        count = program.out_tree.num_leaves
        out = jax.tree.unflatten(program.out_tree, results[:count])
        return out, dict(zip(named, results[count:], strict=True))

    return with_taps


def split(fn: Callable, name: str) -> tuple[Callable, Callable]:
    r"""Cuts a function at a named value.

    The front computes the value from its ancestors, and nothing else; every other
    equation runs in the back. A value on the way to the tap that depends on the inputs
    and that the back needs too (the skip connection around a tap inside a residual
    block) travels in `rest`. What depends on the variables alone, such as a cast or
    normalised weight or a step count, never does: the back computes it from its own
    variables. Outputs that are computed from the front's values and the inputs, such as
    updated statistics of the layers before the cut, are the front's.

    An operation that mixes weights of both halves with an input, such as noise added to
    all variables in one vector, is the front's as a whole, and so are its results.

    Args:
      fn: any function that JAX can trace, of the variables first and then the inputs.
      name: of a `tap` in `fn`, outside loops.

    Returns:
      `front(*args) -> (value, rest)` and `back(value, rest, *args) -> out` with
      `back(*front(v, x), v, x) == fn(v, x)`. Front and back may be given different
      variables, or come from different functions, if the shapes of `value` and `rest`
      are those that the back expects.

    Raises:
      ValueError: (when called) there is no such name (the message lists those there
        are), a name is given twice, the value is not used, or `value` and `rest` do
        not fit.

    Example:
      >>> f = lambda w, x: x + w["b"] * tap(jnp.tanh(w["a"] * x), "hidden")
      >>> front, back = split(f, "hidden")
      >>> v, w = {"a": 1.0, "b": 2.0}, {"a": 5.0, "b": 3.0}
      >>> value, rest = front(v, 1.0)
      >>> bool(jnp.isclose(back(value, rest, w, 1.0), 1 + 3 * jnp.tanh(1.0)))
      True
    """

    def front(*args: Any) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        program = jaxprs.trace(fn, *args)
        cut = _cut(program, name)
        value, *rest = _run(program, [cut.value, *cut.rest], {}, args)
        return value, tuple(rest)

    def back(value: jax.Array, rest: tuple[jax.Array, ...], *args: Any) -> Any:
        program = jaxprs.trace(fn, *args)
        cut = _cut(program, name)
        given = (value, *rest)
        _check_fit(name, (cut.value, *cut.rest), given)
        known = dict(zip((cut.value, *cut.rest), given, strict=True))
        results = _run(program, program.jaxpr.outvars, known, args)
        return jax.tree.unflatten(program.out_tree, results)

    return front, back


def downstream(fn: Callable, name: str) -> Callable:
    """Makes a function that tells which outputs depend on a named value.

    Args:
      fn: any function that JAX can trace.
      name: of a `tap` in `fn`, outside loops.

    Returns:
      A function of the same arguments that returns a tree like the output of `fn`, with
      True or False for every array. It traces `fn` and computes nothing.

    Example:
      >>> def f(w, x):
      ...     hidden = tap(w * x, "hidden")
      ...     return {"loss": hidden.sum(), "mean": x.mean()}
      >>> downstream(f, "hidden")(1.0, jnp.ones(3))
      {'loss': True, 'mean': False}
    """

    def depends(*args: Any) -> Any:
        program = jaxprs.trace(fn, *args)
        named = jaxprs.named_values("tracing.downstream", program)
        _check_name("tracing.downstream", name, named)
        reached = jaxprs.depends_on(program.jaxpr.eqns, [named[name]])
        flags = [
            not isinstance(atom, core.Literal) and atom in reached
            for atom in program.jaxpr.outvars
        ]
        return jax.tree.unflatten(program.out_tree, flags)

    return depends


def bypassed(fn: Callable) -> Callable:
    """Makes a function that tells which named values a skip connection leads around.

    Args:
      fn: any function that JAX can trace.

    Returns:
      A function of the same arguments that returns `{name: bool}`: whether `rest` of a
      `split` at that name holds anything, as inside a residual block. Inputs are no
      part of `rest`. It traces `fn` once and computes nothing.

    Raises:
      ValueError: (when called) as `split`, for any of the names.

    Example:
      >>> f = lambda w, x: tap(x + tap(jnp.tanh(w * x), "inside"), "after")
      >>> bypassed(f)(1.0, jnp.ones(3))
      {'inside': False, 'after': False}
      >>> g = lambda w, x: f(w, jnp.sin(x))
      >>> bypassed(g)(1.0, jnp.ones(3))
      {'inside': True, 'after': False}
    """

    def around(*args: Any) -> dict[str, bool]:
        program = jaxprs.trace(fn, *args)
        named = jaxprs.named_values("tracing.bypassed", program)
        return {name: bool(_cut(program, name).rest) for name in named}

    return around


class _Cut(NamedTuple):
    value: core.Var
    rest: list[core.Var]


def _cut(program: jaxprs.Program, name: str) -> _Cut:
    named = jaxprs.named_values("tracing.split", program)
    _check_name("tracing.split", name, named)
    value, eqns = named[name], program.jaxpr.eqns
    outputs = jaxprs.variables(program.jaxpr.outvars)
    after = jaxprs.depends_on(eqns, [value])
    if not any(var in after for var in outputs):
        raise ValueError(
            f"tracing.split: no output depends on tap {name!r}; use what it returns, "
            f"x = tap(x, {name!r})."
        )
    dynamic = jaxprs.depends_on(eqns, program.inputs)
    front = dynamic & _results(jaxprs.needed(eqns, [value], ()))
    main = jaxprs.needed(eqns, [var for var in outputs if var in after], [value])
    to_main = _results(main)
    # What serves other outputs only is the front's if it is made of the front's alone.
    for eqn in eqns:
        sources = dynamic.intersection(jaxprs.variables(eqn.invars))
        alone = sources & front and sources <= front.union(program.inputs)
        if alone and not to_main & {*eqn.outvars}:
            front |= dynamic.intersection(eqn.outvars)
    front.discard(value)
    back = jaxprs.needed(eqns, outputs, [value, *front])
    used = {*outputs}.union(*(jaxprs.variables(eqn.invars) for eqn in back))
    return _Cut(value, [v for eqn in eqns for v in eqn.outvars if v in front & used])


def _check_name(caller: str, name: str, named: dict[str, core.Var]) -> None:
    if name not in named:
        raise ValueError(
            f"{caller}: no tap {name!r}; this function names {jaxprs.listed(named)}."
        )


def _results(eqns: list[core.JaxprEqn]) -> set[core.Var]:
    return {var for eqn in eqns for var in eqn.outvars}


def _check_fit(name: str, expected: Any, given: Any) -> None:
    wanted = [var.aval.shape for var in expected]
    shapes = [jax.numpy.shape(value) for value in given]
    if wanted != shapes:
        raise ValueError(
            f"tracing.split: at tap {name!r} the back takes a value of shape "
            f"{wanted[0]} and rest of {wanted[1:]}, got {shapes[0]} and {shapes[1:]}; "
            "front and back must agree at the cut."
        )


def _run(
    program: jaxprs.Program, targets: list[Any], known: dict[core.Var, Any], args: Any
) -> list[Any]:
    jaxpr = program.jaxpr
    jaxpr = jaxpr.replace(
        eqns=jaxprs.needed(jaxpr.eqns, targets, [*known, *jaxpr.invars]),
        invars=[*known, *jaxpr.invars],
        outvars=targets,
    )
    leaves = jax.tree.leaves(args)
    return eval_jaxpr(jaxpr, program.consts, *known.values(), *leaves)
