"""A function as one flat list of primitive equations, with every call written out."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.extend import core

# Calls whose body can stand in the place of the call.
_CALLS = ("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint")
# Calls with a rule of their own, mostly a derivative, which writing them out would
# lose.
_RULES = ("custom_jvp_call", "custom_vjp_call", "composite")
# A tap is JAX's `name`, which others use as well, so ours begin with this.
PREFIX = "tap:"


class Program(NamedTuple):
    """A function traced at some arguments.

    Attributes:
      jaxpr: the flat `Jaxpr`; its inputs are the leaves of all arguments in order.
      consts: values of `jaxpr.constvars`.
      variables: those inputs that come from the first argument.
      inputs: those that come from the other arguments.
      out_tree: structure of the output.
    """

    jaxpr: Any
    consts: list[Any]
    variables: list[core.Var]
    inputs: list[core.Var]
    out_tree: Any


def trace(fn: Callable, *args: Any, rules: bool = True) -> Program:
    """Traces a function and writes out its calls (`jit`, `remat` and their like).

    Args:
      fn: any function of pytrees of arrays that JAX can trace.
      *args: its arguments; only shapes and dtypes matter. By convention the first one
        holds the variables and the others are the inputs.
      rules: keep calls with a derivative of their own (`custom_jvp`, `custom_vjp`)
        whole. Without it they are written out as well.

    Returns:
      A `Program`; control flow (`scan`, `while`, `cond`) stays one equation.
    """
    closed, out = jax.make_jaxpr(fn, return_shape=True)(*args)
    jaxpr = closed.jaxpr
    equations: list[core.JaxprEqn] = []
    outvars = _inline(jaxpr, [*jaxpr.constvars, *jaxpr.invars], equations, rules)
    flat = _flat(jaxpr, equations, jaxpr.invars, outvars)
    count = len(jax.tree.leaves(args[0])) if args else 0
    return Program(
        flat,
        closed.consts,
        jaxpr.invars[:count],
        jaxpr.invars[count:],
        jax.tree.structure(out),
    )


def written_out(body: core.ClosedJaxpr) -> Program:
    """Returns the body of a loop as a program of inputs alone, with new variables."""
    inputs = [core.Var(var.aval) for var in body.jaxpr.invars]
    equations: list[core.JaxprEqn] = []
    outvars = inline(body, inputs, equations)
    flat = _flat(body.jaxpr, equations, inputs, outvars).replace(constvars=[])
    return Program(flat, [], [], inputs, jax.tree.structure(outvars))


def inline(
    body: core.ClosedJaxpr, atoms: Sequence[Any], out: list[core.JaxprEqn]
) -> list[Any]:
    """Appends the equations of a function of some atoms; returns its results."""
    literals = map(core.Literal, body.consts, [v.aval for v in body.jaxpr.constvars])
    return _inline(body.jaxpr, [*literals, *atoms], out, rules=False)


def _flat(
    jaxpr: core.Jaxpr,
    eqns: Sequence[core.JaxprEqn],
    invars: Sequence[core.Var],
    outvars: Sequence[Any],
) -> core.Jaxpr:
    # Parts of it will have other inputs and outputs than the names that JAX noted.
    info = jaxpr.debug_info._replace(arg_names=None, result_paths=None)
    return jaxpr.replace(
        eqns=[*eqns], invars=[*invars], outvars=[*outvars], debug_info=info
    )


def _inline(
    jaxpr: core.Jaxpr,
    atoms: Sequence[Any],
    out: list[core.JaxprEqn],
    rules: bool,
    source: Any = None,
) -> list[Any]:
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], atoms, strict=True))
    read = lambda atom: atom if isinstance(atom, core.Literal) else env[atom]
    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        body, consts = _body(eqn, rules)
        # A function of a library is traced once, and keeps where that was.
        here = source or eqn.source_info
        if body is None:
            # One body may stand in many places, so its results need names of their own.
            results = [core.Var(var.aval) for var in eqn.outvars]
            out.append(eqn.replace(invars=operands, outvars=results, source_info=here))
        else:
            literals = map(core.Literal, consts, [v.aval for v in body.constvars])
            outer = here if source or _is_of_library(body) else None
            results = _inline(body, [*literals, *operands], out, rules, outer)
        env.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _is_of_library(body: core.Jaxpr) -> bool:
    return _LIBRARIES in body.debug_info.func_src_info


_LIBRARIES = "site-packages"


def line(eqn: core.JaxprEqn) -> str:
    """Returns where in the code of a model an equation is, as "file:line", if known."""
    traceback = eqn.source_info.traceback
    for frame in traceback.frames if traceback else ():
        path = Path(frame.file_name)
        if not {*path.parts} & {_LIBRARIES, "runpy.py"} and path.name != __file__:
            return f"{path.name}:{frame.line_num}"
    return ""


def _body(eqn: core.JaxprEqn, rules: bool) -> tuple[core.Jaxpr | None, Sequence[Any]]:
    name = eqn.primitive.name
    body = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    if name not in _CALLS and (rules or name not in _RULES):
        return None, ()
    if isinstance(body, core.ClosedJaxpr):
        return body.jaxpr, body.consts
    return body, ()


def tap_names(jaxpr: Any) -> list[str]:
    """Returns the names of all taps in a jaxpr, those in its calls and loops too."""
    jaxpr = jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr
    names = []
    for eqn in jaxpr.eqns:
        if (name := _tap_name(eqn)) is not None:
            names.append(name)
        for inner in core.jaxprs_in_params(eqn.params):
            names += tap_names(inner)
    return names


def named_values(caller: str, program: Program) -> dict[str, core.Var]:
    """Returns the variables that taps name, in order; `caller` begins the errors.

    Raises:
      ValueError: a name is given twice, or is inside a call that must stay whole.
    """
    counts = Counter(tap_names(program.jaxpr))
    doubled = [name for name, count in counts.items() if count > 1]
    if doubled:
        raise ValueError(
            f"{caller}: {listed(doubled)} name more than one value; this function "
            f"names {listed(counts)}, and every name must be given once."
        )
    taps = [(_tap_name(eqn), eqn) for eqn in program.jaxpr.eqns]
    named = {name: eqn.outvars[0] for name, eqn in taps if name is not None}
    hidden = [name for name in counts if name not in named]
    if hidden:
        raise ValueError(
            f"{caller}: {listed(hidden)} are inside a call that must stay whole: a "
            "loop or a branch (scan, while, cond, shard_map), where a value has no "
            "single place, or a function with a derivative of its own (custom_jvp, "
            "custom_vjp), which a cut would lose. Put the tap outside; this function "
            f"names {listed(named)} there."
        )
    return named


def listed(names: Any) -> str:
    """Returns names as they stand in an error message."""
    return ", ".join(repr(name) for name in names) or "no value at all"


def _tap_name(eqn: core.JaxprEqn) -> str | None:
    name = eqn.params["name"] if eqn.primitive.name == "name" else ""
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def depends_on(eqns: Iterable[core.JaxprEqn], roots: Iterable[core.Var]) -> set:
    """Returns the variables that the roots reach, themselves included."""
    reached = set(roots)
    for eqn in eqns:
        if any(var in reached for var in variables(eqn.invars)):
            reached.update(eqn.outvars)
    return reached


def needed(
    eqns: Sequence[core.JaxprEqn], targets: Iterable[Any], given: Iterable[core.Var]
) -> list[core.JaxprEqn]:
    """Returns the equations, in order, that compute the targets from what is given."""
    given, wanted, kept = set(given), set(variables(targets)), []
    for eqn in reversed(eqns):
        if any(var in wanted and var not in given for var in eqn.outvars):
            kept.append(eqn)
            wanted.update(variables(eqn.invars))
    return kept[::-1]


def variables(atoms: Iterable[Any]) -> list[core.Var]:
    """Returns those atoms that are variables, leaving out the literals."""
    return [atom for atom in atoms if not isinstance(atom, core.Literal)]
