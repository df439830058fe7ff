r"""The action of a function's symmetry group on its variables and named values."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from symjax_lib import groups
from symjax_lib.symmetry.apply import at_factor, transform
from symjax_lib.symmetry.elements import Element
from symjax_lib.symmetry.spec import ArraySpec, Factor, SymmetrySpec


def act(spec: SymmetrySpec, g: Element, variables: Any) -> Any:
    r"""Transforms variables so that the function stays the same.

    For a chain of dense layers this is :math:`W_l' = A_l W_l \, \phi(A_{l-1})^{-1}`,
    :math:`b_l' = A_l b_l`, and named values become :math:`\phi(A_l) f_{\leq l}(x)`. It
    is a group action: `act(spec, compose(g, h), v)` is `act(spec, g, act(spec, h, v))`.

    Args:
      spec: of the function.
      g: an element for each space of `spec`, as `sample` returns it.
      variables: a tree of the structure and shapes that `spec` was traced with.

    Returns:
      A tree like `variables`.

    Raises:
      ValueError: a path, a shape or a space is missing on one side.

    Example:
      >>> mlp = lambda v, x: jax.nn.relu(x @ v["in"]) @ v["out"]
      >>> v = {"in": jnp.ones((3, 2)), "out": jnp.ones((2, 4))}
      >>> from symjax_lib import symmetry
      >>> spec = symmetry.trace(mlp, v, jnp.ones((1, 3)))
      >>> one = groups.identity("permutation", 2)
      >>> g = {"in": symmetry.Channels(one, jnp.array([[2.0, 4.0]]), jnp.ones((0, 2)))}
      >>> w = act(spec, g, v)
      >>> w["in"][0].tolist(), w["out"][:, 0].tolist()
      ([2.0, 4.0], [0.5, 0.25])

    References:
      Godfrey et al. 2022, Proposition 3.4.
    """
    check_names(spec, g)
    arrays, specs = dict(with_paths(variables)), variable_specs(spec)
    for here, there, what in ((arrays, specs, "spec"), (specs, arrays, "variables")):
        if missing := [path for path in here if path not in there]:
            raise ValueError(
                f"symmetry.act: {missing[0]!r} is not in the {what}; trace the "
                "function that uses these variables."
            )
    moved = [
        transform("symmetry.act", path, specs[path], g, x, spec.spaces)
        for path, x in arrays.items()
    ]
    return jax.tree.unflatten(jax.tree.structure(variables), moved)


def act_on_tap(
    spec: SymmetrySpec, g: Element, name: str, value: jax.Array
) -> jax.Array:
    r"""Returns what a named value becomes when the variables are transformed by `g`.

    The two sides of :math:`f_{\leq l}(x, W') = \phi(A_l) f_{\leq l}(x, W)`: tapping the
    function with `act(spec, g, variables)` gives the left one, this the right one.

    Args:
      spec: of the function.
      g: an element for each space.
      name: of a tap.
      value: the named value under the variables before the action, any batch size.

    Returns:
      An array of the shape of `value`.

    Raises:
      ValueError: there is no such tap, or the value has other channels.

    Example:
      >>> from symjax_lib import symmetry, tracing
      >>> fn = lambda v, x: tracing.tap(jax.nn.relu(x @ v["in"]), "h") @ v["out"]
      >>> v = {"in": jnp.eye(3, 4), "out": jnp.ones((4, 2))}
      >>> spec = symmetry.trace(fn, v, jnp.eye(3))
      >>> g = symmetry.sample(jax.random.key(0), spec)
      >>> before = tracing.taps(fn)(v, jnp.eye(3))[1]["h"]
      >>> after = tracing.taps(fn)(act(spec, g, v), jnp.eye(3))[1]["h"]
      >>> bool(jnp.allclose(act_on_tap(spec, g, "h", before), after))
      True
    """
    check_names(spec, g)
    return transform(
        "symmetry.act_on_tap", name, _tap(spec, name), g, value, spec.spaces
    )


def act_on_outputs(spec: SymmetrySpec, g: Element, outputs: Any) -> Any:
    """Returns what a function's outputs become when the variables are transformed.

    They stay, but for updated variables such as the statistics of a BatchNorm.

    Args:
      spec: of the function.
      g: an element for each space.
      outputs: of the function.

    Returns:
      A tree like `outputs`.

    Example:
      >>> from symjax_lib import symmetry
      >>> fn = lambda v, x: {"loss": (v["w"] @ x).sum(), "w": v["w"] * 2}
      >>> v = {"w": jnp.eye(3)}
      >>> spec = symmetry.trace(fn, v, jnp.ones(3))
      >>> g = {"w": groups.Permutation(jnp.array([1, 2, 0]))}
      >>> list(spec.outputs)
      ['w']
    """
    check_names(spec, g)
    caller = "symmetry.act_on_outputs"
    moved = [
        transform(caller, path, spec.outputs[path], g, x, spec.spaces)
        if path in spec.outputs
        else x
        for path, x in with_paths(outputs)
    ]
    return jax.tree.unflatten(jax.tree.structure(outputs), moved)


def element_at(spec: SymmetrySpec, g: Element, name: str) -> Any:
    r"""Returns :math:`\phi(A_l)`, which transforms the channels (last axis) of a tap.

    Args:
      spec: of the function.
      g: an element for each space.
      name: of a tap whose last axis belongs to one space.

    Returns:
      A `groups.Monomial`, or `groups.General` where all matrices pass.

    Raises:
      ValueError: there is no such tap, or its last axis is fixed or mixed.

    Example:
      >>> from symjax_lib import symmetry, tracing
      >>> fn = lambda v, x: tracing.tap(jax.nn.relu(x @ v["in"]), "h") @ v["out"]
      >>> v = {"in": jnp.eye(3, 4), "out": jnp.ones((4, 2))}
      >>> spec = symmetry.trace(fn, v, jnp.eye(3))
      >>> element_at(spec, symmetry.sample(jax.random.key(0), spec), "h").scale.shape
      (4,)
    """
    check_names(spec, g)
    axes = _tap(spec, name).axes
    axis = axes[-1] if axes else None
    if not isinstance(axis, Factor) or axis.label not in g:
        raise ValueError(
            f"symmetry.element_at: the last axis of tap {name!r} is not one space of "
            f"channels; the taps that are: {_channel_taps(spec)}."
        )
    if spec.spaces[axis.label].over:
        raise ValueError(
            f"symmetry.element_at: the channels of tap {name!r} have an element for "
            f"each position of {spec.spaces[axis.label].over}; use act_on_tap."
        )
    return groups.as_monomial(at_factor(g[axis.label], axis))


def _channel_taps(spec: SymmetrySpec) -> list[str]:
    last = {name: array.axes[-1] for name, array in spec.taps.items() if array.axes}
    return [
        n for n, a in last.items() if isinstance(a, Factor) and a.label in spec.spaces
    ]


def _tap(spec: SymmetrySpec, name: str) -> ArraySpec:
    if name not in spec.taps:
        raise ValueError(f"symmetry: no tap {name!r}; the spec has {list(spec.taps)}.")
    return spec.taps[name]


def check_names(spec: SymmetrySpec, g: Element) -> None:
    """Refuses an element that is not one for each space."""
    if not isinstance(g, Mapping):
        raise TypeError(
            f"symmetry: an element is a mapping from spaces, got {type(g).__name__}; "
            "symmetry.sample returns one."
        )
    if g.keys() != spec.spaces.keys():
        raise ValueError(
            f"symmetry: the element is for the spaces {list(g)}, the spec has "
            f"{list(spec.spaces)}; sample it from this spec."
        )


def variable_specs(spec: SymmetrySpec) -> dict[str, ArraySpec]:
    """Returns the specifications of all variables by path."""
    is_array = lambda x: isinstance(x, ArraySpec)
    return dict(with_paths(spec.variables, is_array))


def with_paths(tree: Any, is_leaf: Callable | None = None) -> list[tuple[str, Any]]:
    """Returns the leaves of a tree with their paths, such as "params/conv1/kernel"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf)
    keystr = jax.tree_util.keystr
    return [(keystr(p, simple=True, separator="/"), leaf) for p, leaf in leaves]
