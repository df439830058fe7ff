"""The Euclidean projection onto the doubly stochastic matrices."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def birkhoff_projection(matrix: ArrayLike, *, iterations: int = 100) -> jax.Array:
    r"""Returns the closest doubly stochastic matrix, in Frobenius norm.

    .. math:: \arg\min_P \|A - P\|_F, \quad P \geq 0, \; P 1 = 1, \; P^T 1 = 1

    It is :math:`\max(A - u 1^T - 1 v^T, 0)` for multipliers u and v, which Newton's
    method finds on the dual problem: a few steps, each of which solves a linear system
    in 2n unknowns.

    Args:
      matrix: `[n, n]`, finite, any sign. Put `vmap` around for a stack of them.
      iterations: the most steps; it stops when rows and columns sum to 1 up to the
        rounding of the dtype.

    Returns:
      `[n, n]`, in the dtype of `matrix` (integers become floats).

    Raises:
      ValueError: the matrix is not square.

    Example:
      >>> birkhoff_projection(jnp.array([[2.0, 0.0], [0.5, 0.0]]))
      Array([[0.875, 0.125],
             [0.125, 0.875]], dtype=float32)

    References:
      Li, Sun and Toh, `On the efficient computation of a generalized Jacobian of the
      projector over the Birkhoff polytope <https://arxiv.org/abs/1702.05934>`_, 2020.
    """
    matrix = jnp.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"birkhoff_projection: the matrix must be square, got shape "
            f"{matrix.shape}; vmap over the leading axes of a stack."
        )
    return _project(matrix.astype(jnp.result_type(matrix, float)), iterations)


class _Dual(NamedTuple):
    """Where Newton's method is: multipliers `[2n]`, how far it is off, steps done."""

    multipliers: jax.Array
    residual: jax.Array
    step: jax.Array


@functools.partial(jax.jit, static_argnames="iterations")
def _project(a: jax.Array, iterations: int) -> jax.Array:
    n = len(a)
    # Multipliers are unique up to a constant; centred entries keep them small.
    a = a - (a.mean() - 1 / max(n, 1))
    tolerance = 4 * n**0.5 * jnp.finfo(a.dtype).eps * (1 + jnp.abs(a).max(initial=0))

    def unfinished(at: _Dual) -> jax.Array:
        off = jnp.abs(at.residual).max(initial=0)
        return (off > tolerance) & (at.step < iterations)

    start = jnp.zeros(2 * n, a.dtype)
    first = _Dual(start, _residual(a, start), jnp.zeros((), int))
    found = jax.lax.while_loop(unfinished, functools.partial(_newton, a), first)
    return _primal(a, found.multipliers)


def _primal(a: jax.Array, multipliers: jax.Array) -> jax.Array:
    u, v = jnp.split(multipliers, 2)
    return jax.nn.relu(a - u[:, None] - v)


def _residual(a: jax.Array, multipliers: jax.Array) -> jax.Array:
    """Returns 1 less the sums of rows and columns, the gradient of the dual."""
    p = _primal(a, multipliers)
    return 1 - jnp.concatenate([p.sum(axis=1), p.sum(axis=0)])


def _dual(a: jax.Array, multipliers: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum(_primal(a, multipliers) ** 2) + multipliers.sum()


def _newton(a: jax.Array, at: _Dual) -> _Dual:
    support = (_primal(a, at.multipliers) > 0).astype(a.dtype)
    rows, columns = jnp.diag(support.sum(axis=1)), jnp.diag(support.sum(axis=0))
    hessian = jnp.block([[rows, support], [support.T, columns]])
    # It is singular: in each connected part of the support a constant may move over.
    ridge = jnp.finfo(a.dtype).eps ** 0.5 * jnp.eye(len(hessian), dtype=a.dtype)
    direction = -jax.scipy.linalg.solve(hessian + ridge, at.residual, assume_a="pos")
    slope, value = direction @ at.residual, _dual(a, at.multipliers)
    rounding = jnp.finfo(a.dtype).eps * jnp.abs(value)

    def too_long(length: jax.Array) -> jax.Array:
        reached = _dual(a, at.multipliers + length * direction)
        return (reached > value + 1e-4 * length * slope + rounding) & (length > 1e-6)

    length = jax.lax.while_loop(too_long, lambda x: x / 2, jnp.ones((), a.dtype))
    multipliers = at.multipliers + length * direction
    return _Dual(multipliers, _residual(a, multipliers), at.step + 1)
