"""Random flips and shifts of images, one key for each image, inside the jitted step."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def augment(
    key: jax.Array, images: jax.Array, *, flip: bool, shift: int, fill: ArrayLike
) -> jax.Array:
    """Mirrors images with probability 1/2 and moves them by whole pixels.

    Args:
      key: consumed.
      images: `[N, H, W, C]`, any type.
      flip: whether to mirror left and right.
      shift: the most by which an image moves along each axis; all moves from `-shift`
        to `shift` have the same probability.
      fill: `[C]`, the colour of pixels that come in from outside.

    Returns:
      `[N, H, W, C]` of the type of `images`.

    Example:
      >>> image = jnp.arange(6).reshape(1, 2, 3, 1)
      >>> same = augment(jax.random.key(0), image, flip=False, shift=0, fill=0)
      >>> bool((same == image).all())
      True
    """
    one = functools.partial(_augment_image, flip=flip, shift=shift, fill=fill)
    return jax.vmap(one)(jax.random.split(key, len(images)), images)


def _augment_image(
    key: jax.Array, image: jax.Array, *, flip: bool, shift: int, fill: ArrayLike
) -> jax.Array:
    flip_key, shift_key = jax.random.split(key)
    if flip:
        image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
    if shift:
        offset = jax.random.randint(shift_key, (2,), 0, 2 * shift + 1)
        image = _crop(image, offset, margin=shift, fill=fill)
    return image


def _crop(
    image: jax.Array, offset: jax.Array, *, margin: int, fill: ArrayLike
) -> jax.Array:
    """Adds a margin all around and cuts an image of the old size out at an offset."""
    height, width, channels = image.shape
    shape = (height + 2 * margin, width + 2 * margin, channels)
    padded = jnp.full(shape, jnp.asarray(fill, image.dtype))
    padded = padded.at[margin:-margin, margin:-margin].set(image)
    return jax.lax.dynamic_slice(padded, (offset[0], offset[1], 0), image.shape)
