"""Stitches without a search: least squares, and the best matching of channels.

They need the back's own features at the cut, on the same images; a fit needs labels.
Sums are taken in float64 on the host, part by part.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from symjax_lib import assignment, groups
from symjax_lib.stitching.maps import Params

_ROWS = 2**16  # taken at once
# Of the largest eigenvalue; below that a direction has no features.
_NOTHING = 1e-10


class _Moments(NamedTuple):
    """Means and mean products of the channels of x `[n]` and y `[m]`."""

    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray


def least_squares(x: ArrayLike, y: ArrayLike, *, bias: bool = False) -> Params:
    r"""Returns the map of x that is closest to y, in the mean over images and places.

    .. math:: \min_{A, b} \sum \|A x + b - y\|^2

    Of many the smallest, where channels are dead or depend on each other.

    Args:
      x: `[N, ..., n]` features of the front.
      y: `[N, ..., m]` features of the back.
      bias: whether there is a b.

    Returns:
      Params of `full`, or with a bias of `affine`.

    Raises:
      ValueError: the shapes differ in more than the last axis, or features are not
        finite.

    Example:
      >>> x = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
      >>> least_squares(x, x @ jnp.array([[2.0], [5.0]]))["matrix"].round(4).tolist()
      [[2.0, 5.0]]

    References:
      Csiszárik et al., `Similarity and matching of neural network representations
      <https://arxiv.org/abs/2110.14633>`_, 2021.
    """
    m = _moments("least_squares", x, y)
    xx, xy = m.xx, m.xy
    if bias:
        xx, xy = xx - np.outer(m.x, m.x), xy - np.outer(m.x, m.y)
    matrix = (np.linalg.pinv(xx, rcond=_NOTHING, hermitian=True) @ xy).T
    params = {"matrix": jnp.asarray(matrix, jnp.result_type(float))}
    if bias:
        params["bias"] = jnp.asarray(m.y - matrix @ m.x, jnp.result_type(float))
    return params


def matching(
    x: ArrayLike, y: ArrayLike, *, kind: str = "positive_monomial"
) -> groups.Permutation | groups.Monomial:
    """Returns the matching of channels with the largest sum of correlations.

    Args:
      x: `[N, ..., n]` features of the front.
      y: `[N, ..., n]` features of the back.
      kind: "permutation"; "positive_monomial" with scales that give each channel the
        norm of its partner; "signed_permutation" and "monomial", which match by
        absolute correlations, likewise without and with scales. Dead channels have
        correlation 0 and keep their scale.

    Returns:
      The element g; `groups.act(g, x)` is near y.

    Raises:
      ValueError: the shapes differ, features are not finite, or there is no such kind.

    Example:
      >>> x = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
      >>> g = matching(x, x[:, ::-1] * 2.0)
      >>> g.permutation.indices.tolist(), g.scale.tolist()
      ([1, 0], [2.0, 2.0])

    References:
      Li et al., `Convergent learning <https://arxiv.org/abs/1511.07543>`_, 2016.
    """
    kinds = ("permutation", "positive_monomial", "signed_permutation", "monomial")
    if kind not in kinds:
        raise ValueError(f"matching: no kind {kind!r}; there are {', '.join(kinds)}.")
    m = _moments("matching", x, y)
    if len(m.x) != len(m.y):
        raise ValueError(
            f"matching: x has {len(m.x)} channels and y {len(m.y)}; a matching needs "
            "as many, use least_squares."
        )
    product = m.xy - np.outer(m.x, m.y)
    spread_x, spread_y = np.diag(m.xx) - m.x**2, np.diag(m.yy) - m.y**2
    scale = np.sqrt(np.maximum(np.outer(spread_x, spread_y), 0))
    correlation = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
    signed = kind in ("signed_permutation", "monomial")
    # Rows are channels of y, the result, and columns those of x.
    score = (np.abs(correlation) if signed else correlation).T
    chosen = np.asarray(assignment.hungarian(jnp.asarray(score)))
    permutation = groups.Permutation(jnp.asarray(chosen))
    if kind == "permutation":
        return permutation
    factor = np.ones(len(chosen))
    if kind != "signed_permutation":
        norm_x, norm_y = np.sqrt(np.diag(m.xx))[chosen], np.sqrt(np.diag(m.yy))
        both = (norm_x > 0) & (norm_y > 0)
        factor = np.divide(norm_y, norm_x, out=factor, where=both)
    if signed:
        factor *= np.where(correlation.T[np.arange(len(chosen)), chosen] < 0, -1, 1)
    of_column = np.empty(len(chosen))
    of_column[chosen] = factor
    return groups.Monomial(permutation, jnp.asarray(of_column, jnp.result_type(float)))


def _moments(caller: str, x: ArrayLike, y: ArrayLike) -> _Moments:
    x, y = np.asarray(x), np.asarray(y)
    if x.shape[:-1] != y.shape[:-1] or x.ndim < 2:
        raise ValueError(
            f"{caller}: x is {x.shape} and y {y.shape}; they may differ in the last "
            "axis only, the channels."
        )
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    sums = None
    for start in range(0, len(x), _ROWS):
        part = slice(start, start + _ROWS)
        a, b = x[part].astype(np.float64), y[part].astype(np.float64)
        terms = (a.sum(axis=0), b.sum(axis=0), a.T @ a, a.T @ b, b.T @ b)
        sums = terms if sums is None else tuple(map(np.add, sums, terms))
    if sums is None:
        raise ValueError(f"{caller}: there are no features, x is {x.shape}.")
    if not all(np.isfinite(term).all() for term in sums):
        raise ValueError(f"{caller}: the features are not finite.")
    return _Moments(*(term / len(x) for term in sums))
