"""Mixtures of the images of a batch and of their labels, inside the jitted step.

All are pure functions `(key, images, targets) -> (images, targets)` of images
`[N, H, W, C]` and targets `[N, K]`, distributions over classes. Every image is mixed
with that at the same place in the reversed batch, whose order is random already.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Mix = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def mixup(alpha: float) -> Mix:
    r"""Returns mixup: :math:`\lambda x + (1 - \lambda) x'`, and so the targets.

    Args:
      alpha: :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`, one for the batch.

    Returns:
      The function; it consumes its key.

    Example:
      >>> images, targets = jnp.eye(2).reshape(2, 1, 2, 1), jnp.eye(2)
      >>> mixed, weights = mixup(1.0)(jax.random.key(0), images, targets)
      >>> bool((mixed[:, 0, :, 0] == weights).all()), weights.sum(axis=1).tolist()
      (True, [1.0, 1.0])

    References:
      Zhang et al., `mixup: Beyond Empirical Risk Minimization
      <https://arxiv.org/abs/1710.09412>`_, 2018.
    """

    def mix(
        key: jax.Array, images: jax.Array, targets: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        weight = jax.random.beta(key, alpha, alpha)
        return _between(images, weight), _between(targets, weight)

    return mix


def cutmix(alpha: float) -> Mix:
    r"""Returns CutMix: a box of :math:`x'` in place of that part of :math:`x`.

    The box has the proportions of the image and the area :math:`1 - \lambda`, a uniform
    centre, and is cut at the border; targets are mixed by the area that is left of it.

    Args:
      alpha: :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`, one for the batch.

    Returns:
      The function; it consumes its key.

    Example:
      >>> images = jnp.stack([jnp.zeros((4, 4, 1)), jnp.ones((4, 4, 1))])
      >>> mixed, weights = cutmix(1.0)(jax.random.key(0), images, jnp.eye(2))
      >>> bool(mixed[0].mean() == weights[0, 1])
      True

    References:
      Yun et al., `CutMix: Regularization Strategy to Train Strong Classifiers with
      Localizable Features <https://arxiv.org/abs/1905.04899>`_, 2019.
    """

    def mix(
        key: jax.Array, images: jax.Array, targets: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        area_key, row_key, column_key = jax.random.split(key, 3)
        side = jnp.sqrt(1 - jax.random.beta(area_key, alpha, alpha))
        height, width = images.shape[1:3]
        rows = _interval(row_key, height, side)
        columns = _interval(column_key, width, side)
        box = rows[:, None] & columns
        mixed = jnp.where(box[:, :, None], images[::-1], images)
        return mixed, _between(targets, 1 - box.mean())

    return mix


def either(first: Mix, second: Mix) -> Mix:
    """Returns a mixture that is one of two, for each batch with probability 1/2."""

    def mix(
        key: jax.Array, images: jax.Array, targets: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        choice_key, key = jax.random.split(key)
        chosen = jax.random.bernoulli(choice_key)
        return jax.lax.cond(chosen, first, second, key, images, targets)

    return mix


def none(
    key: jax.Array, images: jax.Array, targets: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mixes nothing."""
    return images, targets


def make_mix(*, mixup_alpha: float, cutmix_alpha: float) -> Mix:
    """Returns the mixture of a config: either of the two, one of them or none."""
    if mixup_alpha and cutmix_alpha:
        return either(mixup(mixup_alpha), cutmix(cutmix_alpha))
    if mixup_alpha:
        return mixup(mixup_alpha)
    return cutmix(cutmix_alpha) if cutmix_alpha else none


def _between(values: jax.Array, weight: jax.Array) -> jax.Array:
    return (weight * values + (1 - weight) * values[::-1]).astype(values.dtype)


def _interval(key: jax.Array, size: int, side: jax.Array) -> jax.Array:
    """Returns which of `size` places are in an interval of that part of them."""
    half = jnp.floor(side * size / 2)
    centre = jax.random.randint(key, (), 0, size)
    places = jnp.arange(size)
    return (centre - half <= places) & (places < centre + half)
