"""Sums over all samples that arrive in batches: channels, and pairs of channels.

Everything is added up in float64, about the first observation of each channel: products
of float32 numbers are exact there, and an offset of all features does not cancel.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Channels(NamedTuple):
    """What is known of one layer after any number of batches.

    Attributes:
      space: sizes of the axes between samples and channels.
      reference: `[C]`, the first observation.
      observations: how many there were, samples times positions.
      sum: `[C]`, of the differences from `reference`.
      squares: `[C]`, of the same.
    """

    space: tuple[int, ...]
    reference: np.ndarray
    observations: int
    sum: np.ndarray
    squares: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean `[C]` over all observations."""
        return self.reference + self.sum / self.observations

    def squared_norms(self, *, center: bool) -> np.ndarray:
        """Returns the squared norm `[C]` of each channel, about its mean or about 0.

        Args:
          center: about the mean; a constant channel then has exactly 0.
        """
        if center:
            return np.maximum(self.squares - self.sum**2 / self.observations, 0)
        about_zero = 2 * self.reference * self.sum
        return self.squares + about_zero + self.observations * self.reference**2


def channels(x: jax.Array, before: Channels | None) -> Channels:
    """Adds a batch to what is known of a layer.

    Args:
      x: `[B, ..., C]`, finite.
      before: of the same layer, or None for its first batch.
    """
    reference = x.reshape(-1, x.shape[-1])[0] if before is None else before.reference
    with jax.enable_x64(True):
        total, squares = map(np.asarray, _channels(x, jnp.asarray(reference)))
    count = math.prod(x.shape[:-1])
    if before is None:
        reference = np.asarray(reference, np.float64)
        return Channels(x.shape[1:-1], reference, count, total, squares)
    return before._replace(
        observations=before.observations + count,
        sum=before.sum + total,
        squares=before.squares + squares,
    )


@jax.jit
def _channels(x: jax.Array, reference: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = _differences(x, reference).reshape(-1, x.shape[-1])
    return x.sum(axis=0), (x * x).sum(axis=0)


def shared_space(x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the resolution at which two layers' products are taken, the smaller.

    A sum over a map that is repeated to the larger size is one over the map itself, of
    the other's sums over the places of each repetition.

    Args:
      x: sizes of the axes of space of one layer.
      y: of the other, with as many axes; whole multiples or divisors.
    """
    return tuple(map(min, x, y))


@functools.partial(jax.jit, static_argnames=("spaces", "lengths"))
def differences(
    x: jax.Array,
    reference: jax.Array,
    *,
    spaces: tuple[tuple[int, ...], ...],
    lengths: bool,
) -> dict[tuple[int, ...], jax.Array]:
    """Prepares a batch of one layer for products with others; in float64.

    Args:
      x: `[B, ..., C]`.
      reference: `[C]`, which is subtracted.
      spaces: resolutions to which it is summed.
      lengths: add a channel with the squared length of each observation.

    Returns:
      For each of `spaces` `[C, observations]`, or with one more channel.
    """
    x = _differences(x, reference)
    if lengths:
        x = jnp.concatenate([x, jnp.sum(x * x, axis=-1, keepdims=True)], axis=-1)
    summed = {}
    for space in spaces:
        split, axes = [x.shape[0]], []
        for size, small in zip(x.shape[1:-1], space, strict=True):
            split += [small, size // small]
            axes.append(len(split) - 1)
        parts = x.reshape(*split, x.shape[-1]).sum(axis=tuple(axes))
        summed[space] = parts.reshape(-1, x.shape[-1]).T
    return summed


@jax.jit
def products(x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns `[C, C']` sums over observations.

    Args:
      x: `[C, observations]`.
      y: `[C', observations]`.
    """
    return jnp.matmul(x, y.T, precision="highest")


def _differences(x: jax.Array, reference: jax.Array) -> jax.Array:
    return x.astype(jnp.float64) - reference.astype(jnp.float64)
