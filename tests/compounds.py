"""Blocks of architectures that are made of others, or use weights more than once."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from architectures import ACTIVATIONS, Block, Scope, block, run
from jax import lax
from layers import Dense, GlobalPool

# Blocks of blocks.


@block
class Residual:
    """A sum of blocks and a shortcut: identity, "projection" or "pad" (option A).

    Where the channels agree and there is no projection, the shortcut is the identity.
    """

    blocks: tuple[Block, ...]
    shortcut: str = "identity"

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        y = run(self.blocks, p, x)
        if y.ndim == 4 and y.shape[1] < x.shape[1]:
            x = x[:, ::2, ::2]
        missing = y.shape[-1] - x.shape[-1]
        if self.shortcut == "projection" or missing < 0:
            x = x @ p("kernel", x.shape[-1], y.shape[-1])
        elif missing:
            before = missing // 2
            x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, missing - before)])
        return x + y


@block
class Concat:
    """A value and what blocks make of it (DenseNet)."""

    blocks: tuple[Block, ...]

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        return jnp.concatenate([x, run(self.blocks, p, x)], -1)


@block
class Branches:
    """Two lists of blocks next to one another (Inception)."""

    left: tuple[Block, ...]
    right: tuple[Block, ...]

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        left = run(self.left, p.inner("left"), x)
        return jnp.concatenate([left, run(self.right, p.inner("right"), x)], -1)


@block
class Gate:
    """A product of two dense layers, one after an activation; of one kernel or two."""

    width: int
    activation: str
    split: bool = False

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        if self.split:
            a, b = jnp.split(Dense(2 * self.width)(p, x), 2, axis=-1)
        else:
            a = Dense(self.width)(p.inner("a"), x)
            b = Dense(self.width)(p.inner("b"), x)
        return ACTIVATIONS[self.activation](a) * b


@block
class SplitActs:
    """One activation for the first half of the channels and one for the others."""

    first: str
    second: str

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        half = x.shape[-1] // 2
        a, b = x[..., :half], x[..., half:]
        parts = [ACTIVATIONS[self.first](a), ACTIVATIONS[self.second](b)]
        return jnp.concatenate(parts, -1)


@block
class SqueezeExcite:
    width: int
    activation: str = "relu"

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        h = GlobalPool()(p, x)
        h = ACTIVATIONS[self.activation](Dense(self.width)(p.inner("in"), h))
        gate = jax.nn.sigmoid(Dense(x.shape[-1])(p.inner("out"), h))
        return x * gate.reshape(x.shape[0], *[1] * (x.ndim - 2), -1)


# Attention.


@block
class Attention:
    """Self-attention of a sequence.

    Attributes:
      heads: of queries; each key-value head serves `heads // kv_heads` of them.
      kv_heads: of keys and values; as many as `heads` if 0.
      size: of a head.
      width: channels of the result; those of the input if 0.
      biases: which of "qkvo" have one.
      rotary: turns queries and keys by angles that grow with the position.
      causal: looks back only.
      fused: one kernel for queries, keys and values, split afterwards.
    """

    heads: int = 2
    kv_heads: int = 0
    size: int = 2
    width: int = 0
    biases: str = ""
    rotary: bool = False
    causal: bool = False
    fused: bool = False

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        kv = math.gcd(self.kv_heads or self.heads, self.heads)
        q, k, v = self._qkv(p, x, kv)
        if self.rotary:
            q, k = _rotate(q), _rotate(k)
        q = q.reshape(*q.shape[:2], kv, self.heads // kv, self.size)
        scores = jnp.einsum("ntkgd,nskd->nkgts", q, k) / self.size**0.5
        if self.causal:
            past = jnp.tril(jnp.ones(scores.shape[-2:], bool))
            scores = jnp.where(past, scores, -1e30)
        out = jnp.einsum("nkgts,nskd->ntkgd", jax.nn.softmax(scores), v)
        out = out.reshape(*x.shape[:2], self.heads, self.size)
        width = self.width or x.shape[-1]
        y = jnp.einsum("nthd,hdc->ntc", out, p("o", self.heads, self.size, width))
        return y + p("o_bias", width) if "o" in self.biases else y

    def _qkv(self, p: Scope, x: jax.Array, kv: int) -> list[jax.Array]:
        counts = {"q": self.heads, "k": kv, "v": kv}
        if self.fused:
            total = sum(counts.values()) * self.size
            y = Dense(total, bias=self.biases != "")(p, x)
            ends = np.cumsum([n * self.size for n in counts.values()])[:-1]
            parts = jnp.split(y, ends, axis=-1)
            return [y.reshape(*y.shape[:2], -1, self.size) for y in parts]
        found = []
        for name, heads in counts.items():
            kernel = p(name, x.shape[-1], heads, self.size)
            y = jnp.einsum("ntc,chd->nthd", x, kernel)
            if name in self.biases:
                y = y + p(f"{name}_bias", heads, self.size)
            found.append(y)
        return found


def _rotate(x: jax.Array) -> jax.Array:
    half = x.shape[-1] // 2
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    angle = jnp.arange(x.shape[1])[:, None, None] / (1 + jnp.arange(half))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos, rest], -1)


# Weights that are shared or stacked.


@block
class Embed:
    """Tokens to vectors; `TiedHead` uses the table again."""

    vocabulary: int
    width: int

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        return p.shared("table", self.vocabulary, self.width)[x]


@block
class TiedHead:
    """Back to tokens by the table of `Embed`, after a kernel if the widths differ."""

    vocabulary: int

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        table = p.shared("table", self.vocabulary, x.shape[-1])
        if x.shape[-1] != table.shape[-1]:
            x = x @ p("kernel", x.shape[-1], table.shape[-1])
        return x @ table.T


@block
class Twice:
    """The same square kernel two times."""

    activation: str
    bias: bool = True

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = ACTIVATIONS[self.activation](Dense(x.shape[-1], self.bias)(p, x))
        return x


@block
class Autoencoder:
    """A kernel and its transpose."""

    width: int
    activation: str

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        kernel = p("kernel", x.shape[-1], self.width)
        return ACTIVATIONS[self.activation](x @ kernel) @ kernel.T


@block
class Scan:
    """Stacked layers in a loop: a chain of dense layers, or of residual blocks."""

    depth: int
    activation: str
    hidden: int = 0

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        c, act = x.shape[-1], ACTIVATIONS[self.activation]
        if not self.hidden:
            layers = p("kernel", self.depth, c, c), p("bias", self.depth, c)
            step = lambda x, layer: (act(x @ layer[0] + layer[1]), None)
        else:
            layers = (
                p("in", self.depth, c, self.hidden),
                p("bias", self.depth, self.hidden),
                p("out", self.depth, self.hidden, c),
            )
            step = lambda x, w: (x + act(x @ w[0] + w[1]) @ w[2], None)
        return lax.scan(step, x, layers)[0]


@block
class Recurrent:
    """A simple recurrent network over a sequence; returns the last state."""

    width: int
    activation: str

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        inward = p("in", x.shape[-1], self.width)
        again, bias = p("again", self.width, self.width), p("bias", self.width)
        act = ACTIVATIONS[self.activation]
        step = lambda h, x: (act(x @ inward + h @ again + bias), None)
        start = jnp.zeros((x.shape[0], self.width), x.dtype)
        return lax.scan(step, start, jnp.swapaxes(x, 0, 1))[0]


@block
class HiddenTensor:
    """A hidden layer whose units are on two axes."""

    rows: int
    columns: int
    activation: str

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        units, width = (self.rows, self.columns), x.shape[-1]
        h = jnp.einsum("...c,cab->...ab", x, p("in", width, *units))
        h = ACTIVATIONS[self.activation](h + p("bias", *units))
        return jnp.einsum("...ab,abd->...d", h, p("out", *units, width))


@block
class Experts:
    """A mixture of networks with one hidden layer each, weighted by a softmax."""

    count: int
    width: int
    activation: str

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        c, e = x.shape[-1], self.count
        weights = jax.nn.softmax(x @ p("router", c, e))
        h = jnp.einsum("...c,ecf->...ef", x, p("in", e, c, self.width))
        h = ACTIVATIONS[self.activation](h + p("bias", e, self.width))
        y = jnp.einsum("...ef,efd->...ed", h, p("out", e, self.width, c))
        return jnp.einsum("...e,...ed->...d", weights, y)
