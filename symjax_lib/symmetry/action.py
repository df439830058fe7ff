r"""Random elements of a function's symmetry group, their action, and a certificate."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from symjax_lib import groups
from symjax_lib.symmetry.spec import ArraySpec, Factor, Space, SymmetrySpec


@struct.dataclass
class Channels:
    """An element of a space's group: a permutation, and scalings and signs by channel.

    Attributes:
      permutation: of the `n` channels.
      scale: `[scalings, n]`, positive.
      sign: `[signs, n]`, each 1 or -1.
    """

    permutation: groups.Permutation
    scale: jax.Array
    sign: jax.Array


Element = Mapping[str, Channels | groups.General]
"""An element for every space, by its name."""


def sample(key: jax.Array, spec: SymmetrySpec) -> dict[str, Channels | groups.General]:
    """Draws a random element of the symmetry group of a function.

    Args:
      key: consumed.
      spec: of the function.

    Returns:
      For each space a `groups.General` if all matrices pass, or else `Channels` with a
      uniform permutation, scales distributed as those of `groups.sample`, and fair
      signs. `groups.compose` and `groups.inverse` work on the dictionary as a whole.

    Example:
      >>> mlp = lambda v, x: jax.nn.relu(x @ v["in"]) @ v["out"]
      >>> v = {"in": jnp.ones((3, 4)), "out": jnp.ones((4, 2))}
      >>> from symjax_lib import symmetry
      >>> g = sample(jax.random.key(0), symmetry.trace(mlp, v, jnp.ones((1, 3))))
      >>> {name: element.scale.shape for name, element in g.items()}
      {'in': (1, 4)}
    """
    keys = jax.random.split(key, max(len(spec.spaces), 1))
    return {
        name: _sample(keys[i], space)
        for i, (name, space) in enumerate(spec.spaces.items())
    }


def _sample(key: jax.Array, space: Space) -> Channels | groups.General:
    if space.kind == "general_linear":
        return groups.sample(key, space.kind, space.size)
    order, scale, sign = jax.random.split(key, 3)
    return Channels(
        groups.Permutation(jax.random.permutation(order, space.size)),
        jnp.exp(jax.random.normal(scale, (space.scalings, space.size)) - 0.5),
        jax.random.rademacher(sign, (space.signs, space.size), dtype=float),
    )


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
      >>> g = {"in": Channels(one, jnp.array([[2.0, 4.0]]), jnp.ones((0, 2)))}
      >>> w = act(spec, g, v)
      >>> w["in"][0].tolist(), w["out"][:, 0].tolist()
      ([2.0, 4.0], [0.5, 0.25])

    References:
      Godfrey et al. 2022, Proposition 3.4.
    """
    _check_names(spec, g)
    leaves, tree = jax.tree_util.tree_flatten_with_path(variables)
    specs = dict(_with_paths(spec.variables, lambda x: isinstance(x, ArraySpec)))
    arrays = {_path(path): leaf for path, leaf in leaves}
    for here, there, what in ((arrays, specs, "spec"), (specs, arrays, "variables")):
        if missing := [path for path in here if path not in there]:
            raise ValueError(
                f"symmetry.act: {missing[0]!r} is not in the {what}; trace the "
                "function that uses these variables."
            )
    moved = [_act("symmetry.act", p, specs[p], g, x) for p, x in arrays.items()]
    return jax.tree.unflatten(tree, moved)


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
      >>> g = sample(jax.random.key(0), spec)
      >>> before = tracing.taps(fn)(v, jnp.eye(3))[1]["h"]
      >>> after = tracing.taps(fn)(act(spec, g, v), jnp.eye(3))[1]["h"]
      >>> bool(jnp.allclose(act_on_tap(spec, g, "h", before), after))
      True
    """
    _check_names(spec, g)
    return _act("symmetry.act_on_tap", name, _tap(spec, name), g, value)


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
      >>> element_at(spec, sample(jax.random.key(0), spec), "h").scale.shape
      (4,)
    """
    _check_names(spec, g)
    axes = _tap(spec, name).axes
    factors = axes[-1] if axes else ()
    if len(factors) != 1 or factors[0].space is None:
        raise ValueError(
            f"symmetry.element_at: the last axis of tap {name!r} is not one space of "
            f"channels; the taps that are: {_channel_taps(spec)}."
        )
    return groups.as_monomial(_at_factor(g[factors[0].space], factors[0]))


def _channel_taps(spec: SymmetrySpec) -> list[str]:
    last = {name: array.axes[-1:] for name, array in spec.taps.items()}
    return [n for n, a in last.items() if a and len(a[0]) == 1 and a[0][0].space]


def _tap(spec: SymmetrySpec, name: str) -> ArraySpec:
    if name not in spec.taps:
        raise ValueError(f"symmetry: no tap {name!r}; the spec has {list(spec.taps)}.")
    return spec.taps[name]


def _check_names(spec: SymmetrySpec, g: Element) -> None:
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


def _with_paths(tree: Any, is_leaf: Callable | None = None) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf)
    return [(_path(path), leaf) for path, leaf in leaves]


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _act(caller: str, path: str, spec: ArraySpec, g: Element, x: Any) -> jax.Array:
    x = jnp.asarray(x)
    sizes = [math.prod(factor.size for factor in factors) for factors in spec.axes]
    moved = [axis for axis, factors in enumerate(spec.axes) if factors]
    if len(sizes) != x.ndim or any(sizes[axis] != x.shape[axis] for axis in moved):
        wanted = tuple(size if i in moved else "any" for i, size in enumerate(sizes))
        raise ValueError(
            f"{caller}: {path!r} has shape {x.shape}, the spec was traced with "
            f"{wanted}; trace the function with these variables."
        )
    for axis in moved:
        factors = spec.axes[axis]
        split = [*x.shape[:axis], *(f.size for f in factors), *x.shape[axis + 1 :]]
        y = x.reshape(split)
        for i, factor in enumerate(factors):
            if factor.space is not None:
                y = groups.act(_at_factor(g[factor.space], factor), y, axis=axis + i)
        x = y.reshape(x.shape).astype(x.dtype)
    return x


def _at_factor(g: Channels | groups.General, factor: Factor) -> Any:
    """Returns how an element acts on a factor of an axis, by the factor's exponents."""
    if isinstance(g, groups.General):
        # Exponent -1 is the other side of a contraction, where the inverse acts.
        return (
            g if factor.scalings == (1,) else groups.General(groups.inverse(g).matrix.T)
        )
    if not any(factor.scalings) and not any(factor.signs):
        return g.permutation  # exact for whole numbers too
    powers = jnp.asarray(factor.scalings).reshape(-1, 1)
    odd = jnp.asarray(factor.signs, bool).reshape(-1, 1)
    sign = jnp.where(odd, g.sign, 1).prod(axis=0)
    scale = (g.scale ** powers.astype(g.scale.dtype)).prod(axis=0) * sign
    return groups.Monomial(g.permutation, scale)


@groups.width.register
def _(g: Channels) -> int:
    return groups.width(g.permutation)


@groups.inverse.register
def _(g: Channels) -> Channels:
    undo = lambda scale: groups.act(g.permutation, 1 / scale)
    return Channels(groups.inverse(g.permutation), undo(g.scale), undo(g.sign))


@groups.multiply.register
def _(g: Channels, h: Channels) -> Channels:
    back = groups.inverse(h.permutation)
    return Channels(
        groups.compose(g.permutation, h.permutation),
        groups.act(back, g.scale) * h.scale,
        groups.act(back, g.sign) * h.sign,
    )
