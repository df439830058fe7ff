"""The compact convolutional transformer."""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib import tracing
from symjax_lib.models import layers, transformer

_conv_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
_positions_init = nn.initializers.normal(0.2)


class CCT(nn.Module):
    """A convolutional tokenizer, encoder blocks, and pooling by learned weights.

    The defaults are CCT-6/3x1. The tokenizer is a 3x3 convolution without bias, ReLU
    and a 3x3 max-pool of stride 2. The sequence is pooled by the softmax over tokens of
    one linear function of them.

    The activations are named `tokenizer` and `blocks.0.linear1`; `blocks.0` is the
    output of the first encoder block, where the paper stitches. In training mode pass
    `rngs={"dropout": key}`, unless all three rates are 0.

    Attributes:
      num_layers: number of encoder blocks.
      width: channels of the tokens.
      num_heads: of the attention.
      mlp_ratio: hidden channels of the perceptrons, by those of the tokens.
      num_classes: number of logits.
      positions: "sinusoidal" (constants, as in the paper) or "learnable" (parameters,
        for images of one size).
      activation: of the perceptrons.
      dropout: of tokens and of the layers' outputs.
      attention_dropout: of the attention weights.
      stochastic_depth: probability of dropping a branch of the last block; it grows
        linearly from 0 in the first.

    Raises:
      ValueError: (when called) the kind of positions is unknown, the heads do not
        divide the width, or the input is not `[N, H, W, C]`.

    Example:
      >>> model = CCT()
      >>> images = jax.ShapeDtypeStruct((5, 32, 32, 3), jnp.float32)
      >>> logits, variables = jax.eval_shape(
      ...     model.init_with_output, jax.random.key(0), images
      ... )
      >>> logits.shape, sum(leaf.size for leaf in jax.tree.leaves(variables))
      ((5, 10), 3168267)

    References:
      Hassani et al., `Escaping the Big Data Paradigm with Compact Transformers
      <https://arxiv.org/abs/2104.05704>`_, 2021.
    """

    num_layers: int = 6
    width: int = 256
    num_heads: int = 4
    mlp_ratio: int = 2
    num_classes: int = 10
    positions: str = "sinusoidal"
    activation: Callable[[jax.Array], jax.Array] = layers.gelu
    dropout: float = 0.0
    attention_dropout: float = 0.1
    stochastic_depth: float = 0.1

    paper_names: ClassVar[dict[str, str]] = {}

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Names of the values after the activations and blocks, in order."""
        blocks = [f"blocks.{i}" for i in range(self.num_layers)]
        return ("tokenizer", *(t for b in blocks for t in (f"{b}.linear1", b)))

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns logits `[N, num_classes]`; `train` is for dropout."""
        layers.check_images("CCT", images, side=1)
        x = self._tokens(images)
        x = x + self._positions(*x.shape[1:])
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        rates = np.linspace(0, self.stochastic_depth, self.num_layers)
        for i, rate in enumerate(rates):
            block = transformer.EncoderBlock(
                num_heads=self.num_heads,
                hidden=self.mlp_ratio * self.width,
                activation=self.activation,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                drop_path=float(rate),
                tap_name=f"blocks.{i}",
                name=f"classifier.blocks.{i}",
            )
            x = tracing.tap(block(x, train=train), f"blocks.{i}")
        x = layers.layer_norm(epsilon=transformer.EPSILON, name="classifier.norm")(x)
        return self._dense(self.num_classes, "fc")(self._pooled(x))

    def _tokens(self, images: jax.Array) -> jax.Array:
        x = nn.Conv(
            self.width,
            (3, 3),
            padding=1,
            use_bias=False,
            kernel_init=_conv_init,
            name="tokenizer.conv_layers.0.0",
        )(images)
        x = tracing.tap(nn.relu(x), "tokenizer")
        x = layers.max_pool_3x3(x, padding=(1, 1))
        return x.reshape(x.shape[0], -1, x.shape[-1])

    def _positions(self, tokens: int, width: int) -> jax.Array:
        if self.positions == "sinusoidal":
            return jnp.asarray(sinusoidal_positions(tokens, width))
        if self.positions == "learnable":
            shape = (1, tokens, width)
            return self.param("classifier.positional_emb", _positions_init, shape)
        raise ValueError(
            f"CCT: positions is {self.positions!r}; it must be 'sinusoidal' or "
            "'learnable'."
        )

    def _pooled(self, x: jax.Array) -> jax.Array:
        weights = nn.softmax(self._dense(1, "attention_pool")(x), axis=1)
        return jnp.einsum("nto,ntc->nc", weights, x)

    def _dense(self, features: int, name: str) -> nn.Dense:
        init = transformer.dense_init
        return nn.Dense(features, kernel_init=init, name=f"classifier.{name}")


def sinusoidal_positions(tokens: int, width: int) -> np.ndarray:
    r"""Returns :math:`\sin(p / 10000^{i / C})` for even `i`, and its cosine at `i + 1`.

    Args:
      tokens: how many positions `p`, from 0.
      width: number of channels `C`.

    Returns:
      `[1, tokens, width]`, float32. Angles are rounded to float32 before the sine, as
      in the authors' code.

    Example:
      >>> bool(sinusoidal_positions(2, 2)[0, 1, 1] == jnp.cos(1.0))
      True
    """
    even = np.arange(width) // 2 * 2
    angles = np.arange(tokens)[:, None] / 10000.0 ** (even / width)
    # NumPy's sine of a float32 is not the same on all processors.
    angles = angles.astype(np.float32).astype(np.float64)
    values = np.where(np.arange(width) % 2 == 0, np.sin(angles), np.cos(angles))
    return values.astype(np.float32)[None]
