"""Sinkhorn's scaling towards the doubly stochastic matrices, plain and of logits."""

import functools

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.typing import ArrayLike


def sinkhorn(matrix: ArrayLike, *, iterations: int = 16) -> jax.Array:
    r"""Scales rows, then columns, to sum 1, again and again.

    One iteration is :math:`A \leftarrow A \, / \, A 1 1^T`, then :math:`A \leftarrow A
    \, / \, 1 1^T A`. So the columns sum to 1 exactly, the rows in the limit. A row or
    column of zeros stays zero, with finite gradients.

    After a ReLU this is the paper's step back into the Birkhoff polytope. It is not the
    closest point of the polytope, which is another matrix.

    Args:
      matrix: `[n, n]`, not negative. That is not checked under `jit`.
      iterations: 16 in the paper, 100 for its random starting points.

    Returns:
      `[n, n]`, in the dtype of `matrix` (integers become floats).

    Raises:
      ValueError: the matrix is not square, has negative or non-finite entries, or
        `iterations` is negative.

    Example:
      >>> sinkhorn(jnp.array([[3.0, 1.0], [1.0, 3.0]]))
      Array([[0.75, 0.25],
             [0.25, 0.75]], dtype=float32)

    References:
      Godfrey et al., 2022, appendix D.3. Sinkhorn and Knopp, `Concerning nonnegative
      matrices and doubly stochastic matrices
      <https://doi.org/10.2140/pjm.1967.21.343>`_, 1967.
    """
    matrix = jnp.asarray(matrix)
    _check_shape("sinkhorn", matrix, iterations)
    valid = jnp.all((matrix >= 0) & jnp.isfinite(matrix))
    if not isinstance(valid, Tracer) and not valid:
        raise ValueError(
            "sinkhorn: the matrix has entries that are negative or not finite; "
            "pass jax.nn.relu(matrix), or jnp.exp(matrix) for logits."
        )
    return _scale(matrix.astype(jnp.result_type(matrix, float)), iterations)


def log_sinkhorn(logits: ArrayLike, *, iterations: int = 16) -> jax.Array:
    r"""Scales the rows, then columns, of :math:`\exp(L)` to sum 1, in logarithms.

    Nothing overflows or vanishes. The limit is the entropic projection,

    .. math:: \arg\max_P \langle L, P \rangle - \sum_{ij} P_{ij} \log P_{ij}

    over the doubly stochastic matrices.

    Args:
      logits: `[n, n]`; `-inf` forbids a pair.
      iterations: as in `sinkhorn`.

    Returns:
      `[n, n]`, logarithms of the scaled matrix.

    Raises:
      ValueError: the matrix is not square, or `iterations` is negative.

    Example:
      >>> jnp.exp(log_sinkhorn(jnp.array([[1000.0, 0.0], [0.0, 1000.0]])))
      Array([[1., 0.],
             [0., 1.]], dtype=float32)

    References:
      Mena et al., `Learning latent permutations with Gumbel-Sinkhorn networks
      <https://arxiv.org/abs/1802.08665>`_, 2018. Cuturi, `Sinkhorn distances
      <https://arxiv.org/abs/1306.0895>`_, 2013.
    """
    logits = jnp.asarray(logits)
    _check_shape("log_sinkhorn", logits, iterations)
    return _log_scale(logits.astype(jnp.result_type(logits, float)), iterations)


def _check_shape(caller: str, matrix: jax.Array, iterations: int) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"{caller}: the matrix must be square, got shape {matrix.shape}; vmap over "
            "the leading axes of a stack."
        )
    if iterations < 0:
        raise ValueError(f"{caller}: iterations must be 0 or more, got {iterations}.")


@functools.partial(jax.jit, static_argnames="iterations")
def _scale(matrix: jax.Array, iterations: int) -> jax.Array:
    step = lambda _, a: _normalize(_normalize(a, axis=1), axis=0)
    return jax.lax.fori_loop(0, iterations, step, matrix)


def _normalize(matrix: jax.Array, axis: int) -> jax.Array:
    total = matrix.sum(axis, keepdims=True)
    return matrix / jnp.where(total > 0, total, 1)


@functools.partial(jax.jit, static_argnames="iterations")
def _log_scale(logits: jax.Array, iterations: int) -> jax.Array:
    def step(logits: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jax.nn.log_softmax(jax.nn.log_softmax(logits, axis=1), axis=0), None

    # A scan, which has a gradient in reverse, and `sinkhorn` is a step without one.
    return jax.lax.scan(step, logits, length=iterations)[0]
