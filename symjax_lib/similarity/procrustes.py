"""Procrustes similarities: how close a group element can bring one network's features.

Unequal shapes are matched as `features.match` says: pixels of the smaller map are
repeated, and the narrower features get channels of zeros.
"""

from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax_lib import assignment, groups
from symjax_lib.similarity import features

Element = TypeVar("Element", groups.Permutation, groups.General)


class ProcrustesResult(NamedTuple, Generic[Element]):
    """How close two features are up to a group.

    Attributes:
      similarity: `[]`, from 0 to 1, higher is closer.
      distance: `[]`, the residual left by the best element.
      element: that element, on the larger width: `groups.act(element, y)` is closest to
        x, both normalised.
      dead_channels: `[2]`, how many channels of x and of y are zero everywhere (with
        `center`, constant). Channels added by padding do not count.
      live_similarity: `[]`, the similarity as it is without dead channels.
    """

    similarity: jax.Array
    distance: jax.Array
    element: Element
    dead_channels: jax.Array
    live_similarity: jax.Array


def g_relu_procrustes(
    x: ArrayLike, y: ArrayLike, *, center: bool = False
) -> ProcrustesResult[groups.Permutation]:
    r"""Compares features up to permutation and positive scaling. Group: `G_ReLU`.

    With :math:`\tilde X, \tilde Y` the features with every channel at unit norm,
    :math:`\delta = \min_P \|\tilde X - \tilde Y P\|_F` over permutations :math:`P`, and
    the similarity is :math:`1 - \delta / (2 \sqrt C)`. Higher is closer.

    A dead channel, zero everywhere, stays zero, and one that is matched with another
    counts as a perfect match: the paper's similarity rises with the number of dead
    channels. The live similarity divides by :math:`\sqrt{C'}` instead, where :math:`C'`
    is the larger of the two numbers of live channels: what the paper's definition gives
    when dead channels are left out, for features that are not negative.

    Without `center`, as in the paper, the result changes when a constant is added to a
    channel.

    Args:
      x: `[N, ..., C]` features. Samples and space count as observations; the group
        acts on the last axis only.
      y: `[N, ..., C']` features on the same inputs, in the same order. That they are
        the same inputs is not checked. Width and resolution may differ.
      center: subtract from every channel its mean over all observations first.

    Returns:
      `distance` is in units of one channel's norm; `element` is a `Permutation`;
      `live_similarity` is nan when all channels are dead. `G_ReLU` acting on either
      side changes only `element`.

    Raises:
      ValueError: the numbers of samples differ, a resolution is not a whole multiple of
        the other, or a value is not finite (not checked under `jit`).

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (32, 3))
      >>> y = x[:, jnp.array([2, 0, 1])] * jnp.array([[5.0, 1.0, 0.1]])
      >>> out = g_relu_procrustes(x, y)
      >>> out.element.indices.tolist(), round(out.similarity.item(), 4)
      ([1, 2, 0], 1.0)

    References:
      Godfrey et al., `On the Symmetries of Deep Learning Models and their Internal
      Representations <https://arxiv.org/abs/2205.14258>`_, 2022, Definition 5.2.
    """
    x, y = features.check("g_relu_procrustes", x, y)
    widths = x.shape[-1], y.shape[-1]
    x, y = features.match("g_relu_procrustes", x, y)
    x, y = (features.flatten(features.unit_channels(z, center=center)) for z in (x, y))
    score = _product(x.T, y)
    element = groups.Permutation(assignment.hungarian(score))
    # Not sqrt(2 C - 2 tr): in float32 it cancels, and equal inputs come out at 0.9998.
    distance = jnp.linalg.norm(x - groups.act(element, y))
    similarity = 1 - distance / (2 * jnp.sqrt(x.shape[-1]))
    live = _live_channels(x, y)
    return ProcrustesResult(
        similarity=similarity,
        distance=distance,
        element=element,
        dead_channels=jnp.array(widths) - live,
        live_similarity=1 - distance / (2 * jnp.sqrt(live.max())),
    )


def orthogonal_procrustes(
    x: ArrayLike, y: ArrayLike, *, center: bool = False
) -> ProcrustesResult[groups.General]:
    r"""Compares features up to rotations and reflections. Group: orthogonal.

    With :math:`\tilde X, \tilde Y` the features divided by their whole Frobenius norm,
    :math:`\delta = \min_Q \|\tilde X - \tilde Y Q\|_F` over orthogonal :math:`Q`, so
    :math:`\delta^2 = 2 - 2 \|\tilde X^T \tilde Y\|_*`, and the similarity is
    :math:`1 - \delta / 2`. Higher is closer.

    Orthogonal maps of the channels and one common positive scale on either side change
    nothing; scalings of single channels do. Dead channels add nothing to any norm, so
    the live similarity is the same.

    Args:
      x: `[N, ..., C]` features. Samples and space count as observations; the group
        acts on the last axis only.
      y: `[N, ..., C']` features on the same inputs, in the same order. That they are
        the same inputs is not checked. Width and resolution may differ.
      center: subtract from every channel its mean over all observations first.

    Returns:
      `distance` is in units of the features' norm; `element` is a `General` with an
      orthogonal matrix; `live_similarity` is nan when all channels are dead.

    Raises:
      ValueError: as in `g_relu_procrustes`.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (32, 3))
      >>> q = groups.sample(jax.random.key(1), "orthogonal", 3)
      >>> out = orthogonal_procrustes(groups.act(q, x), 7 * x)
      >>> round(out.similarity.item(), 4), jnp.allclose(out.element.matrix, q.matrix)
      (1.0, Array(True, dtype=bool))

    References:
      Godfrey et al., 2022, section 5 and appendix D.7.1; Schonemann, `A generalized
      solution of the orthogonal Procrustes problem
      <https://doi.org/10.1007/BF02289451>`_, 1966.
    """
    x, y = features.check("orthogonal_procrustes", x, y)
    widths = x.shape[-1], y.shape[-1]
    x, y = map(features.flatten, features.match("orthogonal_procrustes", x, y))
    x, y = (features.centered(z) if center else z for z in (x, y))
    live = _live_channels(x, y)
    x, y = features.unit(x), features.unit(y)
    matrix, distance = _align(x, y)
    similarity = 1 - distance / 2
    return ProcrustesResult(
        similarity=similarity,
        distance=distance,
        element=groups.General(matrix),
        dead_channels=jnp.array(widths) - live,
        live_similarity=jnp.where(live.max() > 0, similarity, jnp.nan),
    )


@jax.jit
def _align(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the orthogonal matrix that brings y closest to x, and what is left."""
    # The product squares the condition number: in float32 one decomposition leaves
    # equal inputs up to 3e-4 apart. In the bases it finds the product is graded, and
    # there a decomposition of high relative accuracy gets the rest right.
    u, v = _singular_bases(_product(x.T, y))
    x, y = _product(x, u), _product(y, v.T)
    fine_u, fine_v = _accurate_singular_bases(_product(x.T, y))
    x, y = _product(x, fine_u), _product(y, fine_v.T)
    matrix = _product(_product(u, fine_u), _product(fine_v, v))
    # Not sqrt(2 - 2 nuclear norm): it cancels, as above.
    return matrix, jnp.linalg.norm(x - y)


def _singular_bases(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    u, _, v = jnp.linalg.svd(a)
    return u, v


def _accurate_singular_bases(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    def by_qr(a: jax.Array) -> tuple[jax.Array, jax.Array]:
        u, _, v = jax.lax.linalg.svd(a, algorithm=jax.lax.linalg.SvdAlgorithm.QR)
        return u, v

    # TPUs have one algorithm only.
    return jax.lax.platform_dependent(a, tpu=_singular_bases, default=by_qr)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")


def _live_channels(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.array([jnp.any(z != 0, axis=0).sum() for z in (x, y)])
