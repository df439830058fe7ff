"""Procrustes similarities: how close a group element can bring one network's features.

Unequal shapes are matched as `features.match` says: pixels of the smaller map are
repeated, and the narrower features get channels of zeros.
"""

from jax.typing import ArrayLike

from symjax_lib import groups
from symjax_lib.similarity import alignment
from symjax_lib.similarity.alignment import ProcrustesResult


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
    return alignment.aligned(
        "g_relu_procrustes", x, y, alignment.permutation, center=center, by_channel=True
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
    return alignment.aligned(
        "orthogonal_procrustes",
        x,
        y,
        alignment.rotation,
        center=center,
        by_channel=False,
    )


def permutation_procrustes(
    x: ArrayLike, y: ArrayLike, *, center: bool = False
) -> ProcrustesResult[groups.Permutation]:
    r"""Compares features up to the order of their channels. Group: permutations.

    As `orthogonal_procrustes` with permutations in place of orthogonal matrices: one
    common positive scale on either side changes nothing, scalings of single channels
    do. For activations without scalings, such as GELU. Higher is closer.

    Args:
      x: `[N, ..., C]` features.
      y: `[N, ..., C']` features on the same inputs, in the same order. Width and
        resolution may differ.
      center: subtract from every channel its mean over all observations first.

    Returns:
      `distance` is in units of the features' norm; `element` is a `Permutation`.

    Raises:
      ValueError: as in `g_relu_procrustes`.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (32, 3))
      >>> out = permutation_procrustes(x, 7 * x[:, jnp.array([2, 0, 1])])
      >>> out.element.indices.tolist(), round(out.similarity.item(), 4)
      ([1, 2, 0], 1.0)

    References:
      Williams et al., `Generalized Shape Metrics on Neural Representations
      <https://arxiv.org/abs/2110.14739>`_, 2021.
    """
    return alignment.aligned(
        "permutation_procrustes",
        x,
        y,
        alignment.permutation,
        center=center,
        by_channel=False,
    )


def signed_permutation_procrustes(
    x: ArrayLike, y: ArrayLike, *, center: bool = False
) -> ProcrustesResult[groups.Monomial]:
    r"""Compares features up to order and signs of their channels. Group: those.

    As `permutation_procrustes`, where each channel may change its sign as well. For odd
    activations, such as tanh. Higher is closer.

    Args:
      x: `[N, ..., C]` features.
      y: `[N, ..., C']` features on the same inputs, in the same order. Width and
        resolution may differ.
      center: subtract from every channel its mean over all observations first.

    Returns:
      `distance` is in units of the features' norm; `element` is a `Monomial` whose
      scale is 1 or -1.

    Raises:
      ValueError: as in `g_relu_procrustes`.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (32, 3))
      >>> y = x[:, jnp.array([2, 0, 1])] * jnp.array([1.0, -1.0, 1.0])
      >>> out = signed_permutation_procrustes(x, y)
      >>> out.element.scale.tolist(), round(out.similarity.item(), 4)
      ([1.0, -1.0, 1.0], 1.0)

    References:
      Williams et al., 2021; the best assignment of absolute values.
    """
    return alignment.aligned(
        "signed_permutation_procrustes",
        x,
        y,
        alignment.signed_permutation,
        center=center,
        by_channel=False,
    )
