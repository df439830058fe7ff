"""The action on gradients, and on the averages of them that optimisers keep."""

from collections.abc import Mapping
from typing import Any

import jax

from symjax_lib.symmetry.action import check_names, variable_specs, with_paths
from symjax_lib.symmetry.apply import transform
from symjax_lib.symmetry.elements import Element
from symjax_lib.symmetry.spec import ArraySpec, SymmetrySpec

# Names of optax's fields: averages of gradients, and of their squares.
MOMENTS = {"mu": -1, "trace": -1, "nu": -2, "nu_max": -2, "sum_of_squares": -2}


def act_on_gradients(spec: SymmetrySpec, g: Element, gradients: Any) -> Any:
    r"""Transforms gradients as those of the transformed variables are.

    Where a variable is multiplied by :math:`a`, the derivative by it is divided by
    :math:`a`; permutations and signs act on both alike.

    Args:
      spec: of the function.
      g: an element for each space.
      gradients: a tree like the variables, or a part of them such as "params".

    Returns:
      A tree like `gradients`.

    Raises:
      ValueError: a gradient is that of no variable, or has another shape.

    Example:
      >>> from symjax_lib import symmetry
      >>> loss = lambda v, x: (jax.nn.relu(x @ v["in"]) @ v["out"]).sum()
      >>> v = {"in": jnp.eye(3, 4), "out": jnp.ones((4, 2))}
      >>> spec = symmetry.trace(loss, v, jnp.eye(3))
      >>> g = symmetry.sample(jax.random.key(0), spec)
      >>> there = jax.grad(loss)(symmetry.act(spec, g, v), jnp.eye(3))
      >>> here = act_on_gradients(spec, g, jax.grad(loss)(v, jnp.eye(3)))
      >>> bool(jnp.allclose(there["in"], here["in"], rtol=1e-5))
      True
    """
    check_names(spec, g)
    specs = variable_specs(spec)
    moved = [
        _moved("symmetry.act_on_gradients", path, path, specs, spec, g, x, -1)
        for path, x in with_paths(gradients)
    ]
    return jax.tree.unflatten(jax.tree.structure(gradients), moved)


def act_on_optimizer(
    spec: SymmetrySpec,
    g: Element,
    state: Any,
    *,
    moments: Mapping[str, int] = MOMENTS,
) -> Any:
    """Transforms the moments in the state of an optimiser with the variables.

    After permutations and signs training goes on as it would have gone; after scalings
    the moments are those of the new gradients, but no common optimiser takes the same
    steps.

    Args:
      spec: of the function whose variables are optimised.
      g: an element for each space.
      state: of an optax optimiser of the variables, or of a part such as "params".
      moments: for fields by name the power of the variables' scalings: -1 for averages
        of gradients, -2 for averages of their squares. Other fields stay.

    Returns:
      A tree like `state`.

    Raises:
      ValueError: a moment is that of no variable, has another shape, or has no image:
        squares of gradients under general linear matrices.

    Example:
      >>> import optax
      >>> from symjax_lib import symmetry
      >>> f = lambda v, x: jax.nn.relu(x @ v["in"]) @ v["out"]
      >>> v = {"in": jnp.eye(3, 4), "out": jnp.ones((4, 2))}
      >>> state = optax.adam(1e-3).init(v)
      >>> spec = symmetry.trace(f, v, jnp.eye(3))
      >>> g = symmetry.sample(jax.random.key(0), spec)
      >>> act_on_optimizer(spec, g, state)[0].mu["in"].shape
      (3, 4)
    """
    check_names(spec, g)
    specs = variable_specs(spec)
    moved = []
    for path, x in with_paths(state):
        parts = path.split("/")
        fields = [i for i, part in enumerate(parts) if part in moments]
        if fields:
            name, power = "/".join(parts[fields[0] + 1 :]), moments[parts[fields[0]]]
            caller = "symmetry.act_on_optimizer"
            x = _moved(caller, path, name, specs, spec, g, x, power)
        moved.append(x)
    return jax.tree.unflatten(jax.tree.structure(state), moved)


def _moved(
    caller: str,
    path: str,
    name: str,
    specs: Mapping[str, ArraySpec],
    spec: SymmetrySpec,
    g: Element,
    x: Any,
    power: int,
) -> jax.Array:
    """Transforms what belongs to a variable, of which the name may lack the front."""
    ends = [p for p in specs if p == name or p.endswith(f"/{name}")]
    if len(ends) != 1:
        raise ValueError(
            f"{caller}: {path!r} belongs to {ends or 'none'} of the variables "
            f"{list(specs)}; pass a tree like the variables, or a part of them."
        )
    return transform(caller, path, specs[ends[0]], g, x, spec.spaces, power=power)
