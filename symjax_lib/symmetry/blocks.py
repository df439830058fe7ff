"""Arrays taken apart into blocks in which every axis is one space."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from symjax_lib.symmetry.spec import (
    ArraySpec,
    AxisSpec,
    Entry,
    Factor,
    Product,
    Space,
    size,
)


def blocks(array: ArraySpec, x: jax.Array) -> Iterator[tuple[Entry, jax.Array]]:
    """Takes an array apart into blocks with one factor for each axis.

    Args:
      array: what its axes mean.
      x: the array.

    Returns:
      The factors of the axes of a block, and the block; one for each kind of entry.
    """
    if array.slices:
        for part, row in zip(array.slices, x, strict=True):
            yield from blocks(part, row)
    else:
        yield from _blocks([*array.axes, array.whole], x[..., None])


def _blocks(
    axes: Sequence[AxisSpec], x: jax.Array
) -> Iterator[tuple[Entry, jax.Array]]:
    for i, axis in enumerate(axes):
        if isinstance(axis, Factor):
            continue
        front, back = axes[:i], axes[i + 1 :]
        if isinstance(axis, Product):
            shape = *x.shape[:i], *map(size, axis.parts), *x.shape[i + 1 :]
            yield from _blocks([*front, *axis.parts, *back], x.reshape(shape))
        else:
            for part, at in zip(axis.parts, axis.positions, strict=True):
                yield from _blocks([*front, part, *back], jnp.take(x, at, axis=i))
        return
    factors: Any = axes
    yield tuple(factors), x


def rows(space: Space, entry: Entry, block: jax.Array) -> jax.Array:
    """Returns the entries of each channel of a space in a block.

    Args:
      space: the channels; if they are there twice, those of both axes.
      entry: the factors of the block.
      block: that has the space.

    Returns:
      `[*copies, n, entries]`, with an axis in front if the space varies over others.
    """
    labels = [factor.label for factor in entry]
    outer = [labels.index(label) for label in space.over]
    copies = [math.prod(space.shape)] if space.over else []
    found = []
    for i, label in enumerate(labels):
        if label == space.name:
            front = jnp.moveaxis(block, [*outer, i], range(len(outer) + 1))
            found.append(front.reshape(*copies, space.size, -1))
    return jnp.concatenate(found, axis=-1)
