"""Sentences on where a group is larger than its kind, or a statement does not apply."""

import numpy as np

from symjax_lib.intertwiners.classification import TOLERANCE, Classification


def remarks(
    found: Classification, points: np.ndarray, values: np.ndarray
) -> tuple[str, ...]:
    """Returns what the kind of a classification leaves unsaid.

    Args:
      found: kind, exponent, parity and evidence.
      points: `[N]`, with 1 first and 0 last; both signs of every size.
      values: `[N]`, of sigma at the points.

    Returns:
      Any number of sentences, for people.

    Example:
      >>> found = Classification("permutation", None, None, ())
      >>> points = np.array([1.0, -1.0, 8.0, -8.0, 0.0])
      >>> len(remarks(found, points, 3 * points + 5))
      1
    """
    at_one, at_zero = float(values[0]), float(values[-1])
    said = [
        _linear(found, points, values),
        _discrete(found),
        _singular(at_zero, at_one),
        _discontinuous(found),
        _undefined(points, values),
    ]
    return tuple(remark for remark in said if remark)


def _linear(found: Classification, points: np.ndarray, values: np.ndarray) -> str:
    if found.kind == "general_linear":
        return "c x: for n = 1 the group is the same as monomial, all a other than 0."
    offset, far = values[-1], int(np.argmax(points))
    opposite = int(np.argmin(points))
    with np.errstate(all="ignore"):
        slope = (values[far] - values[opposite]) / (points[far] - points[opposite])
        error = np.abs(values - slope * points - offset)
        size = np.abs(slope * points) + np.abs(offset)
    if offset == 0 or slope == 0 or not np.all(error <= TOLERANCE * size):
        return ""
    return (
        f"affine, c x + d with d = {offset:g}: for n > 1 the group is larger, all A "
        "with A 1 = 1, and phi(A) = A; permutations are a part of it."
    )


def _discrete(found: Classification) -> str:
    signs_pass = found.parity is not None
    more = [
        f"{law.multiplier:.4g}"
        for law in found.evidence
        if law.passes
        and law.multiplier != -1
        and (found.exponent is None or (law.multiplier < 0 and not signs_pass))
    ]
    if not more:
        return ""
    return (
        f"not all multipliers pass but {', '.join(more)} do: the group is larger by a "
        "discrete set of them, which is not claimed."
    )


def _singular(at_zero: float, at_one: float) -> str:
    start = f"sigma(0) = {at_zero:.6g} and sigma(1) = {at_one:.6g}, so sigma(I) is "
    end = ", and Lemma 3.1 has no formula for phi there."
    if not np.isfinite([at_zero, at_one]).all():
        return f"{start}not finite{end}"
    if at_zero == at_one:
        return f"{start}singular for {'all n' if at_one == 0 else 'n > 1'}{end}"
    # (E.8): sigma(1) + (n - 1) sigma(0) = 0, and n = 1 needs sigma(1) = 0.
    n = 1 - at_one / at_zero if at_zero else 0.0
    if at_one == 0 or (1.5 < n < 1e6 and abs(n - round(n)) < TOLERANCE * n):
        return f"{start}singular for n = {max(1, round(n))}{end}"
    return ""


def _discontinuous(found: Classification) -> str:
    if found.exponent is None or found.exponent > 0:
        return ""
    return (
        f"homogeneous of degree {found.exponent:g}, so not continuous at 0: Theorem "
        "E.14 asks for that, and more than the matrices P D was not looked for."
    )


def _undefined(points: np.ndarray, values: np.ndarray) -> str:
    missing = points[np.isnan(values)]
    if not missing.size:
        return ""
    return (
        f"undefined at {missing.size} of {points.size} points, such as x = "
        f"{missing[0]:.4g}: the laws are those between the others."
    )
