"""Is a similarity more than chance gives? Against permuted samples."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np


class Null(NamedTuple):
    """An observed similarity among those of permuted samples.

    Attributes:
      observed: as it is.
      p_value: how often chance gives as much, `(1 + hits) / (1 + draws)`.
      null: `[draws]`, of permuted samples.
    """

    observed: float
    p_value: float
    null: np.ndarray


def permutation_null(
    key: jax.Array,
    statistic: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    y: jax.Array,
    *,
    draws: int = 999,
) -> Null:
    """Asks whether features are more similar than with the inputs of one permuted.

    Args:
      key: consumed.
      statistic: `statistic(x, y)`, a similarity that works under `jit`.
      x: `[N, ...]`.
      y: `[N, ...]`, permuted along its first axis.
      draws: number of permutations.

    Example:
      >>> from symjax_lib.similarity import linear_cka
      >>> x = jax.random.normal(jax.random.key(0), (20, 3))
      >>> permutation_null(jax.random.key(1), linear_cka, x, x, draws=99).p_value
      0.01

    References:
      Phipson and Smyth, `Permutation p-values should never be zero
      <https://arxiv.org/abs/1603.05766>`_, 2010.
    """
    keys = jax.random.split(key, draws)
    first, rest = _null(statistic, keys, x, y)
    observed, null = float(first), np.asarray(rest)
    # As large up to rounding counts as a hit: it must not depend on the last bit.
    hits = int((null >= observed - 1e-6 * abs(observed)).sum())
    return Null(observed, (1 + hits) / (1 + draws), null)


@functools.partial(jax.jit, static_argnums=0)
def _null(
    statistic: Callable, keys: jax.Array, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, jax.Array]:
    permuted = lambda key: statistic(x, jax.random.permutation(key, y))
    return statistic(x, y), jax.lax.map(permuted, keys)
