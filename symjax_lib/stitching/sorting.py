"""SoftSort as a stitch: a permutation by n scores in place of n x n entries."""

import functools

import jax
import jax.numpy as jnp

from symjax_lib import assignment
from symjax_lib.stitching.maps import Params, Stitch


@functools.cache
def softsort(n: int, *, tau: float = 1.0) -> Stitch:
    r"""A relaxed permutation that sorts scores, with positive scales.

    The map is :math:`P(s) \, \mathrm{diag}(e^t)`, see `assignment.softsort`. In the end
    every row is rounded to its largest entry. Rows may then choose the same column: the
    map is a permutation only if all scores differ.

    Args:
      n: number of channels.
      tau: temperature.

    Returns:
      A `Stitch` with params `{"scores": [n], "log_scale": [n], "rounded": []}`; the
      last is 1 after `finalize`.

    References:
      Godfrey et al. 2022, appendix D.2.2.
    """

    def init(key: jax.Array) -> Params:
        scores = jax.random.normal(key, (n,))
        return {"scores": scores, "log_scale": jnp.zeros(n), "rounded": jnp.zeros(())}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        soft = assignment.softsort(params["scores"], tau=tau)
        hard = jax.nn.one_hot(soft.argmax(axis=1), n, dtype=soft.dtype)
        matrix = jnp.where(params["rounded"] > 0, hard, soft)
        return (x * jnp.exp(params["log_scale"])) @ matrix.T

    def finalize(params: Params) -> Params:
        return {**params, "rounded": jnp.ones(())}

    return Stitch(init, apply, lambda params: 0.0, lambda params: params, finalize)
