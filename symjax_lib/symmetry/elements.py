"""Elements of the groups of spaces, and random ones for a whole function."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from symjax_lib import groups
from symjax_lib.symmetry.spec import Space, SymmetrySpec


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


@struct.dataclass
class Wreath:
    """Elements of one space, each at a position of other axes that are permuted too.

    Position `i` becomes what the element of position `outer.indices[i]` makes of that:
    an element of a wreath product, on `copies * n` channels.

    Attributes:
      outer: permutation of the positions.
      inner: `Channels` or `groups.General` with an axis of positions in front.
    """

    outer: groups.Permutation
    inner: Any


Element = Mapping[str, Channels | groups.General | Wreath]
"""An element for every space, by its name."""


def sample(key: jax.Array, spec: SymmetrySpec) -> dict[str, Any]:
    """Draws a random element of the symmetry group of a function.

    Args:
      key: consumed.
      spec: of the function.

    Returns:
      For each space a `groups.General` if all matrices pass, or else `Channels` with a
      uniform permutation, scales distributed as those of `groups.sample`, and fair
      signs; a `Wreath` of them for a space that varies over others. `groups.compose`
      and `groups.inverse` work on the dictionary as a whole.

    Example:
      >>> mlp = lambda v, x: jax.nn.relu(x @ v["in"]) @ v["out"]
      >>> v = {"in": jnp.ones((3, 4)), "out": jnp.ones((4, 2))}
      >>> from symjax_lib import symmetry
      >>> g = sample(jax.random.key(0), symmetry.trace(mlp, v, jnp.ones((1, 3))))
      >>> {name: element.scale.shape for name, element in g.items()}
      {'in': (1, 4)}
    """
    keys = jax.random.split(key, len(spec.spaces))
    by_name = dict(zip(spec.spaces, keys, strict=True))
    elements: dict[str, Any] = {}
    # Those that others vary over come first, as their permutations enter.
    for space in sorted(spec.spaces.values(), key=lambda space: len(space.over)):
        if space.over:
            each = jax.random.split(by_name[space.name], math.prod(space.shape))
            inner = jax.vmap(lambda key, space=space: _sample(key, space))(each)
            elements[space.name] = Wreath(positions(elements, space, spec), inner)
        else:
            elements[space.name] = _sample(by_name[space.name], space)
    return {name: elements[name] for name in spec.spaces}


def identity(spec: SymmetrySpec) -> dict[str, Any]:
    """Returns the neutral element of the symmetry group of a function.

    Args:
      spec: of the function.

    Returns:
      An element for each space, of the types that `sample` returns.

    Example:
      >>> mlp = lambda v, x: jax.nn.relu(x @ v["in"]) @ v["out"]
      >>> v = {"in": jnp.ones((3, 4)), "out": jnp.ones((4, 2))}
      >>> from symjax_lib import symmetry
      >>> g = identity(symmetry.trace(mlp, v, jnp.ones((1, 3))))
      >>> g["in"].permutation.indices.tolist(), g["in"].scale.tolist()
      ([0, 1, 2, 3], [[1.0, 1.0, 1.0, 1.0]])
    """
    return {name: neutral(space) for name, space in spec.spaces.items()}


def positions(
    g: Mapping[str, Any], space: Space, spec: SymmetrySpec
) -> groups.Permutation:
    """Returns how the positions that a space varies over are permuted.

    Args:
      g: elements of the spaces that it varies over; axes that are none stay.
      space: one that varies over others.
      spec: of the function.
    """
    grid = jnp.arange(math.prod(space.shape)).reshape(space.shape)
    for axis in reversed(range(len(space.over))):
        label = space.over[axis]
        if label in g:
            outer = [space.over.index(o) for o in spec.spaces[label].over]
            grid = along(_permutation(g[label]), grid, axis, outer)
    return groups.Permutation(grid.ravel())


def _permutation(g: Channels | Wreath) -> Any:
    """Returns an element without its scales and signs."""
    if isinstance(g, Wreath):
        return Wreath(g.outer, g.inner.permutation)
    return g.permutation


def along(g: Any, x: jax.Array, axis: int, outer: Sequence[int]) -> jax.Array:
    """Applies an element along an axis: at each position of others, its own.

    Positions are not permuted here, which the elements of the other axes do.

    Args:
      g: an element that `groups.act` knows, or a `Wreath` of such.
      x: an array.
      axis: the axis of the channels.
      outer: the axes that it varies over, in the order of the `Wreath`.
    """
    if not isinstance(g, Wreath):
        return groups.act(g, x, axis)
    moved = [*outer, axis]
    front = [*range(len(outer)), -1]
    y = jnp.moveaxis(x, moved, front)
    flat = y.reshape(-1, *y.shape[len(outer) :])
    return jnp.moveaxis(
        jax.vmap(groups.act)(g.inner, flat).reshape(y.shape), front, moved
    )


def _sample(key: jax.Array, space: Space) -> Channels | groups.General:
    if space.kind == "general_linear":
        return groups.sample(key, space.kind, space.size)
    order, scale, sign = jax.random.split(key, 3)
    kind = "permutation"
    return Channels(
        groups.sample(order, kind, space.size)
        if space.permuted
        else groups.identity(kind, space.size),
        jnp.exp(jax.random.normal(scale, (space.scalings, space.size)) - 0.5),
        jax.random.rademacher(sign, (space.signs, space.size), dtype=float),
    )


def neutral(space: Space) -> Channels | groups.General | Wreath:
    """Returns the neutral element of one space."""
    if space.kind == "general_linear":
        one: Any = groups.identity(space.kind, space.size)
    else:
        one = Channels(
            groups.identity("permutation", space.size),
            jnp.ones((space.scalings, space.size)),
            jnp.ones((space.signs, space.size)),
        )
    if not space.over:
        return one
    copies = math.prod(space.shape)
    inner = jax.tree.map(lambda x: jnp.broadcast_to(x, (copies, *x.shape)), one)
    return Wreath(groups.identity("permutation", copies), inner)


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


@groups.width.register
def _(g: Wreath) -> int:
    inner = jax.eval_shape(lambda g: jax.tree.map(lambda x: x[0], g), g.inner)
    return groups.width(g.outer) * groups.width(inner)


@groups.inverse.register
def _(g: Wreath) -> Wreath:
    at = lambda x: x[g.outer.indices]
    inner = jax.tree.map(at, jax.vmap(groups.inverse)(g.inner))
    return Wreath(groups.inverse(g.outer), inner)


@groups.multiply.register
def _(g: Wreath, h: Wreath) -> Wreath:
    # What `h` makes of position k goes to where its permutation puts k.
    back = groups.inverse(h.outer).indices
    left = jax.tree.map(lambda x: x[back], g.inner)
    return Wreath(
        groups.compose(g.outer, h.outer), jax.vmap(groups.compose)(left, h.inner)
    )
