"""ResNet50, the residual network of bottlenecks for large images."""

from collections.abc import Callable, Iterator
from typing import ClassVar

import flax.linen as nn
import jax

from symjax_lib import tracing
from symjax_lib.models import layers, resnet_blocks

_EXPANSION = 4
_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet50(nn.Module):
    """A 7x7 stem and 3x3 max-pool, stages of bottlenecks, the mean, a linear layer.

    The defaults are torchvision's. Every stage but the first halves height and width
    and doubles the channels, in its first block.

    The activations are named `conv1` for the stem, and for the first block of the
    first stage `layer1.0.conv1` and `layer1.0.conv2` inside and `layer1.0` at the
    output, with or without an activation there.

    Attributes:
      width: channels inside the bottlenecks of the first stage; its output has four
        times as many.
      stem_width: channels of the stem.
      num_classes: number of logits.
      blocks: number of blocks of each stage.
      stride_on: the convolution of the first block of a stage that has the stride,
        "3x3" (v1.5, as torchvision) or "1x1" (v1, the first one).
      norm: put BatchNorm after the convolutions; without it they have a bias, into
        which a trained BatchNorm can be folded.
      residual_activation: apply the activation at the outputs of the blocks.
      pool_padding: of the max-pool, before and after the image; (0, 1) pads at the
        right and at the bottom only.
      activation: elementwise.

    Raises:
      ValueError: (when called) `stride_on` is unknown, or the input is not `[N, H, W,
        C]`, of 3x3 pixels or more if the max-pool is padded on one side only.

    Example:
      >>> model = ResNet50()
      >>> images = jax.ShapeDtypeStruct((5, 224, 224, 3), jnp.float32)
      >>> logits, variables = jax.eval_shape(
      ...     model.init_with_output, jax.random.key(0), images
      ... )
      >>> logits.shape
      (5, 1000)
      >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
      25557032

    References:
      He et al., `Deep Residual Learning for Image Recognition
      <https://arxiv.org/abs/1512.03385>`_, 2016; without the activation at the
      outputs: Godfrey et al., 2022, section 6.
    """

    width: int = 64
    stem_width: int = 64
    num_classes: int = 1000
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    stride_on: str = "3x3"
    norm: bool = True
    residual_activation: bool = True
    pool_padding: tuple[int, int] = (1, 1)
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    paper_names: ClassVar[dict[str, str]] = {}

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Names of the values after the activations and blocks, in order."""
        names = [name for name, *_ in self._plan()]
        return (
            "conv1",
            *(t for n in names for t in (f"{n}.conv1", f"{n}.conv2", n)),
        )

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns logits `[N, num_classes]`; `train` is for BatchNorm."""
        # The stem halves the image, and the max-pool needs three pixels, padding too.
        side = 1 + 2 * max(0, 2 - sum(self.pool_padding))
        layers.check_images("ResNet50", images, side=side)
        if self.stride_on not in ("1x1", "3x3"):
            raise ValueError(
                f"ResNet50: stride_on is {self.stride_on!r}; it must be '1x1' or '3x3'."
            )
        x = resnet_blocks.conv(
            images,
            self.stem_width,
            7,
            names=("conv1", "bn1"),
            stride=2,
            norm=self.norm,
            kernel_init=_kernel_init,
            train=train,
        )
        x = tracing.tap(self.activation(x), "conv1")
        x = layers.max_pool_3x3(x, padding=self.pool_padding)
        for name, features, stride in self._plan():
            block = resnet_blocks.Bottleneck(
                features=features,
                expansion=_EXPANSION,
                strides=(stride, 1) if self.stride_on == "1x1" else (1, stride),
                norm=self.norm,
                residual_activation=self.residual_activation,
                activation=self.activation,
                kernel_init=_kernel_init,
                name=name,
            )
            x = tracing.tap(block(x, train=train), name)
        return layers.dense(self.num_classes, name="fc")(x.mean(axis=(1, 2)))

    def _plan(self) -> Iterator[tuple[str, int, int]]:
        """Yields the name, channels and stride of every block."""
        for i, count in enumerate(self.blocks):
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                yield f"layer{i + 1}.{j}", self.width * 2**i, stride
