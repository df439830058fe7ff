r"""The Hilbert-Schmidt independence criterion of two kernels, and its cosine.

Where a centred Gram matrix is zero up to rounding (constant features, or only one
sample that differs from the rest) the cosine is not defined, and nan.
"""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax_lib.similarity import features


def cka_from_grams(k: ArrayLike, l: ArrayLike, *, debiased: bool = True) -> jax.Array:
    r"""Returns :math:`HSIC(K, L) / \sqrt{HSIC(K, K) \, HSIC(L, L)}`.

    Args:
      k: `[N, N]`, symmetric, a kernel between the samples.
      l: `[N, N]`, symmetric, another kernel between the same samples.
      debiased: as in `hsic`.

    Returns:
      `[]`, from -1 to 1, higher is closer; nan where a centred matrix is zero up to
      rounding. Positive multiples of `k` and `l`, and constants added to them, change
      nothing.

    Raises:
      ValueError: as in `hsic`.

    Example:
      >>> layers = jax.random.normal(jax.random.key(0), (3, 9, 5))
      >>> from symjax_lib.similarity import linear_gram
      >>> grams = jax.vmap(linear_gram)(layers)
      >>> table = [[cka_from_grams(k, l).item() for l in grams] for k in grams]
      >>> [round(table[i][i], 4) for i in range(3)]
      [1.0, 1.0, 1.0]
    """
    k, l = _check_grams("cka_from_grams", k, l, debiased)
    return _cosine(k, l, debiased)


def hsic(k: ArrayLike, l: ArrayLike, *, debiased: bool = True) -> jax.Array:
    r"""Estimates the Hilbert-Schmidt independence criterion of two kernels.

    Debiased, :math:`HSIC_1 = \sum_{ij} \tilde K_{ij} \tilde L_{ij} / n (n - 3)` with
    U-centred matrices: equal to the formula of Song et al., without its cancellation.
    The diagonals do not enter. Biased, :math:`HSIC_0 = tr(K H L H) / (n - 1)^2`.

    Args:
      k: `[N, N]`, symmetric, a kernel between the samples.
      l: `[N, N]`, symmetric, another kernel between the same samples.
      debiased: the unbiased estimator; needs N of at least 4.

    Returns:
      `[]`; the debiased one can be negative.

    Raises:
      ValueError: the matrices are not square and of one size, or there are too few
        samples.

    Example:
      >>> from symjax_lib.similarity import linear_gram
      >>> k = linear_gram(jnp.array([[0.0], [0.0], [2.0], [2.0]]))
      >>> round(hsic(k, k, debiased=False).item(), 4)
      1.7778

    References:
      Song et al., `Feature Selection via Dependence Maximization
      <https://jmlr.org/papers/v13/song12a.html>`_, 2012; Szekely and Rizzo, `Partial
      distance correlation <https://arxiv.org/abs/1310.2926>`_, 2014 (U-centring).
    """
    k, l = _check_grams("hsic", k, l, debiased)
    n = k.shape[0]
    count = n * (n - 3) if debiased else (n - 1) ** 2
    return jnp.sum(_center(k, debiased) * _center(l, debiased)) / count


@functools.partial(jax.jit, static_argnums=2)
def _cosine(k: jax.Array, l: jax.Array, debiased: bool) -> jax.Array:
    return jnp.sum(_direction(k, debiased) * _direction(l, debiased))


def _direction(k: jax.Array, debiased: bool) -> jax.Array:
    # Scaled first, or the sums of the centring could overflow.
    k = features.unit(_off_diagonal(k) if debiased else k)
    centered = _center(k, debiased)
    size, rounding = jnp.max(jnp.abs(k)), 16 * jnp.finfo(k.dtype).eps
    defined = jnp.max(jnp.abs(centered)) > rounding * size
    return jnp.where(defined, features.unit(centered), jnp.nan)


def _center(k: jax.Array, debiased: bool) -> jax.Array:
    if not debiased:
        k = k - k.mean(axis=1, keepdims=True)
        return k - k.mean(axis=0, keepdims=True)
    n = k.shape[0]
    k = _off_diagonal(k)
    means = k.sum(axis=1, keepdims=True) / (n - 2)
    return _off_diagonal(k - means - means.T + means.sum() / (n - 1))


def _off_diagonal(k: jax.Array) -> jax.Array:
    return jnp.where(jnp.eye(k.shape[0], dtype=bool), 0, k)


def _check_grams(
    caller: str, k: ArrayLike, l: ArrayLike, debiased: bool
) -> tuple[jax.Array, jax.Array]:
    k, l = jnp.asarray(k), jnp.asarray(l)
    if k.ndim != 2 or k.shape[0] != k.shape[1] or k.shape != l.shape:
        raise ValueError(
            f"{caller}: k and l must be square matrices of one size, got {k.shape} and "
            f"{l.shape}; compute both from the same samples."
        )
    check_samples(caller, k.shape[0], debiased=debiased)
    dtype = jnp.promote_types(jnp.promote_types(k.dtype, l.dtype), jnp.float32)
    return k.astype(dtype), l.astype(dtype)


def check_samples(
    caller: str, n: int, *, debiased: bool, way_out: str = ", or pass debiased=False"
) -> None:
    """Refuses fewer samples than an estimator needs.

    Args:
      caller: the public function to name in an error.
      n: number of samples.
      debiased: which estimator.
      way_out: what else the caller can be told to do.
    """
    least, divisor = (4, "n - 3") if debiased else (2, "n - 1")
    if n < least:
        raise ValueError(
            f"{caller}: debiased={debiased} needs at least {least} samples, got {n} "
            f"(the estimator divides by {divisor}); use more samples"
            f"{way_out if debiased else ''}."
        )
