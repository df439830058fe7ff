"""Residual networks for small images: ResNet20 and its siblings, and ResNet18."""

import functools
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax

from symjax_lib import tracing
from symjax_lib.models import layers, resnet_blocks

_kernel_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class CifarResNet(nn.Module):
    """A 3x3 convolution, stages of residual blocks, the mean over positions, a layer.

    There is no pooling after the stem. Every stage but the first halves height and
    width and doubles the channels, in its first block. Kernels start as in the paper,
    normal with variance 2 / fan in.

    The activations are named `conv1` for the stem, and for the first block of the
    second stage `layer2.0.conv1` inside and `layer2.0` at the output. Of each of
    `ResNet20`, `ResNet32`, `ResNet44`, `ResNet56` and `ResNet18` the sizes are given.

    Attributes:
      blocks: number of blocks of each stage.
      width: channels of the stem and of the first stage.
      num_classes: number of logits.
      shortcut: of a block that changes the shape, "pad" (option A: every other pixel
        and as many zero channels on either side) or "projection" (option B: a 1x1
        convolution with BatchNorm).
      activation: elementwise.

    Raises:
      ValueError: (when called) the shortcut is unknown, or the input is not `[N, H, W,
        C]`.

    Example:
      >>> model = ResNet20(activation=layers.LeakyReLU(0.1))
      >>> images = jax.ShapeDtypeStruct((5, 32, 32, 3), jnp.float32)
      >>> logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
      >>> logits.shape, model.tap_names[:3]
      ((5, 10), ('conv1', 'layer1.0.conv1', 'layer1.0'))
      >>> [model.paper_names[name] for name in model.tap_names[:3]]
      ['3', '8*', '11']

    References:
      He et al., `Deep Residual Learning for Image Recognition
      <https://arxiv.org/abs/1512.03385>`_, 2016, section 4.2.
    """

    blocks: tuple[int, ...] = (3, 3, 3)
    width: int = 16
    num_classes: int = 10
    shortcut: str = "pad"
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Names of the values after the activations, in order."""
        return tuple(self.paper_names)

    @property
    def paper_names(self) -> dict[str, str]:
        """The paper's names of all activations; `*` is inside a block.

        They count the modules of the authors' code, and so follow for any depth: eight
        to a block, and two more for a projection.
        """
        names, first = {"conv1": "3"}, 8
        for name, _, stride in self._plan():
            names |= {f"{name}.conv1": f"{first}*", name: f"{first + 3}"}
            first += 10 if stride == 2 and self.shortcut == "projection" else 8
        return names

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns logits `[N, num_classes]`; `train` is for BatchNorm."""
        layers.check_images("CifarResNet", images, side=1)
        if self.shortcut not in ("pad", "projection"):
            raise ValueError(
                f"CifarResNet: shortcut is {self.shortcut!r}; it must be 'pad' or "
                "'projection'."
            )
        x = resnet_blocks.conv(
            images,
            self.width,
            3,
            names=("conv1", "bn1"),
            kernel_init=_kernel_init,
            train=train,
        )
        x = tracing.tap(self.activation(x), "conv1")
        for name, features, stride in self._plan():
            block = resnet_blocks.BasicBlock(
                features=features,
                stride=stride,
                shortcut=self.shortcut,
                activation=self.activation,
                kernel_init=_kernel_init,
                name=name,
            )
            x = tracing.tap(block(x, train=train), name)
        x = x.mean(axis=(1, 2))
        return layers.dense(self.num_classes, kernel_init=_kernel_init, name="fc")(x)

    def _plan(self) -> Iterator[tuple[str, int, int]]:
        """Yields the name, channels and stride of every block."""
        for i, count in enumerate(self.blocks):
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                yield f"layer{i + 1}.{j}", self.width * 2**i, stride


ResNet20 = functools.partial(CifarResNet, blocks=(3, 3, 3))
ResNet32 = functools.partial(CifarResNet, blocks=(5, 5, 5))
ResNet44 = functools.partial(CifarResNet, blocks=(7, 7, 7))
ResNet56 = functools.partial(CifarResNet, blocks=(9, 9, 9))
ResNet18 = functools.partial(
    CifarResNet, blocks=(2, 2, 2, 2), width=64, shortcut="projection"
)
