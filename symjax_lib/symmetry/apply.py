"""What an element of a symmetry group does to one array, by its specification."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib import groups
from symjax_lib.symmetry.elements import Element, Wreath, along
from symjax_lib.symmetry.spec import (
    ArraySpec,
    AxisSpec,
    Factor,
    Product,
    Space,
    factors,
    map_factors,
    moves,
    size,
)

Spaces = Mapping[str, Space]


def transform(
    caller: str,
    path: str,
    array: ArraySpec,
    g: Element,
    x: Any,
    spaces: Spaces,
    *,
    power: int = 1,
) -> jax.Array:
    """Returns what an array becomes.

    Args:
      caller: begins the error.
      path: names the array there.
      array: what its axes mean.
      g: an element for each space.
      x: the array.
      spaces: by name.
      power: by which all exponents are multiplied.

    Raises:
      ValueError: the array has another shape.
    """
    x = jnp.asarray(x)
    if array.slices and x.ndim and len(array.slices) == len(x):
        rows = [
            transform(caller, f"{path}/{i}", part, g, x[i], spaces, power=power)
            for i, part in enumerate(array.slices)
        ]
        return jnp.stack(rows)
    _check_shape(caller, path, array, x)
    axes = [
        map_factors(lambda factor: _to_power(factor, power), axis)
        for axis in (*array.axes, array.whole)
    ]
    if not any(map(moves, axes)):
        return x
    return _transform(x[..., None], axes, g, spaces)[..., 0].astype(x.dtype)


def _check_shape(caller: str, path: str, array: ArraySpec, x: jax.Array) -> None:
    wanted = tuple(size(axis) if moves(axis) else "any" for axis in array.axes)
    if array.slices:
        wanted = (len(array.slices), "...")
    fits = [n in ("any", m) for n, m in zip(wanted, x.shape, strict=False)]
    if array.slices or len(wanted) != x.ndim or not all(fits):
        raise ValueError(
            f"{caller}: {path!r} has shape {x.shape}, the spec was traced with "
            f"{wanted}; trace the function with these variables."
        )


def _to_power(factor: Factor, power: int) -> Factor:
    if power == 1 or factor.scalings is None:
        return factor
    return factor._replace(
        scalings=tuple(power * p for p in factor.scalings),
        signs=tuple(power * p % 2 for p in factor.signs),
    )


def _transform(
    x: jax.Array, axes: Sequence[AxisSpec], g: Element, spaces: Spaces
) -> jax.Array:
    """Takes products apart and pieces one by one, until every axis is one factor."""
    labels = {label for space in spaces.values() for label in (space.name, *space.over)}
    for i, axis in enumerate(axes):
        if isinstance(axis, Factor) or not labels & {f.label for f in factors(axis)}:
            continue
        if isinstance(axis, Product):
            split = [*x.shape[:i], *map(size, axis.parts), *x.shape[i + 1 :]]
            parts = [*axes[:i], *axis.parts, *axes[i + 1 :]]
            return _transform(x.reshape(split), parts, g, spaces).reshape(x.shape)
        pieces = [
            _transform(
                jnp.take(x, at, axis=i), [*axes[:i], part, *axes[i + 1 :]], g, spaces
            )
            for part, at in zip(axis.parts, axis.positions, strict=True)
        ]
        back = np.argsort(np.concatenate(axis.positions))
        return jnp.take(jnp.concatenate(pieces, axis=i), back, axis=i)
    return _transform_factors(x, axes, g, spaces)


def _transform_factors(
    x: jax.Array, axes: Sequence[Any], g: Element, spaces: Spaces
) -> jax.Array:
    labels = [axis.label if isinstance(axis, Factor) else "" for axis in axes]
    moved = [i for i, label in enumerate(labels) if label in spaces]
    # What varies over another axis acts before that is permuted.
    for i in sorted(moved, key=lambda i: -len(spaces[labels[i]].over)):
        outer = [labels.index(label) for label in spaces[labels[i]].over]
        x = along(at_factor(g[labels[i]], axes[i]), x, i, outer)
    return x


def at_factor(g: Any, factor: Factor) -> Any:
    """Returns how an element acts on a factor of an axis, by the factor's exponents."""
    if isinstance(g, Wreath):
        return Wreath(g.outer, jax.vmap(lambda one: at_factor(one, factor))(g.inner))
    if isinstance(g, groups.General):
        # Exponent -1 is the other side of a contraction, where the inverse acts. Where
        # channels have several scalings, a matrix stands for all of them at once: what
        # one of them undoes for the other, such as a norm's gain, stays.
        scalings = factor.scalings or (0,)
        power = sum(scalings)
        if power == 0 and len(scalings) > 1:
            return groups.identity("permutation", g.matrix.shape[-1])
        if abs(power) != 1:
            raise ValueError(
                "symmetry: squares of gradients have no image under the matrices of "
                f"the general linear space {factor.label!r}; start them anew."
            )
        return g if power == 1 else groups.General(groups.inverse(g).matrix.T)
    if not any(factor.scalings or ()) and not any(factor.signs):
        return g.permutation  # exact for whole numbers too
    powers = jnp.asarray(factor.scalings).reshape(-1, 1)
    odd = jnp.asarray(factor.signs, bool).reshape(-1, 1)
    sign = jnp.where(odd, g.sign, 1).prod(axis=0)
    scale = (g.scale ** powers.astype(g.scale.dtype)).prod(axis=0) * sign
    return groups.Monomial(g.permutation, scale)
