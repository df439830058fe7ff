"""The kernel of `G_ReLU`-CKA: the largest inner product of a channel."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax_lib.similarity import features

# Rows at once: their products with all before them stay in the cache. More on large
# matrices, as the program has a loop for each of such strips.
_ROWS, _STRIPS = 256, 16


def max_gram(x: ArrayLike, *, unit: bool = False) -> jax.Array:
    r"""Returns for every two samples the largest inner product of a channel.

    :math:`K_{ij} = \max_c \langle x_{i,c}, x_{j,c} \rangle`, over space. It does not
    change under permutations of the channels. It is not positive semi-definite.

    Args:
      x: `[N, ..., C]` features.
      unit: center the channels and divide them by their norms, as in the paper; the
        same as `max_gram(unit_channels(x, center=True))`, and faster.

    Returns:
      `[N, N]`, symmetric.

    Raises:
      ValueError: as in `linear_gram`.

    Example:
      >>> max_gram(jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])).tolist()
      [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]

    References:
      Godfrey et al., 2022, Definition 5.3; the example is that of Remark 5.5.
    """
    x = features.as_features("max_gram", "x", x)
    unit_map = None
    if unit:
        unit_map = features.unit_map(x, center=True).by_channel()
    # Programs of their own: in one XLA would transpose and copy in one slow loop.
    return _gram(_channels_first(x), unit_map)


@jax.jit
def _channels_first(x: jax.Array) -> jax.Array:
    return jnp.moveaxis(x.reshape(x.shape[0], -1, x.shape[-1]), -1, 0)


@jax.jit
def _gram(x: jax.Array, unit_map: features.UnitMap | None) -> jax.Array:
    n = x.shape[1]
    if x.shape[-1] == 1:  # without space there is no sum, so no matrix product
        return _max_of_outer_products(unit_map(x) if unit_map else x)
    side = max(_ROWS, -(-n // _STRIPS))
    stops = [*range(side, n, side), n]
    strips = [
        jnp.pad(_strip(x, unit_map, start, stop), ((0, 0), (0, n - stop)))
        for start, stop in zip([0, *stops], stops, strict=False)
    ]
    gram = jnp.tril(jnp.concatenate(strips))
    return gram + jnp.tril(gram, -1).T


def _strip(
    x: jax.Array, unit_map: features.UnitMap | None, start: int, stop: int
) -> jax.Array:
    """Returns the rows from start to stop, up to column stop: half of all is enough."""

    def step(gram: jax.Array, channels: tuple) -> tuple[jax.Array, None]:
        x, unit_map = channels
        y = x[:, :stop]  # sliced here: of all channels at once it would be a copy
        y = unit_map(y) if unit_map else y
        products = jnp.einsum("cip,cjp->cij", y[:, start:], y, precision="highest")
        return functools.reduce(jnp.maximum, list(products), gram), None

    lowest = jnp.full((stop - start, stop), -jnp.inf, x.dtype)
    return jax.lax.scan(step, lowest, in_pairs((x, unit_map)))[0]


def in_pairs(channels: Any) -> Any:
    """Makes pairs of the channels `[C, ...]` of every leaf, if their number is even.

    Two matrix products at a time are faster than one: while one waits for memory the
    other computes.
    """
    pair = lambda leaf: leaf.reshape(-1, 2 - leaf.shape[0] % 2, *leaf.shape[1:])
    return jax.tree.map(pair, channels)


def _max_of_outer_products(x: jax.Array) -> jax.Array:
    x = x[..., 0]
    return jax.lax.map(lambda sample: jnp.max(x * sample[:, None], axis=0), x.T)
