"""The Myrtle CNN, the paper's plain convolutional network."""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax

from symjax_lib import tracing
from symjax_lib.models import layers


class MyrtleCNN(nn.Module):
    """Four 3x3 convolutions, each with BatchNorm and an activation, and a linear layer.

    A 2x2 max-pool follows the second, third and fourth activation; then comes the
    maximum over all positions, which is the paper's 4x4 max-pool for 32x32 images.
    A convolution has a bias only if no BatchNorm follows.

    Attributes:
      width: channels `w` of the first convolution; the others have `2w`, `4w`, `8w`.
      num_classes: number of logits.
      norm: put BatchNorm before the activations.
      constant_width: give all four convolutions `width` channels.
      activation: elementwise.

    Raises:
      ValueError: (when called) the input is not `[N, H, W, C]` of 8x8 pixels or more.

    Example:
      >>> model = MyrtleCNN(width=4)
      >>> images = jax.ShapeDtypeStruct((5, 8, 8, 1), jnp.float32)
      >>> logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
      >>> logits.shape, model.tap_names
      ((5, 10), ('conv1', 'conv2', 'conv3', 'conv4'))

    References:
      Godfrey et al., 2022, appendix D.1; Page, `How to Train Your ResNet
      <https://myrtle.ai/learn/how-to-train-your-resnet/>`_, 2018.
    """

    width: int = 64
    num_classes: int = 10
    norm: bool = True
    constant_width: bool = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    paper_names: ClassVar[dict[str, str]] = {
        "conv1": "3",
        "conv2": "6",
        "conv3": "10",
        "conv4": "14",
    }

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Names of the values after the four activations, in order."""
        return tuple(self.paper_names)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns logits `[N, num_classes]`; `train` is for BatchNorm."""
        layers.check_images("MyrtleCNN", images, side=8)
        x = images
        for i in range(4):
            x = layers.conv(
                self.width if self.constant_width else self.width * 2**i,
                (3, 3),
                padding=1,
                use_bias=not self.norm,
                name=f"conv{i + 1}",
            )(x)
            if self.norm:
                x = layers.batch_norm(train=train, name=f"bn{i + 1}")(x)
            x = tracing.tap(self.activation(x), f"conv{i + 1}")
            if i > 0:
                x = layers.max_pool_2x2(x)
        return layers.dense(self.num_classes, name="fc")(x.max(axis=(1, 2)))
