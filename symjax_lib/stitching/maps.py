r"""The classes of stitch: maps on channels, each a tuple of pure functions.

A stitch :math:`\varphi` joins two networks, :math:`S = \tilde f_{>l} \circ \varphi
\circ f_{\leq l}`. It acts on the last axis only, a 1x1 convolution without a bias.
Constructors are cached, so equal stitches are one object and compile once.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symjax_lib import assignment, groups

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


@functools.cache
def full(n: int) -> Stitch:
    r"""Any matrix on `n` channels, from PyTorch's default start of a 1x1 convolution.

    Args:
      n: number of channels.

    Returns:
      A `Stitch` with params `{"matrix": [n, n]}`, uniform within
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
        return {"matrix": jax.random.uniform(key, (n, n), minval=-1, maxval=1) / n**0.5}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return x @ params["matrix"].T

    same = lambda params: params
    return Stitch(init, apply, lambda params: 0.0, same, same)


@functools.cache
def g_relu(n: int, *, alpha: float = 0.1, decay: float = 1e-4) -> Stitch:
    r"""An element `P D` of the intertwiner group of ReLU, by projected gradient.

    `P` is kept near the Birkhoff polytope by :math:`P \leftarrow \mathrm{Sinkhorn}_{16}
    (\mathrm{ReLU}(P))` after each step, and is pushed to its corners by
    :math:`-\alpha \|P\|_F`; `D` is kept from the negative by :math:`D \leftarrow
    \mathrm{ReLU}(D)`, so an entry may become 0. The projection is a scaling of rows
    and columns, not the nearest point of the polytope. In the end `P` is rounded to the
    best permutation by linear assignment.

    Args:
      n: number of channels.
      alpha: strength of the push to permutations.
      decay: weight decay of the scales.

    Returns:
      A `Stitch` with params `{"matrix": P [n, n], "scale": D [n]}`; after `finalize`,
      `P` is a permutation matrix.

    References:
      Godfrey et al. 2022, sections 4.1 and D.2; settings of the authors' code.
    """

    def init(key: jax.Array) -> Params:
        noise = jax.random.uniform(key, (n, n))
        matrix = assignment.sinkhorn(noise, iterations=100)
        return {"matrix": matrix, "scale": jnp.ones(n)}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return (x * params["scale"]) @ params["matrix"].T

    def penalty(params: Params) -> jax.Array:
        push = alpha * jnp.linalg.norm(params["matrix"])
        return decay / 2 * jnp.sum(params["scale"] ** 2) - push

    def project(params: Params) -> Params:
        matrix = assignment.sinkhorn(jax.nn.relu(params["matrix"]), iterations=16)
        return {"matrix": matrix, "scale": jax.nn.relu(params["scale"])}

    def finalize(params: Params) -> Params:
        rounded = groups.Permutation(assignment.hungarian(params["matrix"]))
        return {**params, "matrix": groups.as_matrix(rounded)}

    return Stitch(init, apply, penalty, project, finalize)
