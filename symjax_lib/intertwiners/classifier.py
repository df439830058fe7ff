r"""Finds the intertwiner group of any activation from its values.

By Theorem E.14, for a continuous activation that is not affine every element of the
group is a product :math:`P D`, so only `n = 1` has to be decided: for which multipliers
`a` is there a `b` with :math:`\sigma(a x) = b \, \sigma(x)` for all `x`?

They form a closed subgroup of the non-zero reals. One that contains 2 and 3 contains
the powers :math:`2^i 3^j`, which are dense, and so every positive number: then
:math:`\sigma` is homogeneous, :math:`c_\pm |x|^p` on either side of 0, and
:math:`b = a^p`. A subgroup with -1 belongs to an odd (`b = -1`) or an even one.
"""

import numpy as np

from symjax_lib.intertwiners import samples
from symjax_lib.intertwiners.classification import TOLERANCE, Classification, Evidence
from symjax_lib.intertwiners.remarks import remarks

POSITIVE = (2.0, 1 / 2, 3.0, 1 / 3, 10.0, 1 / 10, 1e3, 1e-3)
NEGATIVE = (-1.0, -2.0, -1 / 2, -3.0, -1 / 3)
# 14 rows make an even number of points, so that glu, for one, gets as far as `samples`.
_ROWS = np.array([1.0, *POSITIVE, *NEGATIVE])
# Off the round numbers, where kinks and zeros are; closer together where inputs are.
_SIDE = np.concatenate(
    [1.0371 * np.geomspace(1e-3, 1e3, 301), 1.0193 * np.geomspace(1e-10, 1e10, 201)]
)
_SORTED = _SIDE[np.argsort(np.abs(np.log(_SIDE)))]
# 1 and -1 come first, and then the rest by their distance from these.
_BOTH = np.ravel([_SORTED, -_SORTED], order="F")
POINTS = np.concatenate([[1.0, -1.0], _BOTH, [0.0]])
_FEW = np.arange(len(POINTS))[::-90]
_TINY, _HUGE = 2 * np.finfo(np.float64).tiny, np.finfo(np.float64).max / 2


def classify(sigma: samples.Scalar) -> Classification:
    r"""Decides the intertwiner group of a scalar function from its values in float64.

    The law :math:`\sigma(a x) = b \, \sigma(x)` is tried for 13 multipliers `a` at
    0 and at a thousand points of both signs, from 1e-10 to 1e10 in size and so from
    1e-13 to 1e13 in :math:`a x`. It must hold to rounding, relative to the size of the
    values, at each of them; where both sides are undefined (as for `sqrt` below 0), or
    out of float64's range, it says nothing.

    A function that obeys a law only up to cancellation (such as tanh, written as
    `2 * sigmoid(2 * x) - 1`) is refused it, which is safe; one that breaks a law by
    less than 1e-11 of its size, or between the points only, is not found out.

    Args:
      sigma: an elementwise function that works in float64.

    Returns:
      A `Classification`; `print` it for the evidence. An affine function with a
      constant term is reported as "permutation", a subgroup of its group, and its
      `remarks` say so.

    Raises:
      ValueError: the function is constant (it has no `phi`), nowhere finite, not
        elementwise, complex, or rounds to less than float64.

    Example:
      >>> [classify(f).kind for f in (jax.nn.relu, jnp.tanh, jax.nn.gelu)]
      ['positive_monomial', 'signed_permutation', 'permutation']
      >>> found = classify(lambda x: jax.nn.relu(x) ** 2)
      >>> found.exponent, found.evidence[2].image, found.evidence[2].passes
      (2.0, 9.0, True)

    References:
      Godfrey et al. 2022, Lemma 3.1 and Theorem E.14.
    """
    points = np.ravel(_ROWS[:, None] * POINTS)
    values = samples.evaluate(sigma, points, caller="classify")
    base, *scaled = values.reshape(len(_ROWS), len(POINTS))
    few = samples.evaluate(sigma, POINTS[_FEW], caller="classify")
    _check(base, few)
    anchor = int(np.argmax(np.isfinite(base) & (np.abs(base) > _TINY)))
    evidence = tuple(
        _evidence(a, row, base, anchor)
        for a, row in zip(_ROWS[1:].tolist(), scaled, strict=True)
    )
    exponent = _exponent(evidence[: len(POSITIVE)])
    parity = _parity(evidence[len(POSITIVE)])
    found = Classification(_kind(exponent, parity), exponent, parity, evidence)
    return found._replace(remarks=remarks(found, POINTS, base))


def _check(base: np.ndarray, few: np.ndarray) -> None:
    # Not to the last digit: code for whole vectors may round unlike that for the rest.
    if not np.allclose(base[_FEW], few, rtol=1e-9, atol=1e-12, equal_nan=True):
        raise ValueError(
            "classify: the function is not elementwise, a value depends on the other "
            "entries; pass a function of each entry alone."
        )
    finite = base[np.isfinite(base)]
    if not finite.size:
        raise ValueError(
            "classify: the function is finite at no point tried, from -1e10 to 1e10; "
            "pass one that is."
        )
    if finite.min() == finite.max():
        raise ValueError(
            f"classify: the function is constant, {finite[0]:g}, and all matrices give "
            "the same values; pass one that is not, as a constant has no phi."
        )


def _evidence(
    multiplier: float, scaled: np.ndarray, base: np.ndarray, anchor: int
) -> Evidence:
    with np.errstate(all="ignore"):
        image = float(scaled[anchor] / base[anchor])
        if multiplier == -1:
            image = float(np.sign(image))
        if image == 0 or not np.isfinite(image):
            return Evidence(multiplier, image, np.inf, float(POINTS[anchor]))
        error = _errors(scaled, image * base)
        error[_out_of_range(scaled, base, image)] = 0.0
    # Nearest to 1 of the points that refute it plainly: people look at the witness.
    worst = int(np.argmax(np.minimum(error, 0.1)))
    return Evidence(multiplier, image, float(error[worst]), float(POINTS[worst]))


def _errors(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    error = np.abs(left - right) / np.maximum(np.abs(left), np.abs(right))
    agree = (left == right) | (np.isnan(left) & np.isnan(right))
    return np.where(agree, 0.0, np.nan_to_num(error, nan=np.inf, posinf=np.inf))


def _out_of_range(scaled: np.ndarray, base: np.ndarray, image: float) -> np.ndarray:
    """Where a true law would underflow, or overflow, on the way to either side."""
    below = np.zeros(len(base), bool)
    above = np.zeros(len(base), bool)
    for left, right in ((scaled, image * base), (scaled / image, base)):
        below |= np.maximum(np.abs(left), np.abs(right)) < _TINY
        above |= np.minimum(np.abs(left), np.abs(right)) > _HUGE
    # At 0 no power underflows, so a value there is meant.
    return (below & (POINTS != 0)) | (
        above & (np.sign(scaled) == np.sign(image * base))
    )


def _exponent(positive: tuple[Evidence, ...]) -> float | None:
    """Returns the one `p` with `b = a ** p`, if all positive multipliers pass."""
    if not all(found.passes and found.image > 0 for found in positive):
        return None
    a, b = np.array([found[:2] for found in positive]).T
    power = float(np.log(b[POSITIVE.index(10.0)]) / np.log(10.0))
    simple = round(power * 60) / 60
    power = simple if abs(power - simple) < 1e-13 else power
    return power if np.allclose(a**power, b, rtol=TOLERANCE, atol=0) else None


def _parity(minus_one: Evidence) -> str | None:
    if not minus_one.passes:
        return None
    return "odd" if minus_one.image < 0 else "even"


def _kind(exponent: float | None, parity: str | None) -> str:
    if exponent == 1 and parity == "odd":
        return "general_linear"
    if exponent is None:
        return "signed_permutation" if parity else "permutation"
    return "monomial" if parity else "positive_monomial"
