"""Batches of a stitch's training data, with the front's features."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symjax_lib.stitching import halves, places
from symjax_lib.stitching.network import Network

Augment = Callable[[jax.Array, jax.Array], jax.Array]

_MEMORY = 2**31  # bytes of features that are kept; more are computed at each batch


class Batch(NamedTuple):
    """A batch of images, and what the front makes of them.

    Attributes:
      value: at the cut, `[B, ..., n]`.
      rest: see `tracing.split`.
      images: `[B, ...]`.
      labels: `[B]`.
    """

    value: jax.Array
    rest: Any
    images: jax.Array
    labels: jax.Array


# `read(key, indices) -> Batch`.
Reader = Callable[[jax.Array, jax.Array], Batch]


def make_reader(
    front: Network,
    back: Network,
    cut: halves.Cut,
    images: jax.Array,
    labels: jax.Array,
    augment: Augment | None = None,
    place: places.Place = places.ALONE,
) -> Reader:
    """Returns a function that reads batches; the front runs once, if memory allows.

    Args:
      front: the network whose features are used.
      back: says at which resolution.
      cut: taps of the two.
      images: `[N, ...]`.
      labels: `[N]`.
      augment: `(key, images) -> images`; then the front runs on every batch.
      place: of the device that reads.
    """
    run = halves.make_front(front, back, cut)
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    one = jax.tree.leaves(jax.eval_shape(run, images[:1]))
    size = len(images) * sum(leaf.size * leaf.dtype.itemsize for leaf in one)
    if augment is None and size <= _MEMORY / place.sharing:
        parts = [run(images[chunk]) for chunk in halves.chunks(len(images))]
        value, rest = jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)
        kept = Batch(value, rest, images, labels)
        return lambda key, indices: place.alive() or _gather(kept, indices)

    def read(key: jax.Array, indices: jax.Array) -> Batch:
        place.alive()
        x, y = _gather((images, labels), indices)
        x = x if augment is None else augment(key, x)
        value, rest = run(x)
        return Batch(value, rest, x, y)

    return read


@jax.jit
def _gather(tree: Any, indices: jax.Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[indices], tree)


def shuffled(key: jax.Array, n: int, size: int) -> jax.Array:
    """Returns indices `[n // size, size]` of a pass over n images, in random order."""
    order = jax.random.permutation(key, n)
    return order[: n // size * size].reshape(-1, size)
