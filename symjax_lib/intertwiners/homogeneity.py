r"""How far an activation is from passing positive scalings: the defect of (E.22)."""

import numpy as np
from numpy.typing import ArrayLike

from symjax_lib.intertwiners import quadrature, samples

# Of the values of an activation, relative: some units in the last place.
_ROUNDING = 2e-15


def defect(
    sigma: samples.Scalar, scale: ArrayLike, *, exponent: float = 1.0
) -> np.ndarray:
    r"""Returns the root mean square of :math:`\sigma(\lambda X) - \lambda \sigma(X)`.

    .. math:: \xi(\lambda) = \sqrt{E[(\sigma(\lambda X) - \lambda^p \sigma(X))^2]},
              \quad X \sim N(0, 1)

    In the paper `p = 1`, so a homogeneous function of another degree, such as
    :math:`x^2`, has a defect although it passes every scaling. With its own degree as
    `exponent` it has none; `relative_defect` finds the best factor itself.

    Adaptive quadrature on the host in float64, so no part of it can be traced. It errs
    by about 1e-12 of the result, wherever kinks and steps are, plus 1e-15 of the size
    of :math:`\sigma`, which is what a defect of 0 comes out as. A spike narrower than a
    hundredth of its distance to 0 may go unseen.

    Args:
      sigma: an elementwise function that works in float64.
      scale: any shape, :math:`\lambda`; negative ones tell how far from odd it is.
      exponent: `p`; `classify(sigma).exponent` where there is one.

    Returns:
      The shape of `scale`, float64.

    Raises:
      ValueError: :math:`\lambda^p` is undefined, sigma is not finite on all of the line
        or not elementwise, or the expectation is infinite or out of reach.

    Example:
      >>> defect(lambda x: jax.nn.relu(x) + 1, jnp.array([0.5, 4.0])).round(12).tolist()
      [0.5, 3.0]
      >>> gelu = lambda x: jax.nn.gelu(x, approximate=False)
      >>> (defect(gelu, 1e6) / 1e6).round(12).item()  # the limit slope of section E.2.1
      0.1267538539
      >>> defect(jnp.square, 3.0, exponent=2).round(12).item()
      0.0

    References:
      Godfrey et al. 2022, equation (E.22) and figure 17.
    """
    scale = np.asarray(scale, dtype=np.float64)
    with np.errstate(all="ignore"):
        factor = scale**exponent
    if not (np.isfinite(scale) & np.isfinite(factor)).all():
        wrong = scale[~(np.isfinite(scale) & np.isfinite(factor))][0]
        raise ValueError(
            f"defect: the factor {wrong:g} ** {exponent:g} is not a finite number; "
            "pass positive scales, or an exponent that their sign allows."
        )
    found = _rms(sigma, scale.ravel(), factor.ravel(), "defect")
    return found.reshape(scale.shape)


def relative_defect(sigma: samples.Scalar, scale: ArrayLike) -> np.ndarray:
    r"""Returns how far a multiplier is from passing, as the sine of an angle.

    .. math:: \min_b \sqrt{E[(\sigma(\lambda X) - b \, \sigma(X))^2] /
              E[\sigma(\lambda X)^2]}, \quad X \sim N(0, 1)

    It is the sine of the angle between the functions :math:`x \mapsto \sigma(\lambda
    x)` and :math:`\sigma`: 0 iff :math:`\lambda` passes, with whatever factor; 1 iff
    they are orthogonal. It does not change when sigma is multiplied by a constant. A
    function that is nearly constant is nearly homogeneous, of degree 0.

    Args:
      sigma: an elementwise function that works in float64.
      scale: any shape, :math:`\lambda`, not 0.

    Returns:
      The shape of `scale`, float64, from 0 to 1.

    Raises:
      ValueError: as in `defect`; a scale is 0; sigma is 0 almost everywhere.

    Example:
      >>> relative_defect(jnp.square, jnp.array([0.5, 3.0])).round(12).tolist()
      [0.0, 0.0]
      >>> relative_defect(jnp.tanh, 3.0).round(6).item()
      0.25483
    """
    scale = np.asarray(scale, dtype=np.float64)
    if not np.all(scale):
        raise ValueError(
            "relative_defect: a scale is 0; pass multipliers other than 0."
        )
    flat = scale.ravel()
    ones = np.ones_like(flat)
    own = _inner(sigma, np.ones(1), np.ones(1), "relative_defect")
    scaled = _inner(sigma, flat, flat, "relative_defect")
    if own == 0 or not scaled.all():
        raise ValueError(
            "relative_defect: the function is 0 almost everywhere, so the angle to it "
            "is undefined; pass another."
        )
    factor = _inner(sigma, flat, ones, "relative_defect") / own
    found = _rms(sigma, flat, factor, "relative_defect") / np.sqrt(scaled)
    return np.minimum(found, 1.0).reshape(scale.shape)


def _rms(
    sigma: samples.Scalar, scale: np.ndarray, factor: np.ndarray, caller: str
) -> np.ndarray:
    """Of sigma(scale X) - factor sigma(X)."""

    def square(x: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        left, right = _pair(sigma, x, scale[which], np.ones(1), caller)
        right = factor[which] * right
        gap = np.abs(left - right)
        rounding = _ROUNDING * (np.abs(left) + np.abs(right))
        return gap**2, rounding * (2 * gap + rounding)

    return np.sqrt(quadrature.integrate(square, len(scale), caller=caller))


def _inner(
    sigma: samples.Scalar, first: np.ndarray, second: np.ndarray, caller: str
) -> np.ndarray:
    """The expectation of sigma(first X) sigma(second X)."""

    def product(x: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        left, right = _pair(sigma, x, first[which], second[which], caller)
        return left * right, 2 * _ROUNDING * np.abs(left * right)

    return quadrature.integrate(product, len(first), caller=caller)


def _pair(
    sigma: samples.Scalar,
    x: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    caller: str,
) -> np.ndarray:
    """Values at both multiples of x, times the square root of the normal density."""
    points = np.concatenate([first * x, second * x])
    values = samples.evaluate_many(sigma, points, caller=caller).reshape(2, -1)
    # The root of it on either factor: the square of a value alone might overflow.
    return values * np.exp(-(x**2) / 4) / (2 * np.pi) ** 0.25
