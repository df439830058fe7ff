r"""Centred kernel alignment: kernel, then Gram matrix, then HSIC.

CKA is the cosine of two centred Gram matrices, so it lies between -1 and 1, and higher
is closer. The debiased one is negative for about half of all unrelated features: no
value is clamped. Where a centred Gram matrix is zero up to rounding (constant features,
or only one sample that differs from the rest) CKA is not defined, and nan.

For many pairs of layers compute each Gram matrix once, and compare them with
`cka_from_grams`.
"""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax_lib.similarity import features, kernels


def g_relu_cka(x: ArrayLike, y: ArrayLike) -> jax.Array:
    r"""Compares features by debiased CKA with the max kernel. Group: `G_ReLU`, signs.

    Every channel is centred over samples and space and divided by its norm; then
    :math:`K_{ij} = \max_c \langle x_{i,c}, x_{j,c} \rangle` over space. Permutations,
    scalings of either sign and shifts of the channels on either side change nothing;
    rotations do. Higher is closer.

    Widths and resolutions may differ: nothing is padded or repeated. A constant channel
    adds a zero to each maximum.

    Args:
      x: `[N, ..., C]` features, with N at least 4.
      y: `[N, ..., C']` features on the same inputs, in the same order. That they are
        the same inputs is not checked.

    Returns:
      `[]`, from -1 to 1; 1 for features equal up to the group, nan where undefined.

    Raises:
      ValueError: the numbers of samples differ or are below 4, or a value is not
        finite (not checked under `jit`).

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (32, 4, 4, 3))
      >>> y = x[..., jnp.array([2, 0, 1])] * jnp.array([5.0, 1.0, 0.1])
      >>> round(g_relu_cka(x, y).item(), 4)
      1.0

    References:
      Godfrey et al., `On the Symmetries of Deep Learning Models and their Internal
      Representations <https://arxiv.org/abs/2205.14258>`_, 2022, Definition 5.3.
    """
    x, y = features.check("g_relu_cka", x, y)
    _check_samples("g_relu_cka", x.shape[0], debiased=True, way_out="")
    x, y = (features.unit_channels(z, center=True) for z in (x, y))
    return cka_from_grams(kernels.max_gram(x), kernels.max_gram(y))


def linear_cka(
    x: ArrayLike, y: ArrayLike, *, debiased: bool = True, channel_norm: bool = False
) -> jax.Array:
    r"""Compares features by CKA with the linear kernel. Group: orthogonal.

    :math:`K = X X^T` with all axes but the samples flattened. Orthogonal maps and
    shifts of the channels, and one common scale, on either side change nothing;
    scalings of single channels do. Higher is closer.

    With `channel_norm` it is the measure that the paper plots as orthogonal CKA: every
    channel is first centred and divided by its norm over samples and space. Its group
    is then `G_ReLU` and signs, and no longer the orthogonal one.

    Args:
      x: `[N, ..., C]` features.
      y: `[N, ..., C']` features on the same inputs, in the same order. That they are
        the same inputs is not checked. Space may differ.
      debiased: use the unbiased estimator, which needs N of at least 4. The biased one
        tends to 1 for any two features when N is small against their size.
      channel_norm: the paper's variant.

    Returns:
      `[]`, from -1 (biased: 0) to 1; 1 for features equal up to the group, nan where
      undefined.

    Raises:
      ValueError: the numbers of samples differ or are too small, or a value is not
        finite (not checked under `jit`).

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (32, 3))
      >>> flip = jnp.array([1.0, -1.0, 1.0])
      >>> round(linear_cka(x, x * flip).item(), 4)
      1.0
      >>> round(linear_cka(x, x * flip * jnp.array([9.0, 1.0, 1.0])).item(), 1)
      0.6

    References:
      Kornblith et al., `Similarity of Neural Network Representations Revisited
      <https://arxiv.org/abs/1905.00414>`_, 2019; Godfrey et al., 2022, appendix D.7.2
      (the variant); Nguyen et al., `Do Wide and Deep Networks Learn the Same Things?
      <https://arxiv.org/abs/2010.15327>`_, 2021, equation 3 (debiased).
    """
    x, y = features.check("linear_cka", x, y)
    _check_samples("linear_cka", x.shape[0], debiased=debiased)
    # A common scale changes nothing, but the squares of the values might overflow.
    normalize = features.unit
    if channel_norm:
        normalize = functools.partial(features.unit_channels, center=True)
    grams = kernels.linear_gram(normalize(x)), kernels.linear_gram(normalize(y))
    return cka_from_grams(*grams, debiased=debiased)


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
      >>> grams = jax.vmap(kernels.linear_gram)(layers)
      >>> table = [[cka_from_grams(k, l).item() for l in grams] for k in grams]
      >>> [round(table[i][i], 4) for i in range(3)]
      [1.0, 1.0, 1.0]
    """
    k, l = _check_grams("cka_from_grams", k, l, debiased)
    return jnp.sum(_direction(k, debiased) * _direction(l, debiased))


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
      >>> k = kernels.linear_gram(jnp.array([[0.0], [0.0], [2.0], [2.0]]))
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
    _check_samples(caller, k.shape[0], debiased=debiased)
    dtype = jnp.promote_types(jnp.promote_types(k.dtype, l.dtype), jnp.float32)
    return k.astype(dtype), l.astype(dtype)


def _check_samples(
    caller: str, n: int, *, debiased: bool, way_out: str = ", or pass debiased=False"
) -> None:
    least, divisor = (4, "n - 3") if debiased else (2, "n - 1")
    if n < least:
        raise ValueError(
            f"{caller}: debiased={debiased} needs at least {least} samples, got {n} "
            f"(the estimator divides by {divisor}); use more samples"
            f"{way_out if debiased else ''}."
        )
