r"""What the models share: layers that start and average as PyTorch's, and pooling.

Kernels are drawn from :math:`U(\pm 1/\sqrt{\text{fan in}})`, PyTorch's default and so
the paper's; biases start at zero, where PyTorch draws them from the same interval.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax

_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
# Give the padding of a convolution in pixels: with a stride, "SAME" is not PyTorch's.
conv = functools.partial(nn.Conv, kernel_init=_kernel_init)
dense = functools.partial(nn.Dense, kernel_init=_kernel_init)

# GELU by the error function, PyTorch's default; linen's is the tanh approximation.
gelu = functools.partial(nn.gelu, approximate=False)


@dataclasses.dataclass(frozen=True)
class LeakyReLU:
    r"""The activation :math:`\max(x, 0) + s \min(x, 0)` as a value.

    Two of the same slope are equal and hash alike, and so do the models that have them.

    Attributes:
      negative_slope: :math:`s`; 0 is ReLU and 1 the identity.

    Example:
      >>> LeakyReLU(0.5)(jnp.array([-2.0, 3.0])).tolist()
      [-1.0, 3.0]
    """

    negative_slope: float = 0.01

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it elementwise."""
        return nn.leaky_relu(x, self.negative_slope)


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


def layer_norm(*, epsilon: float, name: str) -> nn.LayerNorm:
    """Makes a LayerNorm over channels.

    The variance is the mean of squared deviations, as in PyTorch; linen's default is
    the difference of two means, which loses digits where the mean is large.

    Args:
      epsilon: is added to the variance.
      name: of the submodule.

    Returns:
      A linen module.
    """
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, name=name)


def drop_path(x: jax.Array, *, rate: float, train: bool) -> jax.Array:
    r"""Stochastic depth: drops the branch of a residual block for whole samples.

    What is kept is divided by :math:`1 - \text{rate}`. The random numbers are those of
    the `"dropout"` stream. Call it inside a compact method.

    Args:
      x: `[N, ...]`, before it is added to the stream.
      rate: probability of dropping.
      train: without it, `x` is returned as it is.

    Returns:
      As `x`.

    References:
      Huang et al., `Deep Networks with Stochastic Depth
      <https://arxiv.org/abs/1603.09382>`_, 2016.
    """
    rest = tuple(range(1, x.ndim))
    return nn.Dropout(rate, broadcast_dims=rest)(x, deterministic=not train)


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


def max_pool_3x3(x: jax.Array, *, padding: tuple[int, int]) -> jax.Array:
    """Takes the maximum over windows of 3x3 at every other row and column.

    Args:
      x: `[N, H, W, C]`.
      padding: pixels before and after, in both directions: (1, 1) is PyTorch's
        `padding=1`, (0, 1) is what "SAME" means for an even size. They never win.

    Returns:
      `[N, H // 2, W // 2, C]` for even sizes and a padding of either kind.

    Example:
      >>> max_pool_3x3(jnp.arange(4.0).reshape(1, 1, 4, 1), padding=(1, 1)).tolist()
      [[[[1.0], [3.0]]]]
    """
    pads: Any = (padding, padding)  # whose type linen gives as str
    return nn.max_pool(x, (3, 3), (2, 2), padding=pads)


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
