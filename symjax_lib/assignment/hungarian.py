"""The linear assignment problem: the best one-to-one matching of rows and columns."""

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jax.typing import ArrayLike


def hungarian(score: ArrayLike, *, maximize: bool = True) -> jax.Array:
    r"""Returns the column that the best matching gives to every row.

    The permutation :math:`\pi` with the largest :math:`\sum_i S_{i, \pi(i)}`, or the
    smallest. It is exact up to the rounding of the default float. Among equally good
    matchings, which one comes back is not specified.

    Args:
      score: `[n, n]`, finite; n may be 0. Put `vmap` around for a stack of them.
      maximize: look for the largest total; `False` takes `score` as a cost.

    Returns:
      `indices` `[n]`, integers, in the order of the rows: `groups.Permutation(indices)`
      moves column `indices[i]` to place i. Under `jit` a score that is not finite
      cannot be refused; then every index is n, out of range, which `groups.act` turns
      into nan.

    Raises:
      ValueError: the score is not a square matrix, or not finite.

    Example:
      >>> score = jnp.array([[1.0, 5.0, 2.0], [4.0, 6.0, 0.0], [3.0, 2.0, 9.0]])
      >>> hungarian(score).tolist(), hungarian(score, maximize=False).tolist()
      ([1, 0, 2], [0, 2, 1])

    References:
      Godfrey et al., 2022, Definition 5.2 and appendix D.3: matching channels, and
      rounding a doubly stochastic matrix to a permutation.
    """
    score = jnp.asarray(score, float)
    if score.ndim != 2 or score.shape[0] != score.shape[1]:
        raise ValueError(
            f"hungarian: the score must be a square matrix, got shape {score.shape}; "
            "pad the shorter side with zeros, or vmap over the leading axes of a stack."
        )
    finite = jnp.all(jnp.isfinite(score))
    if not isinstance(finite, Tracer) and not finite:
        raise ValueError(
            "hungarian: the score has entries that are not finite; to forbid a pair, "
            "give it a finite score that is worse than any total of the others."
        )
    return _assign(-score if maximize else score)


# Jitted, because outside jit the solver would be compiled anew at every call.
@jax.jit
def _assign(cost: jax.Array) -> jax.Array:
    finite = jnp.all(jnp.isfinite(cost))
    rows, columns = optax.assignment.hungarian_algorithm(jnp.where(finite, cost, 0))
    columns = columns[jnp.argsort(rows)]  # rows come back unsorted
    return jnp.where(finite, columns, cost.shape[0])
