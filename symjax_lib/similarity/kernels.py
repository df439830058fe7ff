"""Kernels between samples: features `[N, ..., C]` in, their Gram matrix `[N, N]` out.

With `cka_from_grams` they make every CKA; a new measure needs a new kernel only.
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


def median_gram(x: ArrayLike) -> jax.Array:
    r"""Returns for every two samples the median inner product of a channel.

    As `max_kernel.max_gram` with the lower median in place of the maximum: of an even
    number of channels the smaller of the two middle ones.

    Args:
      x: `[N, ..., C]` features; `unit_channels(x, center=True)` in the authors' code.

    Returns:
      `[N, N]`, symmetric.

    Raises:
      ValueError: as in `linear_gram`.

    Example:
      >>> median_gram(jnp.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])).tolist()
      [[4.0, 2.0], [2.0, 1.0]]

    References:
      The estimator "median" of the authors' code for Godfrey et al., 2022.
    """
    x = features.as_features("median_gram", "x", x)
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    middle = (x.shape[-1] - 1) // 2

    def row(sample: jax.Array) -> jax.Array:
        products = jnp.einsum("npc,pc->nc", x, sample, precision="highest")
        return jnp.sort(products, axis=-1)[:, middle]

    return jax.lax.map(row, x)


def rbf_gram(
    x: ArrayLike, *, fraction: float = 1.0, sigma: float | None = None
) -> jax.Array:
    r"""Returns Gaussian similarities of the samples, all other axes flattened.

    :math:`K_{ij} = \exp(-\|x_i - x_j\|_2^2 / 2 \sigma^2)`, where :math:`\sigma` is a
    fraction of the root of the median squared distance. The median is that of all
    :math:`N^2` pairs, as in Kornblith et al.; it is not defined if half of them are
    equal, and then neither is the result.

    Args:
      x: `[N, ..., C]` features.
      fraction: of the median, positive.
      sigma: the width itself, positive, in place of a fraction.

    Returns:
      `[N, N]`, symmetric, from 0 to 1.

    Raises:
      ValueError: as in `linear_gram`, or a width is not positive.

    Example:
      >>> gram = rbf_gram(jnp.array([[0.0], [2.0]]), sigma=2.0)
      >>> [round(k, 4) for k in gram[0].tolist()]
      [1.0, 0.6065]

    References:
      Kornblith et al., `Similarity of Neural Network Representations Revisited
      <https://arxiv.org/abs/1905.00414>`_, 2019, section 3.
    """
    _check_width("rbf_gram", fraction, sigma)
    x = features.as_features("rbf_gram", "x", x)
    x = features.centered(x.reshape(x.shape[0], -1))
    # The median of any size is 1 for features of norm 1; else squares may overflow.
    x = features.unit(x) if sigma is None else x / sigma
    distances = _squared_distances(x)
    if sigma is None:
        distances = distances / (fraction**2 * jnp.median(distances))
    return jnp.exp(-distances / 2)


def laplace_gram(
    x: ArrayLike, *, fraction: float = 1.0, sigma: float | None = None
) -> jax.Array:
    r"""Returns Laplace similarities of the samples, all other axes flattened.

    :math:`K_{ij} = \exp(-\|x_i - x_j\|_1 / \sigma)`, where :math:`\sigma` is a fraction
    of the median distance, as in `rbf_gram`; the paper has :math:`\sigma = 1`. Like the
    max kernel it does not change under permutations of the channels, and it is
    positive semi-definite.

    Args:
      x: `[N, ..., C]` features; with `unit_channels(x, center=True)` scalings of single
        channels change nothing either.
      fraction: of the median, positive.
      sigma: the width itself, positive, in place of a fraction.

    Returns:
      `[N, N]`, symmetric, from 0 to 1.

    Raises:
      ValueError: as in `rbf_gram`.

    Example:
      >>> x = jnp.array([[0.0, 0.0], [1.0, -1.0]])
      >>> [round(k, 4) for k in laplace_gram(x, sigma=2.0)[0].tolist()]
      [1.0, 0.3679]

    References:
      Godfrey et al., 2022, equation 5.6.
    """
    _check_width("laplace_gram", fraction, sigma)
    x = features.as_features("laplace_gram", "x", x)
    x = features.centered(x.reshape(x.shape[0], -1))
    if sigma is None:
        x = features.unit(x)
    distances = jax.lax.map(lambda sample: jnp.abs(x - sample).sum(axis=1), x)
    scale = fraction * jnp.median(distances) if sigma is None else sigma
    return jnp.exp(-distances / scale)


def _check_width(caller: str, fraction: float, sigma: float | None) -> None:
    for name, value in (("fraction", fraction), ("sigma", sigma)):
        if value is not None and not value > 0:
            raise ValueError(f"{caller}: {name} must be positive, got {value}.")


def _squared_distances(x: jax.Array) -> jax.Array:
    gram = _products(x)
    sizes = jnp.diagonal(gram)
    # Of a sample from itself exactly 0, and nothing below.
    return jnp.maximum(sizes[:, None] + sizes - 2 * gram, 0)


def _products(x: jax.Array) -> jax.Array:
    return jnp.matmul(x, x.T, precision="highest")
