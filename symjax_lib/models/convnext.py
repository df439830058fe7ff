"""ConvNeXt, a convolutional network with the habits of transformers."""

from collections.abc import Callable, Iterator
from typing import ClassVar

import flax.linen as nn
import jax
import numpy as np

from symjax_lib import tracing
from symjax_lib.models import layers

_EPSILON = 1e-6
_kernel_init = nn.initializers.normal(0.02)


class ConvNeXtBlock(nn.Module):
    r"""A 7x7 convolution by channels, LayerNorm, and a perceptron at every position.

    .. math:: x + \gamma \odot W_2 \, \sigma(W_1 \mathrm{LN}(D x))

    The perceptron has four times as many hidden channels; :math:`\gamma`, the layer
    scale, is one factor per channel. Taps the activation as `{tap_name}.pwconv1`.

    Attributes:
      layer_scale: what :math:`\gamma` starts from.
      activation: of the perceptron.
      drop_path: probability that the branch is dropped for a sample.
      tap_name: prefix of the tap.

    Example:
      >>> x = jax.ShapeDtypeStruct((2, 9, 9, 4), jnp.float32)
      >>> model = ConvNeXtBlock()
      >>> jax.eval_shape(model.init_with_output, jax.random.key(0), x)[0].shape
      (2, 9, 9, 4)
    """

    layer_scale: float = 1e-6
    activation: Callable[[jax.Array], jax.Array] = layers.gelu
    drop_path: float = 0.0
    tap_name: str = "block"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns `[N, H, W, C]` as `x` is; `train` is for stochastic depth."""
        channels = x.shape[-1]
        y = nn.Conv(
            channels,
            (7, 7),
            padding=3,
            feature_group_count=channels,
            kernel_init=_kernel_init,
            name="dwconv",
        )(x)
        y = layers.layer_norm(epsilon=_EPSILON, name="norm")(y)
        y = nn.Dense(4 * channels, kernel_init=_kernel_init, name="pwconv1")(y)
        y = tracing.tap(self.activation(y), f"{self.tap_name}.pwconv1")
        y = nn.Dense(channels, kernel_init=_kernel_init, name="pwconv2")(y)
        gamma = nn.initializers.constant(self.layer_scale)
        y = self.param("gamma", gamma, (channels,)) * y
        return x + layers.drop_path(y, rate=self.drop_path, train=train)


class ConvNeXt(nn.Module):
    """Patches, stages of ConvNeXt blocks, the mean over positions, a linear layer.

    The defaults are ConvNeXt-T, the analogue of ResNet-50. The stem cuts patches of
    4x4; between stages there is a LayerNorm and a 2x2 convolution of stride 2.

    The activations are named `stages.0.0.pwconv1` for the first block of the first
    stage; `stages.0.0` is its output, to which no activation is applied. In training
    mode with stochastic depth pass `rngs={"dropout": key}`.

    Attributes:
      blocks: number of blocks of each stage.
      widths: channels of each stage.
      num_classes: number of logits.
      layer_scale: what the layer scale starts from.
      activation: of the perceptrons.
      stochastic_depth: probability of dropping the branch of the last block; it grows
        linearly from 0 in the first.

    Raises:
      ValueError: (when called) `blocks` and `widths` differ in length, or the input is
        not `[N, H, W, C]` of a pixel for every last position, 32x32 with four stages.

    Example:
      >>> model = ConvNeXt()
      >>> images = jax.ShapeDtypeStruct((5, 224, 224, 3), jnp.float32)
      >>> logits, variables = jax.eval_shape(
      ...     model.init_with_output, jax.random.key(0), images
      ... )
      >>> logits.shape, sum(leaf.size for leaf in jax.tree.leaves(variables))
      ((5, 1000), 28589128)

    References:
      Liu et al., `A ConvNet for the 2020s <https://arxiv.org/abs/2201.03545>`_, 2022.
    """

    blocks: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    num_classes: int = 1000
    layer_scale: float = 1e-6
    activation: Callable[[jax.Array], jax.Array] = layers.gelu
    stochastic_depth: float = 0.0

    paper_names: ClassVar[dict[str, str]] = {}

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Names of the values after the activations and blocks, in order."""
        blocks = [f"stages.{i}.{j}" for i, j in self._blocks()]
        return tuple(t for b in blocks for t in (f"{b}.pwconv1", b))

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns logits `[N, num_classes]`; `train` is for stochastic depth."""
        if len(self.blocks) != len(self.widths):
            raise ValueError(
                f"ConvNeXt: blocks {self.blocks} and widths {self.widths} must have "
                "one number for every stage."
            )
        layers.check_images("ConvNeXt", images, side=2 ** (len(self.blocks) + 1))
        x = images
        rates = np.linspace(0, self.stochastic_depth, sum(self.blocks))
        for (i, j), rate in zip(self._blocks(), rates, strict=True):
            if j == 0:
                x = self._downsampled(x, i)
            name = f"stages.{i}.{j}"
            block = ConvNeXtBlock(
                layer_scale=self.layer_scale,
                activation=self.activation,
                drop_path=float(rate),
                tap_name=name,
                name=name,
            )
            x = tracing.tap(block(x, train=train), name)
        x = layers.layer_norm(epsilon=_EPSILON, name="norm")(x.mean(axis=(1, 2)))
        return nn.Dense(self.num_classes, kernel_init=_kernel_init, name="head")(x)

    def _downsampled(self, x: jax.Array, stage: int) -> jax.Array:
        side, width = 2 if stage else 4, self.widths[stage]
        name = f"downsample_layers.{stage}"
        # The norm precedes the convolution, but follows it in the stem.
        places = {"norm": 0, "conv": 1} if stage else {"conv": 0, "norm": 1}
        for kind, place in places.items():
            if kind == "norm":
                x = layers.layer_norm(epsilon=_EPSILON, name=f"{name}.{place}")(x)
            else:
                x = nn.Conv(
                    width,
                    (side, side),
                    strides=side,
                    padding=0,
                    kernel_init=_kernel_init,
                    name=f"{name}.{place}",
                )(x)
        return x

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Yields stage and place of every block."""
        for i, count in enumerate(self.blocks):
            yield from ((i, j) for j in range(count))
