"""Finds the symmetries of a function of variables, from the function itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from symjax_lib import jaxprs
from symjax_lib.symmetry import loops
from symjax_lib.symmetry.graph import Value
from symjax_lib.symmetry.rewriting import simplified
from symjax_lib.symmetry.spaces import solve
from symjax_lib.symmetry.spec import ArraySpec, SymmetrySpec
from symjax_lib.symmetry.walk import Walk


def trace(fn: Callable, variables: Any, *inputs: Any) -> SymmetrySpec:
    r"""Derives which changes of the variables leave a function as it is.

    Every axis of every value in the traced function belongs to a space of channels.
    Permutations act on each space that inputs, outputs, constants and operations with
    positions do not fix. Scalings and signs are the exponents that solve one linear
    equation per operation (Proposition 3.4 of the paper is the case of a chain of dense
    layers). An operation that is not understood fixes what it touches: refusing a
    symmetry is safe.

    Args:
      fn: any function `fn(variables, *inputs)` that JAX can trace. An output whose path
        ends with the whole path of a variable, and has its shape, is an update of it,
        such as BatchNorm's statistics in training mode, and is transformed as the
        variable is; all other outputs stay as they are.
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
    traced = jaxprs.trace(fn, variables, *inputs, rules=False)
    program, slices = loops.unrolled(traced)
    program = simplified(program)
    named = jaxprs.named_values("symmetry.trace", traced)
    outputs = program.jaxpr.outvars
    eqns = jaxprs.needed(program.jaxpr.eqns, [*outputs, *named.values()], ())
    walk = Walk(program)
    for var in program.inputs:
        walk.fix(var, "an input")
    walk.run(eqns)
    paths = _paths(variables)
    by_path = _by_path(paths, traced.variables, slices)
    updates: dict[str, Any] = {}
    for output, atom in _outputs(program).items():
        if (path := _updated(output, atom, by_path)) is not None:
            walk.same(atom, by_path[path])
            updates[output] = atom
        else:
            walk.fix(atom, "an output")
    order = {var: i for i, var in enumerate(walk.used)}
    for var in program.variables:
        if var not in order:
            walk.fix(var, "not used")
    by_use = sorted(by_path, key=lambda path: order.get(by_path[path], len(order)))
    values: Callable[[Any], dict[str, Value]] = lambda atoms: {
        name: [*walk.value(atom), walk.whole(atom)] for name, atom in atoms.items()
    }
    solved = solve(
        walk.graph,
        values({path: by_path[path] for path in by_use}),
        values(named),
        values(updates),
    )
    specs = [
        ArraySpec(
            (),
            slices=tuple(solved.parameters[f"{p}/{i}"] for i in range(len(slices[v]))),
        )
        if v in slices
        else solved.parameters[p]
        for p, v in zip(paths, traced.variables, strict=True)
    ]
    return SymmetrySpec(
        solved.spaces,
        jax.tree.unflatten(jax.tree.structure(variables), specs),
        solved.taps,
        solved.outputs,
        solved.fixed,
    )


def _by_path(
    paths: Sequence[str], variables: Sequence[Any], slices: Mapping[Any, list[Any]]
) -> dict[str, Any]:
    """Returns the variables by path, in place of a stacked one its slices."""
    named: list[tuple[str, Any]] = []
    for path, var in zip(paths, variables, strict=True):
        if var in slices:
            named += [(f"{path}/{i}", part) for i, part in enumerate(slices[var])]
        else:
            named.append((path, var))
    by_path = dict(named)
    if len(by_path) < len(named):
        names = [path for path, _ in named]
        raise ValueError(
            f"symmetry.trace: two variables have one path among {names}; rename one."
        )
    return by_path


def _paths(tree: Any) -> list[str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in leaves]


def _outputs(program: jaxprs.Program) -> dict[str, Any]:
    atoms = program.jaxpr.outvars
    paths = _paths(jax.tree.unflatten(program.out_tree, list(range(len(atoms)))))
    return dict(zip(paths, atoms, strict=True))


def _updated(output: str, atom: Any, variables: dict[str, Any]) -> str | None:
    """Returns the path of the variable that an output is an update of."""
    for path, var in variables.items():
        if path and f"/{output}".endswith(f"/{path}"):
            return path if atom.aval.shape == var.aval.shape else None
    return None
