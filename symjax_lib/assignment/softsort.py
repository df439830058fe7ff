"""SoftSort: a matrix that sorts, relaxed so that it has a gradient."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def softsort(scores: ArrayLike, *, tau: float = 1.0) -> jax.Array:
    r"""Returns a relaxed permutation matrix that sorts scores, largest first.

    .. math:: P(s) = \mathrm{softmax}(-|\mathrm{sort}(s) 1^T - 1 s^T| \, / \, \tau)

    row by row, with `sort` in descending order. Rows sum to 1; columns need not. For
    small tau it tends to the permutation that sorts.

    Args:
      scores: `[n]`, finite.
      tau: temperature, positive.

    Returns:
      `[n, n]`; row i has its largest entry at the i-th largest score. Equal scores give
      equal rows: rounded row by row, they choose one column twice.

    Raises:
      ValueError: the scores are not a vector, or tau is not positive.

    Example:
      >>> softsort(jnp.array([1.0, 3.0, 2.0]), tau=0.1).argmax(axis=1).tolist()
      [1, 2, 0]

    References:
      Prillo and Eisenschlos, `SoftSort <https://arxiv.org/abs/2006.16038>`_, 2020.
      Godfrey et al., 2022, appendix D.2.2.
    """
    scores = jnp.asarray(scores)
    if scores.ndim != 1:
        raise ValueError(f"softsort: scores must be [n], got shape {scores.shape}.")
    if not tau > 0:
        raise ValueError(f"softsort: tau must be positive, got {tau}.")
    ordered = jnp.sort(scores, descending=True)
    return jax.nn.softmax(-jnp.abs(ordered[:, None] - scores) / tau, axis=1)
