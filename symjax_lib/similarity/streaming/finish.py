"""Similarities from the sums of `channels`, in float64 on the host.

With products added up in float64 the short formulas lose nothing that shows.
"""

import math

import numpy as np
from scipy.optimize import linear_sum_assignment

from symjax_lib.similarity.streaming.channels import Channels


def procrustes(
    kind: str, x: Channels, y: Channels, cross: np.ndarray, *, center: bool
) -> float:
    """Returns the similarity of the measure of that name.

    Args:
      kind: "g_relu", "orthogonal", "permutation" or "signed_permutation".
      x: of the first layer.
      y: of the second layer.
      cross: of the two.
      center: subtract from every channel its mean first.
    """
    squared = [_matched(z, x, y).squared_norms(center=center) for z in (x, y)]
    if kind == "g_relu":
        norms, size = squared, max(map(len, squared))
        total = sum(np.count_nonzero(norm) for norm in norms)
    else:
        norms, size = [norm.sum(keepdims=True) for norm in squared], 1
        total = sum(np.any(norm) for norm in norms)
    score = _products(x, y, cross, center=center)
    score = _divide(_divide(score, np.sqrt(norms[0])[:, None]), np.sqrt(norms[1]))
    distance = math.sqrt(max(total - 2 * _MATCHED[kind](score), 0.0))
    return 1 - distance / (2 * math.sqrt(size))


def linear_cka(
    x: tuple[Channels, np.ndarray],
    y: tuple[Channels, np.ndarray],
    cross: np.ndarray,
    *,
    debiased: bool,
) -> float:
    """Returns linear CKA with every position of every sample as a sample of its own.

    Args:
      x: the first layer, and its products with itself.
      y: the second layer, and its products with itself.
      cross: of the two; the same with itself if there is one.
      debiased: as in `similarity.linear_cka`.
    """
    (cx, xx), (cy, yy) = x, y
    matched = _matched(cx, cx, cy), _matched(cy, cx, cy)
    repeats = [
        m.observations / c.observations for m, c in zip(matched, (cx, cy), strict=True)
    ]
    xx, yy = (own * repeat for own, repeat in zip((xx, yy), repeats, strict=True))
    terms = [
        _linear_hsic(*pair, debiased=debiased)
        for pair in (
            (matched[0], matched[1], cross),
            (matched[0], matched[0], xx),
            (matched[1], matched[1], yy),
        )
    ]
    if min(terms[1:]) <= 0:
        return math.nan
    return terms[0] / math.sqrt(terms[1] * terms[2])


def _linear_hsic(
    x: Channels, y: Channels, cross: np.ndarray, *, debiased: bool
) -> float:
    """HSIC times a factor that all terms of one CKA share."""
    n = x.observations
    total = float((_products(x, y, cross[:-1, :-1], center=True) ** 2).sum())
    if not debiased:
        return total
    # Centred, a row of the Gram matrix sums to 0, and to minus its diagonal without it.
    lengths = _centred_lengths(x, y, cross)
    trace = lambda z: float(z.squared_norms(center=True).sum())
    rest = trace(x) * trace(y) / ((n - 1) * (n - 2)) - 2 * lengths / (n - 2)
    return total - lengths + rest


def _centred_lengths(x: Channels, y: Channels, cross: np.ndarray) -> float:
    """Returns the sum over observations of the product of both squared lengths."""
    n = x.observations
    dx, dy = x.sum / n, y.sum / n  # from the references to the means
    return float(
        cross[-1, -1]
        - 2 * cross[-1, :-1] @ dy
        - 2 * cross[:-1, -1] @ dx
        + 4 * dx @ cross[:-1, :-1] @ dy
        + (dy @ dy) * (x.squares.sum() - 2 * dx @ x.sum)
        + (dx @ dx) * (y.squares.sum() - 2 * dy @ y.sum)
        + n * (dx @ dx) * (dy @ dy)
    )


def _products(
    x: Channels, y: Channels, cross: np.ndarray, *, center: bool
) -> np.ndarray:
    x, y = _matched(x, x, y), _matched(y, x, y)
    centred = cross - np.outer(x.sum, y.sum) / x.observations
    if center:
        return centred
    return centred + x.observations * np.outer(x.mean, y.mean)


def _matched(z: Channels, x: Channels, y: Channels) -> Channels:
    """Returns the sums of a layer repeated to the larger of both resolutions."""
    repeats = math.prod(map(max, x.space, y.space)) // math.prod(z.space)
    return z._replace(
        observations=z.observations * repeats,
        sum=z.sum * repeats,
        squares=z.squares * repeats,
        space=tuple(map(max, x.space, y.space)),
    )


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a / np.where(b > 0, b, 1)


def _permutation(score: np.ndarray) -> float:
    # The narrower has channels of zeros: a negative product is matched in the end.
    width = max(score.shape)
    padded = np.pad(score, [(0, width - size) for size in score.shape])
    return float(padded[linear_sum_assignment(padded, maximize=True)].sum())


def _rotation(score: np.ndarray) -> float:
    return float(np.linalg.svd(score, compute_uv=False).sum())


_MATCHED = {
    "g_relu": _permutation,
    "orthogonal": _rotation,
    "permutation": _permutation,
    "signed_permutation": lambda score: _permutation(np.abs(score)),
}
"""From normalised products the largest sum that an element of the group can match."""
