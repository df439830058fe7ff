"""Tiny10, a small CIFAR-10 network of which others have published trained weights."""

from typing import ClassVar

import flax.linen as nn
import jax

from symjax_lib import tracing
from symjax_lib.models import layers


class Tiny10(nn.Module):
    """Eight convolutions, each with BatchNorm and ReLU, and a linear layer.

    All convolutions have a bias and no padding. They are 3x3, but for the last, which
    is 1x1; the third and the sixth have stride 2. The linear layer takes the mean over
    all positions.

    Attributes:
      num_classes: number of logits.

    Raises:
      ValueError: (when called) the input is not `[N, H, W, C]` of 27x27 pixels or more.

    Example:
      >>> model = Tiny10()
      >>> images = jax.ShapeDtypeStruct((5, 32, 32, 3), jnp.float32)
      >>> logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
      >>> logits.shape, model.tap_names[0], model.tap_names[-1]
      ((5, 10), 'conv1', 'conv8')

    References:
      Csiszárik et al., `Similarity and Matching of Neural Network Representations
      <https://openreview.net/forum?id=aedFIIRRfXr>`_, 2021.
    """

    num_classes: int = 10

    paper_names: ClassVar[dict[str, str]] = {}

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Names of the values after the eight activations, in order."""
        return tuple(f"conv{i + 1}" for i in range(len(_CONVOLUTIONS)))

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns logits `[N, num_classes]`; `train` is for BatchNorm."""
        layers.check_images("Tiny10", images, side=27)
        x = images
        for i, (width, side, stride) in enumerate(_CONVOLUTIONS, start=1):
            x = layers.conv(
                width, (side, side), strides=stride, padding=0, name=f"conv{i}"
            )(x)
            x = layers.batch_norm(train=train, name=f"bn{i}")(x)
            x = tracing.tap(nn.relu(x), f"conv{i}")
        return layers.dense(self.num_classes, name="fc")(x.mean(axis=(1, 2)))


# Channels, side of the kernel, stride.
_CONVOLUTIONS = (
    (16, 3, 1),
    (16, 3, 1),
    (32, 3, 2),
    (32, 3, 1),
    (32, 3, 1),
    (64, 3, 2),
    (64, 3, 1),
    (64, 1, 1),
)
