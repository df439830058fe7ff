"""The two residual blocks of ResNets: two 3x3 convolutions, or a bottleneck of three.

A block returns the activation of branch plus shortcut; its submodules have the names
of torchvision's.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from symjax_lib import tracing
from symjax_lib.models import layers

_SHORTCUT = "downsample.0", "downsample.1"


class BasicBlock(nn.Module):
    r"""Two 3x3 convolutions with BatchNorm around a shortcut.

    .. math:: \sigma(B_2 C_2 \, \sigma(B_1 C_1 x) + S x)

    The shortcut :math:`S` is the identity where the shapes allow it.

    Attributes:
      features: channels of both convolutions.
      stride: of the first convolution and of the shortcut.
      shortcut: "pad" or "projection", for a block that changes the shape.
      activation: elementwise.
      kernel_init: of the convolutions.

    Example:
      >>> block = BasicBlock(
      ...     features=8,
      ...     stride=2,
      ...     shortcut="pad",
      ...     activation=nn.relu,
      ...     kernel_init=nn.initializers.he_normal(),
      ... )
      >>> x = jax.ShapeDtypeStruct((5, 8, 8, 4), jnp.float32)
      >>> run = lambda key, x: block.init_with_output(key, x, train=False)[0]
      >>> jax.eval_shape(run, jax.random.key(0), x).shape
      (5, 4, 4, 8)

    References:
      He et al., `Deep Residual Learning for Image Recognition
      <https://arxiv.org/abs/1512.03385>`_, 2016.
    """

    features: int
    stride: int
    shortcut: str
    activation: Callable[[jax.Array], jax.Array]
    kernel_init: Callable[..., jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns `[N, H / stride, W / stride, features]`; taps what is inside."""
        options: dict[str, Any] = {"kernel_init": self.kernel_init, "train": train}
        y = conv(
            x, self.features, 3, stride=self.stride, names=("conv1", "bn1"), **options
        )
        y = tracing.tap(self.activation(y), f"{self.name}.conv1")
        y = conv(y, self.features, 3, names=("conv2", "bn2"), **options)
        if x.shape == y.shape:
            return self.activation(y + x)
        if self.shortcut == "pad":
            return self.activation(y + pad_shortcut(x, self.features, self.stride))
        x = conv(x, self.features, 1, stride=self.stride, names=_SHORTCUT, **options)
        return self.activation(y + x)


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1; the last one widens by the expansion.

    The shortcut is a 1x1 convolution in a block that changes the shape.

    Attributes:
      features: channels of the first two convolutions.
      expansion: the last convolution has `expansion * features` channels.
      strides: of the first and of the second convolution.
      norm: put BatchNorm after the convolutions, which otherwise have a bias.
      residual_activation: apply the activation to the sum as well.
      activation: elementwise.
      kernel_init: of the convolutions.

    Example:
      >>> block = Bottleneck(
      ...     features=8,
      ...     expansion=4,
      ...     strides=(1, 2),
      ...     norm=True,
      ...     residual_activation=True,
      ...     activation=nn.relu,
      ...     kernel_init=nn.initializers.he_normal(),
      ... )
      >>> x = jax.ShapeDtypeStruct((5, 8, 8, 4), jnp.float32)
      >>> run = lambda key, x: block.init_with_output(key, x, train=False)[0]
      >>> jax.eval_shape(run, jax.random.key(0), x).shape
      (5, 4, 4, 32)

    References:
      He et al., `Deep Residual Learning for Image Recognition
      <https://arxiv.org/abs/1512.03385>`_, 2016.
    """

    features: int
    expansion: int
    strides: tuple[int, int]
    norm: bool
    residual_activation: bool
    activation: Callable[[jax.Array], jax.Array]
    kernel_init: Callable[..., jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns `[N, H / stride, W / stride, expansion * features]`."""
        options: dict[str, Any] = {
            "kernel_init": self.kernel_init,
            "train": train,
            "norm": self.norm,
        }
        y, names = x, ("conv1", "bn1")
        y = conv(y, self.features, 1, stride=self.strides[0], names=names, **options)
        y = tracing.tap(self.activation(y), f"{self.name}.conv1")
        names = "conv2", "bn2"
        y = conv(y, self.features, 3, stride=self.strides[1], names=names, **options)
        y = tracing.tap(self.activation(y), f"{self.name}.conv2")
        outputs = self.expansion * self.features
        y = conv(y, outputs, 1, names=("conv3", "bn3"), **options)
        if x.shape != y.shape:
            stride = self.strides[0] * self.strides[1]
            x = conv(x, outputs, 1, stride=stride, names=_SHORTCUT, **options)
        return self.activation(y + x) if self.residual_activation else y + x


def conv(
    x: jax.Array,
    features: int,
    side: int,
    *,
    names: tuple[str, str],
    kernel_init: Callable[..., jax.Array],
    train: bool,
    stride: int = 1,
    norm: bool = True,
) -> jax.Array:
    """Applies a convolution and BatchNorm, submodules of the compact method it is in.

    Args:
      x: `[N, H, W, C]`.
      features: output channels.
      side: of the kernel, odd; zeros around the image keep its size.
      names: of the convolution and of BatchNorm.
      kernel_init: of the convolution.
      train: is for BatchNorm.
      stride: of the convolution.
      norm: apply BatchNorm; without it the convolution has a bias.

    Returns:
      `[N, H / stride, W / stride, features]`.
    """
    x = layers.conv(
        features,
        (side, side),
        strides=stride,
        padding=side // 2,
        use_bias=not norm,
        kernel_init=kernel_init,
        name=names[0],
    )(x)
    return layers.batch_norm(train=train, name=names[1])(x) if norm else x


def pad_shortcut(x: jax.Array, features: int, stride: int) -> jax.Array:
    """Option A: every `stride`-th pixel, and zero channels on both sides of its own.

    Args:
      x: `[N, H, W, C]`.
      features: output channels; of the new ones, the odd one comes last.
      stride: in both directions, from the first pixel on.

    Returns:
      `[N, H / stride, W / stride, features]`.

    Example:
      >>> pad_shortcut(jnp.arange(1.0, 10.0).reshape(1, 3, 3, 1), 3, 2)[0, :, :, 1]
      Array([[1., 3.],
             [7., 9.]], dtype=float32)
    """
    more = features - x.shape[-1]
    before = more // 2
    widths = ((0, 0), (0, 0), (0, 0), (before, more - before))
    return jnp.pad(x[:, ::stride, ::stride], widths)
