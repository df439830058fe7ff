r"""The classes of stitch: maps on channels, each a tuple of pure functions.

A stitch :math:`\varphi` joins two networks, :math:`S = \tilde f_{>l} \circ \varphi
\circ f_{\leq l}`. It acts on the last axis only, a 1x1 convolution without a bias.
Constructors are cached, so equal stitches are one object and compile once.

Here are the linear ones; `group_maps` has those with a permutation in them.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax_lib import groups

Params = dict[str, jax.Array]


class Stitch(NamedTuple):
    """A class of maps and how to search it.

    Attributes:
      init: `key -> params`.
      apply: `(params, x [..., n]) -> [..., n]`.
      penalty: `params -> []`, added to the loss while fitting.
      project: `params -> params`, back into the class after each step.
      finalize: `params -> params`, the map that is evaluated.
    """

    init: Callable[[jax.Array], Params]
    apply: Callable[[Params, jax.Array], jax.Array]
    penalty: Callable[[Params], Any]
    project: Callable[[Params], Params]
    finalize: Callable[[Params], Params]


def as_matrix(stitch: Stitch, params: Params, n: int) -> jax.Array:
    """Returns the matrix `[m, n]` of a stitch, whatever its parameters are.

    Args:
      stitch: linear.
      params: of it.
      n: channels that it takes.

    Example:
      >>> stitch = low_rank(3, 1)
      >>> params = {"left": jnp.ones((3, 1)), "right": jnp.array([[1.0, 0.0, 2.0]])}
      >>> as_matrix(stitch, params, 3)[0].tolist()
      [1.0, 0.0, 2.0]
    """
    return stitch.apply(params, jnp.eye(n)).T


def _same(params: Params) -> Params:
    return params


def _no_penalty(params: Params) -> float:
    return 0.0


def _dense(key: jax.Array, m: int, n: int) -> jax.Array:
    """PyTorch's default start of a 1x1 convolution."""
    return jax.random.uniform(key, (m, n), minval=-1, maxval=1) / n**0.5


@functools.cache
def full(n: int, out: int | None = None, *, decay: float = 0.0) -> Stitch:
    r"""Any matrix, from PyTorch's default start of a 1x1 convolution.

    Args:
      n: channels of the front.
      out: channels of the back, by default as many.
      decay: weight decay.

    Returns:
      A `Stitch` with params `{"matrix": [out, n]}`, uniform within
      :math:`\pm 1 / \sqrt n` at first.

    Example:
      >>> stitch = full(3)
      >>> params = stitch.init(jax.random.key(0))
      >>> stitch.apply(params, jnp.ones((2, 5, 5, 3))).shape
      (2, 5, 5, 3)

    References:
      Godfrey et al. 2022, section 4.1.
    """

    def init(key: jax.Array) -> Params:
        return {"matrix": _dense(key, out or n, n)}

    def penalty(params: Params) -> Any:
        return decay / 2 * jnp.sum(params["matrix"] ** 2)

    return Stitch(init, _apply_matrix, penalty, _same, _same)


def _apply_matrix(params: Params, x: jax.Array) -> jax.Array:
    return x @ params["matrix"].T


@functools.cache
def affine(n: int, out: int | None = None) -> Stitch:
    """Any matrix and a bias, as most of the literature stitches; the paper does not.

    Args:
      n: channels of the front.
      out: channels of the back, by default as many.

    Returns:
      A `Stitch` with params `{"matrix": [out, n], "bias": [out]}`.

    References:
      Bansal, Nakkiran and Barak, `Revisiting model stitching
      <https://arxiv.org/abs/2106.07682>`_, 2021.
    """

    def init(key: jax.Array) -> Params:
        return {"matrix": _dense(key, out or n, n), "bias": jnp.zeros(out or n)}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return _apply_matrix(params, x) + params["bias"]

    return Stitch(init, apply, _no_penalty, _same, _same)


@functools.cache
def low_rank(n: int, rank: int, out: int | None = None) -> Stitch:
    """Matrices of at most a rank, as a product of two 1x1 convolutions.

    Args:
      n: channels of the front.
      rank: 1, 2 or 4 in the paper.
      out: channels of the back, by default as many.

    Returns:
      A `Stitch` with params `{"left": [out, rank], "right": [rank, n]}`.

    Raises:
      ValueError: the rank is not between 1 and the number of channels.

    References:
      Godfrey et al. 2022, section 4.1.
    """
    if not 1 <= rank <= min(n, out or n):
        raise ValueError(
            f"low_rank: the rank must be from 1 to {min(n, out or n)}, the number of "
            f"channels; got {rank}."
        )

    def init(key: jax.Array) -> Params:
        first, second = jax.random.split(key)
        left, right = _dense(first, out or n, rank), _dense(second, rank, n)
        return {"left": left, "right": right}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return x @ params["right"].T @ params["left"].T

    return Stitch(init, apply, _no_penalty, _same, _same)


@functools.cache
def lasso(n: int, penalty: float = 1e-2, out: int | None = None) -> Stitch:
    r"""Any matrix, made sparse by :math:`\lambda \|A\|_1`.

    Args:
      n: channels of the front.
      penalty: lambda; 1e-3, 1e-2 and 1e-1 in the paper.
      out: channels of the back, by default as many.

    Returns:
      A `Stitch` with params `{"matrix": [out, n]}`; see `sparsity`.

    Raises:
      ValueError: the penalty is negative.

    References:
      Godfrey et al. 2022, sections 4.1 and D.1.
    """
    if not penalty >= 0:
        raise ValueError(f"lasso: the penalty must not be negative, got {penalty}.")

    def push(params: Params) -> jax.Array:
        return penalty * jnp.abs(params["matrix"]).sum()

    return full(n, out)._replace(penalty=push)


def sparsity(matrix: ArrayLike, *, threshold: float = 1e-3) -> jax.Array:
    r"""Returns the part of the entries with :math:`|a| \leq` a threshold.

    Args:
      matrix: any shape.
      threshold: 1e-3 in the paper.

    Example:
      For an element of G_ReLU it is 1 - 1/c:

      >>> float(sparsity(jnp.diag(jnp.array([1.0, 2.0, 3.0, 4.0]))))
      0.75

    References:
      Godfrey et al. 2022, equation (D.1).
    """
    return jnp.mean(jnp.abs(jnp.asarray(matrix)) <= threshold)


@functools.cache
def orthogonal(n: int) -> Stitch:
    r"""Orthogonal matrices, by projected gradient with a QR retraction.

    After each step :math:`A \leftarrow Q` of :math:`A = Q R` with a positive diagonal
    of R. The determinant, 1 or -1 with equal chance at first, stays what it is.

    Args:
      n: number of channels.

    Returns:
      A `Stitch` with params `{"matrix": [n, n]}`, a random rotation at first.
    """

    def init(key: jax.Array) -> Params:
        return {"matrix": groups.sample(key, "orthogonal", n).matrix}

    def project(params: Params) -> Params:
        q, r = jnp.linalg.qr(params["matrix"])
        return {"matrix": q * jnp.where(jnp.diag(r) < 0, -1, 1)}

    return Stitch(init, _apply_matrix, _no_penalty, project, _same)
