r"""Centred kernel alignment: kernel, then Gram matrix, then HSIC.

CKA is the cosine of two centred Gram matrices, so it lies between -1 and 1, and higher
is closer. The debiased one is negative for about half of all unrelated features: no
value is clamped. Where a centred Gram matrix is zero up to rounding (constant features,
or only one sample that differs from the rest) CKA is not defined, and nan.

For many pairs of layers compute each Gram matrix once, and compare them with
`cka_from_grams`.
"""

import functools
from collections.abc import Callable

import jax
from jax.typing import ArrayLike

from symjax_lib.similarity import features, independence, kernels, max_kernel
from symjax_lib.similarity.independence import cka_from_grams


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
    return _cka("g_relu_cka", x, y, _max)


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
    kernel = _linear_of_unit_channels if channel_norm else _linear
    return _cka("linear_cka", x, y, kernel, debiased=debiased)


def rbf_cka(
    x: ArrayLike,
    y: ArrayLike,
    *,
    fraction: float = 1.0,
    sigma: float | None = None,
    debiased: bool = True,
) -> jax.Array:
    r"""Compares features by CKA with the Gaussian kernel. Group: orthogonal.

    As `linear_cka`, with `rbf_gram` as the kernel. Orthogonal maps and shifts of the
    channels on either side change nothing; with a fraction of the median distance as
    width, one common scale does not either. Higher is closer.

    Args:
      x: `[N, ..., C]` features.
      y: `[N, ..., C']` features on the same inputs, in the same order.
      fraction: of the root of the median squared distance, positive.
      sigma: the width itself, positive, in place of a fraction.
      debiased: as in `linear_cka`.

    Returns:
      `[]`, from -1 (biased: 0) to 1; 1 for features equal up to the group, nan where
      undefined.

    Raises:
      ValueError: as in `linear_cka`, or a width is not positive.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (32, 3))
      >>> round(rbf_cka(x, 7 * x[:, ::-1] + 1).item(), 4)
      1.0

    References:
      Kornblith et al., 2019, section 3.
    """
    width = fraction, sigma
    return _cka("rbf_cka", x, y, _rbf, width, debiased=debiased)


def laplace_cka(
    x: ArrayLike,
    y: ArrayLike,
    *,
    fraction: float = 1.0,
    sigma: float | None = None,
    debiased: bool = True,
) -> jax.Array:
    r"""Compares features by CKA with the Laplace kernel. Group: `G_ReLU`, signs.

    As `g_relu_cka` with `laplace_gram`, which is positive semi-definite, in place of
    the max kernel: the same maps change nothing. Higher is closer.

    Args:
      x: `[N, ..., C]` features.
      y: `[N, ..., C']` features on the same inputs, in the same order.
      fraction: of the median distance of the normalised features, positive.
      sigma: the width itself, positive, in place of a fraction; 1 in the paper.
      debiased: as in `linear_cka`.

    Returns:
      `[]`, from -1 (biased: 0) to 1; 1 for features equal up to the group, nan where
      undefined.

    Raises:
      ValueError: as in `rbf_cka`.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (32, 3))
      >>> y = x[:, jnp.array([2, 0, 1])] * jnp.array([5.0, -1.0, 0.1])
      >>> round(laplace_cka(x, y).item(), 4)
      1.0

    References:
      Godfrey et al., 2022, equation 5.6.
    """
    width = fraction, sigma
    return _cka("laplace_cka", x, y, _laplace, width, debiased=debiased)


def median_cka(x: ArrayLike, y: ArrayLike) -> jax.Array:
    r"""Compares features by debiased CKA with the median kernel. Group: `G_ReLU`.

    As `g_relu_cka` with `median_gram` in place of the max kernel; signs pass too.

    Args:
      x: `[N, ..., C]` features, with N at least 4.
      y: `[N, ..., C']` features on the same inputs, in the same order.

    Returns:
      `[]`, from -1 to 1; 1 for features equal up to the group, nan where undefined.

    Raises:
      ValueError: as in `g_relu_cka`.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (32, 4, 4, 3))
      >>> y = x[..., jnp.array([2, 0, 1])] * jnp.array([5.0, 1.0, 0.1])
      >>> round(median_cka(x, y).item(), 4)
      1.0

    References:
      The estimator "median" of the authors' code for Godfrey et al., 2022.
    """
    return _cka("median_cka", x, y, _median)


def _cka(
    caller: str,
    x: ArrayLike,
    y: ArrayLike,
    kernel: Callable[..., jax.Array],
    options: tuple[float | None, ...] = (),
    *,
    debiased: bool | None = None,
) -> jax.Array:
    """Compares the Gram matrices of features; debiased where there is no choice."""
    x, y = features.check(caller, x, y)
    if debiased is None:
        independence.check_samples(caller, x.shape[0], debiased=True, way_out="")
    else:
        independence.check_samples(caller, x.shape[0], debiased=debiased)
    k, l = _gram(x, kernel, options), _gram(y, kernel, options)
    return cka_from_grams(k, l, debiased=debiased in (None, True))


# One program for each layer, not for each pair of layers.
@functools.partial(jax.jit, static_argnums=(1, 2))
def _gram(x: jax.Array, kernel: Callable, options: tuple) -> jax.Array:
    return kernel(x, *options)


def _max(x: jax.Array) -> jax.Array:
    return max_kernel.max_gram(x, unit=True)


def _median(x: jax.Array) -> jax.Array:
    return kernels.median_gram(_unit_channels(x))


def _linear(x: jax.Array) -> jax.Array:
    # A common scale changes nothing, but the squares of the values might overflow.
    return kernels.linear_gram(features.unit(x))


def _linear_of_unit_channels(x: jax.Array) -> jax.Array:
    return kernels.linear_gram(_unit_channels(x))


def _rbf(x: jax.Array, fraction: float, sigma: float | None) -> jax.Array:
    return kernels.rbf_gram(x, fraction=fraction, sigma=sigma)


def _laplace(x: jax.Array, fraction: float, sigma: float | None) -> jax.Array:
    return kernels.laplace_gram(_unit_channels(x), fraction=fraction, sigma=sigma)


def _unit_channels(x: jax.Array) -> jax.Array:
    return features.unit_channels(x, center=True)
