"""Stitches of a permutation, with scales or signs: the intertwiner groups."""

import functools

import jax
import jax.numpy as jnp

from symjax_lib.stitching import polytopes
from symjax_lib.stitching.maps import Params, Stitch
from symjax_lib.stitching.polytopes import RELAXATIONS, Relaxation

_ALPHA, _DECAY = 0.1, 1e-4  # the paper's


@functools.cache
def g_relu(
    n: int,
    *,
    alpha: float = _ALPHA,
    decay: float = _DECAY,
    relaxation: str = "sinkhorn",
) -> Stitch:
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
      relaxation: of `polytopes.RELAXATIONS`: "sinkhorn" is the paper's, "entropic"
        steps along logarithms, "euclidean" takes the nearest point of the polytope,
        "straight_through" is at a permutation always.

    Returns:
      A `Stitch` with params `{"matrix": P [n, n], "scale": D [n]}`; after `finalize`,
      `P` is a permutation matrix (its logarithm, for "entropic").

    Raises:
      ValueError: there is no such relaxation.

    References:
      Godfrey et al. 2022, sections 4.1 and D.2; settings of the authors' code.
    """
    return _build(n, relaxation, alpha=alpha, decay=decay, scaled=True)


@functools.cache
def permutation(
    n: int, *, alpha: float = _ALPHA, relaxation: str = "sinkhorn"
) -> Stitch:
    """A permutation, the intertwiner group of sigmoid and most smooth activations.

    Args:
      n: number of channels.
      alpha: as for `g_relu`.
      relaxation: likewise.

    Returns:
      A `Stitch` with params `{"matrix": P [n, n]}`.

    Raises:
      ValueError: there is no such relaxation.
    """
    return _build(n, relaxation, alpha=alpha)


@functools.cache
def signed_permutation(
    n: int, *, alpha: float = _ALPHA, relaxation: str = "sinkhorn"
) -> Stitch:
    r"""A permutation with signs, the intertwiner group of tanh and other odd functions.

    The absolute values of the matrix are treated as `g_relu` treats its matrix, and
    every entry keeps its sign unless a step takes it through 0. Signs are random at
    first.

    Args:
      n: number of channels.
      alpha: as for `g_relu`.
      relaxation: "sinkhorn" or "euclidean".

    Returns:
      A `Stitch` with params `{"matrix": [n, n]}`.

    Raises:
      ValueError: there is no such relaxation.
    """
    return _build(n, relaxation, alpha=alpha, signed=True)


@functools.cache
def monomial(
    n: int,
    *,
    alpha: float = _ALPHA,
    decay: float = _DECAY,
    relaxation: str = "sinkhorn",
) -> Stitch:
    """Any `P D` with a scale of either sign, the group of odd polynomials.

    Args:
      n: number of channels.
      alpha: as for `g_relu`.
      decay: likewise.
      relaxation: "sinkhorn" or "euclidean".

    Returns:
      A `Stitch` with params `{"matrix": P with signs [n, n], "scale": |D| [n]}`.

    Raises:
      ValueError: there is no such relaxation.
    """
    return _build(n, relaxation, alpha=alpha, decay=decay, scaled=True, signed=True)


def _build(
    n: int,
    relaxation: str,
    *,
    alpha: float,
    decay: float = 0.0,
    scaled: bool = False,
    signed: bool = False,
) -> Stitch:
    search = _relaxation(relaxation, signed)

    def init(key: jax.Array) -> Params:
        matrix = search.init(key, n)
        return (
            {"matrix": matrix, "scale": jnp.ones(n)} if scaled else {"matrix": matrix}
        )

    def apply(params: Params, x: jax.Array) -> jax.Array:
        x = x * params["scale"] if scaled else x
        return x @ search.dense(params["matrix"]).T

    def penalty(params: Params) -> jax.Array:
        push = alpha * jnp.linalg.norm(search.dense(params["matrix"]))
        return decay / 2 * jnp.sum(params["scale"] ** 2) - push if scaled else -push

    def project(params: Params) -> Params:
        projected = {"matrix": search.project(params["matrix"])}
        return (
            {**projected, "scale": jax.nn.relu(params["scale"])}
            if scaled
            else projected
        )

    def finalize(params: Params) -> Params:
        dense = search.dense(params["matrix"])
        rounded = polytopes.nearest(jnp.abs(dense))
        if signed:
            rounded = rounded * jnp.where(dense < 0, -1, 1)
        return {**params, "matrix": search.from_permutation(rounded)}

    return Stitch(init, apply, penalty, project, finalize)


def _relaxation(name: str, signed: bool) -> Relaxation:
    known = [key for key in RELAXATIONS if not signed or key in _WITH_SIGNS]
    if name not in known:
        raise ValueError(
            f"stitching: no relaxation {name!r} here; there are {', '.join(known)}."
        )
    search = RELAXATIONS[name]
    if not signed:
        return search

    def init(key: jax.Array, n: int) -> jax.Array:
        first, second = jax.random.split(key)
        return search.init(first, n) * jax.random.rademacher(second, (n, n))

    def project(matrix: jax.Array) -> jax.Array:
        return jnp.where(matrix < 0, -1, 1) * search.project(jnp.abs(matrix))

    return search._replace(init=init, project=project)


# Those whose matrix is the one that is applied.
_WITH_SIGNS = ("sinkhorn", "euclidean")
