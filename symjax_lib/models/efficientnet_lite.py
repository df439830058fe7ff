"""EfficientNet-Lite, a network of inverted bottlenecks with linear outputs."""

from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax

from symjax_lib import tracing
from symjax_lib.models import layers


class Stage(NamedTuple):
    """Blocks of one width.

    Attributes:
      width: channels of the outputs.
      blocks: how many; those that keep their shape are residual.
      kernel: side of the convolution by channels.
      stride: of the first block.
      expansion: channels inside a block for every channel of its input.
    """

    width: int
    blocks: int
    kernel: int = 3
    stride: int = 1
    expansion: int = 6


LITE0 = (
    Stage(16, 1, expansion=1),
    Stage(24, 2, stride=2),
    Stage(40, 2, kernel=5, stride=2),
    Stage(80, 3, stride=2),
    Stage(112, 3, kernel=5),
    Stage(192, 4, kernel=5, stride=2),
    Stage(320, 1),
)
"""The stages of EfficientNet-Lite0."""


class MBConv(nn.Module):
    """An inverted bottleneck: more channels, a convolution of each, fewer channels.

    The output has no activation: with BatchNorm folded into the convolutions, any
    invertible map of its channels can be undone by 1x1 convolutions that read them.
    Taps `{tap_name}.expand` and `{tap_name}.depthwise` after the activations.

    Attributes:
      stage: sizes.
      stride: of this block.
      activation: elementwise.
      tap_name: prefix of the taps.

    Example:
      >>> x = jax.ShapeDtypeStruct((2, 9, 9, 4), jnp.float32)
      >>> model = MBConv(Stage(4, 1), stride=2)
      >>> jax.eval_shape(model.init_with_output, jax.random.key(0), x)[0].shape
      (2, 5, 5, 4)
    """

    stage: Stage
    stride: int = 1
    activation: Callable[[jax.Array], jax.Array] = nn.relu6
    tap_name: str = "block"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns `[N, H, W, C]`, with a stride of 2 of half the size."""
        width, _, side, _, expansion = self.stage
        y, inside = x, x.shape[-1] * expansion
        if expansion > 1:
            y = _conv_norm(y, inside, 1, names=("expand_conv", "bn0"), train=train)
            y = tracing.tap(self.activation(y), f"{self.tap_name}.expand")
        y = _conv_norm(
            y,
            inside,
            side,
            names=("depthwise_conv", "bn1"),
            stride=self.stride,
            groups=inside,
            train=train,
        )
        y = tracing.tap(self.activation(y), f"{self.tap_name}.depthwise")
        y = _conv_norm(y, width, 1, names=("project_conv", "bn2"), train=train)
        # A single pixel keeps its shape under a stride, too.
        return x + y if self.stride == 1 and x.shape == y.shape else y


class EfficientNetLite(nn.Module):
    """A 3x3 stem, stages of inverted bottlenecks, a 1x1 head, the mean, a linear layer.

    The defaults are EfficientNet-Lite0, without dropout and stochastic depth. Padding
    is TensorFlow's: with a stride of 2 and an even size at the right and the bottom.

    The activations are named `conv_stem`, `blocks.1.expand` and `blocks.1.depthwise`
    inside the second block and `conv_head`; `blocks.1` is the output of a block, to
    which no activation is applied.

    Attributes:
      stages: sizes of the blocks.
      stem_width: channels of the stem.
      head_width: channels of the head.
      num_classes: number of logits.
      activation: elementwise.

    Raises:
      ValueError: (when called) the input is not `[N, H, W, C]`.

    Example:
      >>> model = EfficientNetLite()
      >>> images = jax.ShapeDtypeStruct((5, 224, 224, 3), jnp.float32)
      >>> logits, variables = jax.eval_shape(
      ...     model.init_with_output, jax.random.key(0), images
      ... )
      >>> logits.shape, sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
      ((5, 1000), 4652008)

    References:
      Tan and Le, `EfficientNet <https://arxiv.org/abs/1905.11946>`_, 2019; `Lite
      <https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite>`_.
    """

    stages: tuple[Stage, ...] = LITE0
    stem_width: int = 32
    head_width: int = 1280
    num_classes: int = 1000
    activation: Callable[[jax.Array], jax.Array] = nn.relu6

    paper_names: ClassVar[dict[str, str]] = {}

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Names of the values after the activations and blocks, in order."""
        inside = lambda stage: ("expand", "depthwise")[stage.expansion == 1 :]
        blocks = [
            (*(f"{name}.{part}" for part in inside(stage)), name)
            for name, stage, _ in self._plan()
        ]
        return ("conv_stem", *(tap for taps in blocks for tap in taps), "conv_head")

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns logits `[N, num_classes]`; `train` is for BatchNorm."""
        layers.check_images("EfficientNetLite", images, side=1)
        x = _conv_norm(
            images,
            self.stem_width,
            3,
            names=("conv_stem", "bn0"),
            stride=2,
            train=train,
        )
        x = tracing.tap(self.activation(x), "conv_stem")
        for name, stage, stride in self._plan():
            block = MBConv(
                stage,
                stride=stride,
                activation=self.activation,
                tap_name=name,
                name=name,
            )
            x = tracing.tap(block(x, train=train), name)
        x = _conv_norm(x, self.head_width, 1, names=("conv_head", "bn1"), train=train)
        x = tracing.tap(self.activation(x), "conv_head")
        return layers.dense(self.num_classes, name="fc")(x.mean(axis=(1, 2)))

    def _plan(self) -> Iterator[tuple[str, Stage, int]]:
        """Yields the name, sizes and stride of every block."""
        strides = [
            (stage, stage.stride if j == 0 else 1)
            for stage in self.stages
            for j in range(stage.blocks)
        ]
        for i, (stage, stride) in enumerate(strides):
            yield f"blocks.{i}", stage, stride


def _conv_norm(
    x: jax.Array,
    width: int,
    side: int,
    *,
    names: tuple[str, str],
    stride: int = 1,
    groups: int = 1,
    train: bool,
) -> jax.Array:
    """Applies a convolution without bias and BatchNorm with TensorFlow's constants."""
    x = layers.conv(
        width,
        (side, side),
        strides=stride,
        padding="SAME",
        feature_group_count=groups,
        use_bias=False,
        name=names[0],
    )(x)
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.99, epsilon=1e-3, name=names[1]
    )(x)
