"""Kernels between samples: features `[N, ..., C]` in, their Gram matrix `[N, N]` out.

With `cka.cka_from_grams` they make every CKA; a new measure needs a new kernel only.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax_lib.similarity import features


def linear_gram(x: ArrayLike) -> jax.Array:
    r"""Returns the inner products of the centred samples, all other axes flattened.

    :math:`K_{ij} = \langle x_i - \bar x, x_j - \bar x \rangle`. No HSIC depends on the
    mean :math:`\bar x`; without it float32 keeps more of the digits that matter.

    Args:
      x: `[N, ..., C]` features.

    Returns:
      `[N, N]`, symmetric.

    Raises:
      ValueError: `x` is not `[N, ..., C]`, or not finite (not checked under `jit`).

    Example:
      >>> linear_gram(jnp.array([[1.0, 0.0], [3.0, 0.0]])).tolist()
      [[1.0, -1.0], [-1.0, 1.0]]
    """
    x = features.as_features("linear_gram", "x", x)
    x = features.centered(x.reshape(x.shape[0], -1))
    return _products(x)


def max_gram(x: ArrayLike) -> jax.Array:
    r"""Returns for every two samples the largest inner product of a channel.

    :math:`K_{ij} = \max_c \langle x_{i,c}, x_{j,c} \rangle`, over space. It does not
    change under permutations of the channels. It is not positive semi-definite.

    Args:
      x: `[N, ..., C]` features; `unit_channels(x, center=True)` in the paper.

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
    return _max_gram(features.as_features("max_gram", "x", x))


@jax.jit
def _max_gram(x: jax.Array) -> jax.Array:
    x = jnp.moveaxis(x.reshape(x.shape[0], -1, x.shape[-1]), -1, 0)
    if x.shape[-1] == 1:  # without space there is no sum, so no matrix product
        return _max_of_outer_products(x[..., 0])
    # One matrix product per channel: all at once would not fit into the cache.
    step = lambda gram, channel: (jnp.maximum(gram, _products(channel)), None)
    return jax.lax.scan(step, _products(x[0]), x[1:])[0]


def _max_of_outer_products(x: jax.Array) -> jax.Array:
    row = lambda sample: jnp.max(x * sample[:, None], axis=0)
    return jax.lax.map(row, x.T)


def _products(x: jax.Array) -> jax.Array:
    return jnp.matmul(x, x.T, precision="highest")
