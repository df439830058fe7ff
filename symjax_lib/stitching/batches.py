"""Batches of a stitch's training data, with the front's features."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from symjax_lib.stitching import halves, places
from symjax_lib.stitching.network import Network

Augment = Callable[[jax.Array, jax.Array], jax.Array]

# Bytes of features that are kept, on a CPU by all devices together; of more the front
# runs at each batch.
_MEMORY = 2**31


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


# `read(key, number, indices) -> Batch`, of a batch with this number in a pass.
Reader = Callable[[jax.Array, int, ArrayLike], Batch]


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

        def read_kept(key: jax.Array, number: int, indices: ArrayLike) -> Batch:
            place.alive()
            return _gather(kept, indices)

        return read_kept

    def read(key: jax.Array, number: int, indices: ArrayLike) -> Batch:
        place.alive()
        x, y = _gather((images, labels), indices)
        x = x if augment is None else augment(jax.random.fold_in(key, number), x)
        value, rest = run(x)
        return Batch(value, rest, x, y)

    return read


@jax.jit
def _gather(tree: Any, indices: ArrayLike) -> Any:
    return jax.tree.map(lambda leaf: leaf[indices], tree)


def shuffled(key: jax.Array, n: int, size: int) -> np.ndarray:
    """Returns indices `[n // size, size]` of a pass over n images, in random order."""
    # In NumPy a row costs nothing; in JAX each one would be a program.
    order = np.asarray(jax.random.permutation(key, n))
    return order[: n // size * size].reshape(-1, size)
