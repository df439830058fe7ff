r"""What the models share: layers that start and average as PyTorch's, and pooling.

Kernels are drawn from :math:`U(\pm 1/\sqrt{\text{fan in}})`, PyTorch's default and so
the paper's; biases start at zero, where PyTorch draws them from the same interval.
"""

import functools

import flax.linen as nn
import jax

_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
# Give the padding of a convolution in pixels: with a stride, "SAME" is not PyTorch's.
conv = functools.partial(nn.Conv, kernel_init=_kernel_init)
dense = functools.partial(nn.Dense, kernel_init=_kernel_init)


def batch_norm(*, train: bool, name: str) -> nn.BatchNorm:
    """Makes a BatchNorm with PyTorch's constants.

    A running average keeps 0.9 of itself, PyTorch's `momentum=0.1`. The variance that
    enters it is divided by the number of values, not by one less as in PyTorch.

    Args:
      train: normalise by the batch and move the running averages on.
      name: of the submodule.

    Returns:
      A linen module.
    """
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=1e-5, name=name
    )


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Takes the maximum over windows of 2x2; an odd last row or column is left out.

    The same as `nn.max_pool(x, (2, 2), (2, 2))`, whose gradient is slow on a CPU. Equal
    largest values share the gradient, where `nn.max_pool` gives it to the first.

    Args:
      x: `[N, H, W, C]`.

    Returns:
      `[N, H // 2, W // 2, C]`.

    Example:
      >>> max_pool_2x2(jnp.arange(6.0).reshape(1, 2, 3, 1)).tolist()
      [[[[4.0]]]]
    """
    n, height, width, channels = x.shape
    rows, columns = height // 2, width // 2
    x = x[:, : 2 * rows, : 2 * columns]
    return x.reshape(n, rows, 2, columns, 2, channels).max(axis=(2, 4))


def check_images(caller: str, images: jax.Array, *, side: int) -> None:
    """Refuses what is not a batch of channel-last images of a sufficient size.

    Args:
      caller: begins the message.
      images: `[N, H, W, C]`, as it should be.
      side: the least height and width; below it no pixel reaches the last layer.

    Raises:
      ValueError: the rank is another, or the images are too small.
    """
    if images.ndim != 4:
        raise ValueError(
            f"{caller}: expected images [N, H, W, C], got shape {images.shape}; add "
            "the axis that is missing, such as images[None] for a single image."
        )
    if min(images.shape[1:3]) < side:
        raise ValueError(
            f"{caller}: expected images [N, H, W, C] of at least {side}x{side} pixels, "
            f"got shape {images.shape}; enlarge them, and check that channels are last."
        )
