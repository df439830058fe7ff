"""One measure for all pairs of networks in one call, on one device or several."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike


def all_pairs(
    measure: Callable[[jax.Array, jax.Array], Any],
    x: ArrayLike,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    pairs_at_once: int = 8,
    devices: Sequence[Any] | None = None,
) -> Any:
    """Compares the features of pairs of networks, batched over pairs.

    Pairs are sharded over the devices; each takes some of its pairs at a time. The
    features are on every device, whole. For features that do not fit there, and for
    many layers at once, see `streaming.compare`.

    Args:
      measure: `measure(x, y)`, such as `g_relu_cka`; works under `jit` and `vmap`.
      x: `[S, N, ..., C]`, features of S networks on the same inputs.
      pairs: of networks, by number; by default each with each later one.
      pairs_at_once: on one device; bounds its memory.
      devices: by default all.

    Returns:
      What the measure returns, with a first axis for the pairs in their order.

    Raises:
      ValueError: there are no pairs, a number is no network's, or `pairs_at_once` is
        not positive.

    Example:
      >>> from symjax_lib.similarity import linear_cka
      >>> x = jax.random.normal(jax.random.key(0), (3, 20, 4))
      >>> all_pairs(linear_cka, x).shape
      (3,)
    """
    x = jnp.asarray(x)
    index = _index(x, pairs, pairs_at_once)
    devices = jax.devices() if devices is None else list(devices)
    # Every device has as many; the first pair fills up what is missing.
    missing = -len(index) % len(devices)
    padded = np.concatenate([index, np.repeat(index[:1], missing, axis=0)])
    at_once = min(pairs_at_once, len(padded) // len(devices))
    found = _compare(measure, at_once, tuple(devices))(jnp.asarray(padded), x)
    return jax.tree.map(lambda values: values[: len(index)], found)


@functools.cache
def _compare(measure: Callable, at_once: int, devices: tuple) -> Callable:
    mesh = jax.sharding.Mesh(np.array(devices), ("pair",))
    pair, everywhere = PartitionSpec("pair"), PartitionSpec()

    def some(index: jax.Array, x: jax.Array) -> Any:
        one = lambda ij: measure(x[ij[0]], x[ij[1]])
        return jax.lax.map(one, index, batch_size=at_once)

    return jax.jit(
        jax.shard_map(
            some,
            mesh=mesh,
            in_specs=(pair, everywhere),
            out_specs=pair,
            # Loops inside of measures start from constants, which no device varies.
            check_vma=False,
        )
    )


def _index(
    x: jax.Array, pairs: Sequence[tuple[int, int]] | None, pairs_at_once: int
) -> np.ndarray:
    if x.ndim < 3:
        raise ValueError(
            f"all_pairs: x must be features (S, N, ..., C) of S networks, got shape "
            f"{x.shape}; stack the networks along a first axis."
        )
    if pairs_at_once < 1:
        raise ValueError(f"all_pairs: pairs_at_once must be positive: {pairs_at_once}.")
    if pairs is None:
        pairs = list(itertools.combinations(range(len(x)), 2))
    index = np.asarray(pairs, int).reshape(-1, 2)
    if not len(index) or index.min() < 0 or index.max() >= len(x):
        raise ValueError(
            f"all_pairs: pairs must be numbers of the {len(x)} networks, at least one "
            f"pair, got {index.tolist()}."
        )
    return index
