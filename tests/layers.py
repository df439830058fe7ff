"""Blocks of architectures that are one layer: maps, norms, gains and shapes."""

import math

import jax
import jax.numpy as jnp
from architectures import ACTIVATIONS, EPS, Scope, block
from jax import lax

# Maps of channels.


@block
class Dense:
    width: int
    bias: bool = True

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        y = x @ p("kernel", x.shape[-1], self.width)
        return y + p("bias", self.width) if self.bias else y


@block
class Transposed:
    """A dense layer with its kernel the other way round, and channels first between."""

    width: int

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        kernel = p("kernel", self.width, x.shape[-1])
        y = jnp.einsum("dc,c...->d...", kernel, jnp.moveaxis(x, -1, 0))
        return jnp.moveaxis(y, 0, -1) + p("bias", self.width)


@block
class Conv:
    """A convolution of images; depthwise if there are as many groups as channels."""

    width: int
    window: int = 3
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    bias: bool = True
    upsample: int = 1

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        groups = math.gcd(math.gcd(self.groups, x.shape[-1]), self.width)
        shape = (self.window, self.window, x.shape[-1] // groups, self.width)
        y = lax.conv_general_dilated(
            x,
            p("kernel", *shape),
            (self.stride,) * 2,
            "SAME" if self.upsample == 1 else ((1, 1), (1, 1)),
            lhs_dilation=(self.upsample,) * 2,
            rhs_dilation=(self.dilation,) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        return y + p("bias", self.width) if self.bias else y


@block
class Depthwise:
    """A convolution of every channel alone, `multiplier` results for each."""

    multiplier: int = 1

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        return Conv(channels * self.multiplier, groups=channels)(p, x)


@block
class Act:
    name: str

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        return ACTIVATIONS[self.name](x)


# Normalisations.


Axes = int | tuple[int, ...]


@block
class BatchNorm:
    train: bool = False

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        c, batch = x.shape[-1], tuple(range(x.ndim - 1))
        mean = x.mean(batch) if self.train else p("mean", c)
        var = x.var(batch) if self.train else p("var", c)
        return (x - mean) * lax.rsqrt(var + EPS) * p("gain", c) + p("bias", c)


def _standardise(x: jax.Array, axes: Axes, center: bool = True) -> jax.Array:
    x = x - x.mean(axes, keepdims=True) if center else x
    return x * lax.rsqrt((x**2).mean(axes, keepdims=True) + EPS)


@block
class LayerNorm:
    affine: bool = True

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        c, y = x.shape[-1], _standardise(x, -1)
        return y * p("gain", c) + p("bias", c) if self.affine else y


@block
class LayerNormOfAll:
    """Over positions too, with a gain for each position and channel."""

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        y = _standardise(x, tuple(range(1, x.ndim)))
        return y * p("gain", *x.shape[1:])


@block
class RMSNorm:
    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        return _standardise(x, -1, center=False) * p("gain", x.shape[-1])


@block
class GroupNorm:
    groups: int = 2

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        c = x.shape[-1]
        groups = math.gcd(self.groups, c)
        y = x.reshape(*x.shape[:-1], groups, c // groups)
        y = _standardise(y, (*range(1, x.ndim - 1), x.ndim)).reshape(x.shape)
        return y * p("gain", c) + p("bias", c)


@block
class Normalise:
    """Every vector to length 1."""

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        return x / jnp.sqrt((x**2).sum(-1, keepdims=True))


@block
class WeightNorm:
    """A dense layer whose kernel has columns of the lengths of a gain."""

    width: int

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        v = p("kernel", x.shape[-1], self.width)
        kernel = p("gain", self.width) * v / jnp.sqrt((v**2).sum(0))
        return x @ kernel + p("bias", self.width)


# Gains and positions.


@block
class LayerScale:
    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        return x * p("scale", x.shape[-1])


@block
class ScalarGain:
    """One number for everything (ReZero, SkipInit)."""

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        return x * p("scale")


@block
class Positions:
    """Encodings that are added to a sequence, learnt or sinusoidal."""

    learnt: bool = True

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        length, c = x.shape[-2:]
        if self.learnt:
            return x + p("table", length, c)
        return x + jnp.sin(jnp.arange(1.0, length + 1)[:, None] ** (jnp.arange(c) + 1))


# Shapes.


@block
class MaxPool:
    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        window = (1, 2, 2, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "SAME")


@block
class AvgPool:
    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        window = (1, 2, 2, 1)
        return lax.reduce_window(x, 0.0, lax.add, window, window, "SAME") / 4


@block
class GlobalPool:
    """The mean over all positions, or the maximum."""

    kind: str = "mean"

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        return getattr(x, self.kind)(tuple(range(1, x.ndim - 1)))


@block
class SequencePool:
    """A mean over positions by learnt weights (CCT)."""

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        weights = jax.nn.softmax(Dense(1)(p, x), axis=1)
        return jnp.einsum("ntk,ntc->nkc", weights, x)[:, 0]


@block
class Flatten:
    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0], -1)


@block
class Reverse:
    """The channels in the opposite order."""

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        return x[..., ::-1]


@block
class Shuffle:
    """The channels dealt out to groups (ShuffleNet)."""

    groups: int = 2

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        groups = math.gcd(self.groups, x.shape[-1])
        y = x.reshape(*x.shape[:-1], groups, -1)
        return jnp.swapaxes(y, -1, -2).reshape(x.shape)


@block
class Slice:
    """The last channel is dropped, unless it is the only one."""

    def __call__(self, p: Scope, x: jax.Array) -> jax.Array:
        return x[..., : max(x.shape[-1] - 1, 1)]
