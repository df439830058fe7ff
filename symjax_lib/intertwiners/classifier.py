r"""Finds the intertwiner group of any activation from its values.

By Theorem E.14, for a continuous activation that is not affine every element of the
group is a product :math:`P D`, so only `n = 1` has to be decided: for which multipliers
`a` is there a `b` with :math:`\sigma(a x) = b \, \sigma(x)` for all `x`?

- All positive ones iff :math:`\sigma` is homogeneous, :math:`c_\pm |x|^p` on either
  side of 0; then :math:`b = a^p`.
- A sign iff it is odd (`b = -1`) or even (`b = 1`).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from symjax_lib import groups
from symjax_lib.intertwiners import table

# Float64 agrees to about 1e-14 where the law holds; a law that fails does so by more
# than this at some of the points below, however close the function comes elsewhere.
TOLERANCE = 1e-11
_POINTS = np.geomspace(1e-10, 1e10, 401) * 1.0371


class Evidence(NamedTuple):
    """How well a law holds: the largest relative residual, and the `x` where it is."""

    residual: float
    witness: float


class Classification(NamedTuple):
    """The intertwiner group of one activation.

    Attributes:
      kind: one of `groups.KINDS`.
      exponent: `p` with `phi(a) = a ** p` for positive `a`, or None if those do not
        pass.
      parity: "odd", "even", or None if signs do not pass.
      evidence: `Evidence` for the laws "homogeneous", "odd" and "even".
    """

    kind: str
    exponent: float | None
    parity: str | None
    evidence: dict[str, Evidence]

    def phi(self, g: groups.Element) -> groups.Element:
        """Returns the map that `g` becomes after sigma; see `Intertwiner.phi`."""
        table.check_element(self.kind, g)
        if not isinstance(g, groups.Monomial):
            return g
        size = jax.numpy.abs(g.scale) ** (self.exponent or 0.0)
        sign = jax.numpy.sign(g.scale) if self.parity == "odd" else 1.0
        return groups.Monomial(g.permutation, sign * size)


def classify(sigma: Callable[[jax.Array], jax.Array]) -> Classification:
    """Decides the intertwiner group of a scalar function from its values in float64.

    The laws are tried at 0 and at both signs of 401 points from 1e-10 to 1e10. Where
    the function is not finite on one side of 0 (such as `sqrt`), that side is left out.

    Args:
      sigma: an elementwise function that works in float64.

    Returns:
      A `Classification`. An affine function with a constant term is reported as
      "permutation", which is a subgroup of its group.

    Raises:
      ValueError: the function is constant (it has no `phi`), nowhere finite, not
        elementwise, complex, or rounds to less than float64.

    Example:
      >>> [classify(f).kind for f in (jax.nn.relu, jnp.tanh, jax.nn.gelu)]
      ['positive_monomial', 'signed_permutation', 'permutation']

    References:
      Godfrey et al. 2022, Theorem E.14.
    """
    right, left = _values(sigma, _POINTS), _values(sigma, -_POINTS)
    if not np.array_equal(right[:9], _values(sigma, _POINTS[:9]), equal_nan=True):
        raise ValueError("classify: the function is not elementwise.")
    at_zero = float(_values(sigma, np.zeros(1))[0])
    sides = [side for side in (right, left) if np.isfinite(side).any()]
    if not sides:
        raise ValueError("classify: the function is finite at no point tried.")
    spread = np.concatenate([side[np.isfinite(side)] for side in sides])
    if np.ptp(spread) == 0:
        raise ValueError(f"classify: the function is constant, {spread[0]:g}.")
    exponent, homogeneous = _homogeneity(sides)
    odd = _residual(left, -right)
    if np.isfinite(at_zero) and at_zero != 0:
        # An odd function is 0 there, and so is c |x| ** p for p > 0.
        odd = Evidence(np.inf, 0.0)
        if exponent != 0:
            homogeneous = Evidence(np.inf, 0.0)
    evidence = {"homogeneous": homogeneous, "odd": odd, "even": _residual(left, right)}
    holds = {law: found.residual < TOLERANCE for law, found in evidence.items()}
    parity = "odd" if holds["odd"] else "even" if holds["even"] else None
    if not holds["homogeneous"]:
        exponent = None
    kind = _kind(exponent, parity)
    return Classification(kind, exponent, parity, evidence)


def _kind(exponent: float | None, parity: str | None) -> str:
    if exponent == 1 and parity == "odd":
        return "general_linear"
    if exponent is None:
        return "signed_permutation" if parity else "permutation"
    return "monomial" if parity else "positive_monomial"


def _values(sigma: Callable, points: np.ndarray) -> np.ndarray:
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        values = sigma(jax.numpy.asarray(points, dtype=jax.numpy.float64))
        if jax.numpy.iscomplexobj(values):
            raise ValueError("classify: the function has complex values.")
        floating = jax.numpy.issubdtype(values.dtype, jax.numpy.floating)
        if floating and values.dtype != jax.numpy.float64:
            raise ValueError(
                f"classify: the function returned {values.dtype} for float64; remove "
                "the cast, as the laws are tried to the precision of float64."
            )
        return np.asarray(values, dtype=np.float64)


def _homogeneity(sides: list[np.ndarray]) -> tuple[float, Evidence]:
    """Fits `c |x| ** p` to each side, with one `p` for both."""
    middle = len(_POINTS) // 2
    anchor = max(sides, key=lambda side: abs(np.nan_to_num(side[middle])))
    with np.errstate(all="ignore"):
        ratio = anchor[middle + 100] / anchor[middle]
        slope = np.log(ratio) / np.log(_POINTS[middle + 100] / _POINTS[middle])
        exponent = round(slope * 60) / 60 if np.isfinite(slope) else 0.0
        power = (_POINTS / _POINTS[middle]) ** exponent
        found = [_residual(side, side[middle] * power) for side in sides]
    return exponent, max(found, key=lambda evidence: evidence.residual)


def _residual(left: np.ndarray, right: np.ndarray) -> Evidence:
    with np.errstate(all="ignore"):
        error = np.abs(left - right) / np.maximum(np.abs(left), np.abs(right))
    error = np.where(left == right, 0.0, error)
    error = np.nan_to_num(error, nan=np.inf, posinf=np.inf)
    worst = int(np.argmax(error))
    return Evidence(float(error[worst]), float(_POINTS[worst]))
