"""The multilayer perceptron."""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from symjax_lib import tracing
from symjax_lib.models import layers


class MLP(nn.Module):
    r"""Dense layers with an activation between them, on flattened images or vectors.

    With :math:`\ell_i(x) = \sigma(W_i x + b_i)` it is
    :math:`f(x) = W_k \ell_{k-1}(\dots \ell_1(x)) + b_k`. Images `[N, H, W, C]` are
    flattened in the order of PyTorch, channels outermost.

    Attributes:
      features: widths of the hidden layers.
      num_classes: number of logits.
      activation: elementwise.

    Raises:
      ValueError: (when called) the input is neither `[N, H, W, C]` nor `[N, C]`.

    Example:
      >>> model = MLP(features=(8,))
      >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
      >>> model.apply(variables, jnp.zeros((5, 8, 8, 1))).shape, model.tap_names
      ((5, 10), ('dense1',))

    References:
      Godfrey et al., 2022, section 3.
    """

    features: tuple[int, ...] = (64, 64)
    num_classes: int = 10
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    paper_names: ClassVar[dict[str, str]] = {}

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Names of the hidden layers' values after the activation, in order."""
        return tuple(f"dense{i + 1}" for i in range(len(self.features)))

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns logits `[N, num_classes]`; `train` changes nothing."""
        if images.ndim not in (2, 4):
            raise ValueError(
                f"MLP: expected images [N, H, W, C] or vectors [N, C], got shape "
                f"{images.shape}; add the axis that is missing, such as images[None] "
                "for a single image."
            )
        # Channels outermost, or converted weights would meet the wrong pixels.
        x = jnp.moveaxis(images, -1, 1).reshape(images.shape[0], -1)
        for name, width in zip(self.tap_names, self.features, strict=True):
            x = tracing.tap(self.activation(layers.dense(width, name=name)(x)), name)
        return layers.dense(self.num_classes, name="fc")(x)
