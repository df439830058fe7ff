"""The encoder block of a compact transformer: self-attention and a perceptron."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from symjax_lib import tracing
from symjax_lib.models import layers

EPSILON = 1e-5
dense_init = nn.initializers.normal(0.02)


class SelfAttention(nn.Module):
    r"""Multi-head attention of a sequence to itself.

    .. math:: \operatorname{softmax}(q k^T / \sqrt d) \, v

    for every head, with :math:`q, k, v` linear maps of the tokens to :math:`d` channels
    each; a linear map with bias mixes the heads. One layer without bias computes
    :math:`q, k, v` in this order, heads outermost within each.

    Attributes:
      num_heads: divides the number of channels.
      attention_dropout: of the attention weights.
      dropout: of the output.

    Raises:
      ValueError: (when called) the heads do not divide the channels.

    Example:
      >>> x = jax.ShapeDtypeStruct((2, 5, 8), jnp.float32)
      >>> model = SelfAttention(num_heads=4)
      >>> jax.eval_shape(model.init_with_output, jax.random.key(0), x)[0].shape
      (2, 5, 8)
    """

    num_heads: int
    attention_dropout: float = 0.0
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns `[N, T, C]` for tokens `[N, T, C]`; `train` is for dropout."""
        n, tokens, channels = x.shape
        if channels % self.num_heads:
            raise ValueError(
                f"SelfAttention: {self.num_heads} heads do not divide {channels} "
                "channels; choose a number of heads that does."
            )
        width = channels // self.num_heads
        qkv = nn.Dense(
            3 * channels, use_bias=False, kernel_init=dense_init, name="qkv"
        )(x)
        q, k, v = (
            part.reshape(n, tokens, self.num_heads, width)
            for part in jnp.split(qkv, 3, axis=-1)
        )
        logits = jnp.einsum("nqhd,nkhd->nhqk", q, k) * width**-0.5
        weights = nn.softmax(logits, axis=-1)
        weights = nn.Dropout(self.attention_dropout)(weights, deterministic=not train)
        x = jnp.einsum("nhqk,nkhd->nqhd", weights, v).reshape(n, tokens, channels)
        x = nn.Dense(channels, kernel_init=dense_init, name="proj")(x)
        return nn.Dropout(self.dropout)(x, deterministic=not train)


class EncoderBlock(nn.Module):
    r"""Attention and a perceptron, each added to the stream.

    .. math:: y = \mathrm{LN}_1(x + A(\mathrm{LN}_0(x))), \quad y + W_2 \sigma(W_1 y)

    The second norm acts on the stream itself and not on the branch, as in the authors'
    code. Taps the perceptron's activation as `{tap_name}.linear1`.

    Attributes:
      num_heads: of the attention.
      hidden: channels between the two layers of the perceptron.
      activation: of the perceptron.
      dropout: of the outputs of attention and of both layers of the perceptron.
      attention_dropout: of the attention weights.
      drop_path: probability that a branch is dropped for a sample.
      tap_name: prefix of the tap.

    Example:
      >>> x = jax.ShapeDtypeStruct((2, 5, 8), jnp.float32)
      >>> model = EncoderBlock(num_heads=2, hidden=16)
      >>> jax.eval_shape(model.init_with_output, jax.random.key(0), x)[0].shape
      (2, 5, 8)

    References:
      Hassani et al., `Escaping the Big Data Paradigm with Compact Transformers
      <https://arxiv.org/abs/2104.05704>`_, 2021.
    """

    num_heads: int
    hidden: int
    activation: Callable[[jax.Array], jax.Array] = layers.gelu
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    tap_name: str = "block"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns `[N, T, C]` for tokens `[N, T, C]`; `train` is for dropout."""
        y = layers.layer_norm(epsilon=EPSILON, name="pre_norm")(x)
        y = SelfAttention(
            self.num_heads, self.attention_dropout, self.dropout, name="self_attn"
        )(y, train=train)
        x = x + layers.drop_path(y, rate=self.drop_path, train=train)
        x = layers.layer_norm(epsilon=EPSILON, name="norm1")(x)
        y = nn.Dense(self.hidden, kernel_init=dense_init, name="linear1")(x)
        y = tracing.tap(self.activation(y), f"{self.tap_name}.linear1")
        y = nn.Dropout(self.dropout)(y, deterministic=not train)
        y = nn.Dense(x.shape[-1], kernel_init=dense_init, name="linear2")(y)
        y = nn.Dropout(self.dropout)(y, deterministic=not train)
        return x + layers.drop_path(y, rate=self.drop_path, train=train)
