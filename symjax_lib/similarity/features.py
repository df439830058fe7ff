"""The channel policy of the measures: what is accepted, matched, centred and scaled.

Features are `[N, ..., C]`: samples, space (any number of axes, or none), channels.
Groups act on the channels only; a sample at a place in space is one observation.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.typing import ArrayLike


def check(caller: str, x: ArrayLike, y: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Returns two features as arrays of one float dtype, or says what is wrong.

    Args:
      caller: the public function to name in an error.
      x: `[N, ..., C]` features.
      y: `[N, ..., C']` features on the same inputs; space may differ.

    Returns:
      `x` and `y` in their common dtype, which is at least float32.

    Raises:
      ValueError: an argument is not `[N, ..., C]` or is empty, holds a value that is
        not finite (not checked under `jit`), or the numbers of samples differ.
    """
    x, y = as_features(caller, "x", x), as_features(caller, "y", y)
    if x.shape[0] != y.shape[0]:
        raise ValueError(
            f"{caller}: x has {x.shape[0]} samples and y has {y.shape[0]}; both must "
            "be features of the same inputs, in the same order."
        )
    dtype = jnp.promote_types(x.dtype, y.dtype)
    return x.astype(dtype), y.astype(dtype)


def as_features(caller: str, name: str, x: ArrayLike) -> jax.Array:
    """Returns features as an array of a float dtype, at least float32.

    Args:
      caller: the public function to name in an error.
      name: of the argument.
      x: `[N, ..., C]`.

    Raises:
      ValueError: it has another shape, is empty, complex, or holds a value that is not
        finite (not checked under `jit`).
    """
    x = jnp.asarray(x)
    if jnp.iscomplexobj(x):
        raise ValueError(
            f"{caller}: {name} is complex; pass its real and imaginary "
            "parts as channels of their own."
        )
    if x.ndim < 2 or x.size == 0:
        raise ValueError(
            f"{caller}: {name} must be features (N, ..., C) with at least one sample "
            f"and one channel, got shape {x.shape}."
        )
    # A sum that is finite has finite terms, and is the faster one to find.
    finite = jnp.isfinite(_sum(x))
    if not isinstance(finite, Tracer) and not (finite or _all_finite(x)):
        raise ValueError(
            f"{caller}: {name} has values that are not finite; leave out a network "
            "that diverged, or the samples where it overflows."
        )
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


_sum = jax.jit(jnp.sum)


@jax.jit
def _all_finite(x: jax.Array) -> jax.Array:
    return jnp.all(jnp.isfinite(x))


def match(caller: str, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Brings checked features to one shape, as the authors' code does.

    Along every axis of space the smaller is repeated (nearest neighbour), and the
    narrower gets channels of zeros behind its own.

    Args:
      caller: the public function to name in an error.
      x: `[N, ..., C]` features.
      y: `[N, ..., C']` features, with as many axes as `x`.

    Returns:
      `x` and `y`, both of the larger shape.

    Raises:
      ValueError: the numbers of axes differ, or one resolution is not a whole multiple
        of the other.
    """
    if x.ndim != y.ndim:
        raise ValueError(
            f"{caller}: x has shape {x.shape} and y {y.shape}; both must have the same "
            "number of axes. Reshape features without space to (N, 1, 1, C)."
        )
    space = list(zip(x.shape[1:-1], y.shape[1:-1], strict=True))
    if any(max(sizes) % min(sizes) for sizes in space):
        raise ValueError(
            f"{caller}: the resolutions of x {x.shape} and y {y.shape} are not whole "
            "multiples of each other; resize one of them first."
        )
    shape = tuple(map(max, x.shape, y.shape))
    return _grow(x, shape), _grow(y, shape)


def unit_channels(x: ArrayLike, *, center: bool = False) -> jax.Array:
    """Divides every channel by its norm over all observations.

    Args:
      x: `[N, ..., C]` features.
      center: subtract from every channel its mean over all observations first.

    Returns:
      `[N, ..., C]`. A channel that is zero (with `center`, constant) comes out zero.

    Example:
      >>> unit_channels(jnp.array([[4.0, 0.0], [0.0, 0.0]])).tolist()
      [[1.0, 0.0], [0.0, 0.0]]
    """
    x = as_features("unit_channels", "x", x)
    return _unit_channels(x, unit_map(x, center=center))


@jax.jit
def _unit_channels(x: jax.Array, unit_map: "UnitMap") -> jax.Array:
    return unit_map(x)


class UnitMap(NamedTuple):
    """What brings channels to unit norm: two subtractions, two multiplications.

    Attributes:
      first: `[C]`, of the first observation, or 0.
      mean: `[C]`, of what is left, or 0.
      half: `[C]`, a power of two.
      rest: `[C]`, what is left of the reciprocal of the norm; 0 for a channel of 0.
    """

    first: jax.Array
    mean: jax.Array
    half: jax.Array
    rest: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., C]`."""
        # A mean is rounded. Shifted by a row first, constant channels are exactly zero.
        return (x - self.first - self.mean) * self.half * self.rest

    def by_channel(self) -> "UnitMap":
        """Returns the same for `[C, N, P]`."""
        return jax.tree.map(lambda leaf: leaf[:, None, None], self)


def unit_map(x: jax.Array, *, center: bool) -> UnitMap:
    """Finds what brings every channel of `[..., C]` to unit norm over all other axes.

    It reads `x`, and no array as large as it is written.

    Args:
      x: `[..., C]`.
      center: subtract from every channel its mean first.
    """
    # Programs of their own: in one XLA would write what they share. Outside of them
    # `flatten` would be a copy.
    zero = jnp.zeros(x.shape[-1], x.dtype)
    first, mean = _center(x) if center else (zero, zero)
    return _unit_map(x, first, mean)


@jax.jit
def _center(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = flatten(x)
    return x[0], (x - x[0]).mean(axis=0)


@jax.jit
def _unit_map(x: jax.Array, first: jax.Array, mean: jax.Array) -> UnitMap:
    x = flatten(x)
    largest = jnp.maximum(x.max(axis=0) - first - mean, first - x.min(axis=0) + mean)
    # Squares of the values as they are could overflow or vanish. The power of two is
    # applied in halves, because its reciprocal alone could as well.
    exponent = jnp.frexp(largest)[1]
    low = exponent // 2
    power = lambda exponent: jnp.ldexp(jnp.ones_like(first), -exponent)
    half, other = power(low), power(exponent - low)
    norm = jnp.sqrt(jnp.sum(((x - first - mean) * half * other) ** 2, axis=0))
    rest = jnp.where(norm > 0, other / jnp.where(norm > 0, norm, 1), 0)
    return UnitMap(first, mean, half, rest)


def flatten(x: jax.Array) -> jax.Array:
    """Returns `[observations, C]`."""
    return x.reshape(-1, x.shape[-1])


def centered(x: jax.Array) -> jax.Array:
    """Subtracts from every column of `[observations, C]` its mean."""
    # A mean is rounded. Shifted by a row first, constant columns are exactly zero.
    x = x - x[:1]
    return x - x.mean(axis=0)


def unit(x: jax.Array, axis: int | None = None) -> jax.Array:
    """Divides by the norm along an axis, or of all entries; zero stays zero."""
    # Squares of the values as they are could overflow or vanish.
    x = _divide(x, jnp.max(jnp.abs(x), axis, keepdims=True))
    return _divide(x, jnp.sqrt(jnp.sum(x * x, axis, keepdims=True)))


def _divide(x: jax.Array, norm: jax.Array) -> jax.Array:
    # The reciprocal of a very large norm would be flushed to zero.
    shrink = jnp.where(norm > 1e30, 2.0**-10, 1).astype(x.dtype)
    return x * shrink / jnp.where(norm > 0, norm * shrink, 1)


def _grow(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    for axis in range(1, x.ndim - 1):
        x = jnp.repeat(x, shape[axis] // x.shape[axis], axis)
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, shape[-1] - x.shape[-1])])


POLICIES: Mapping[str, Callable[[jax.Array], jax.Array]] = MappingProxyType(
    {
        "channels": lambda x: x,
        "flatten": lambda x: x.reshape(x.shape[0], -1),
        "average": lambda x: x.mean(axis=tuple(range(1, x.ndim - 1))),
        "positions": flatten,
    }
)
"""What becomes of space before features `[N, ..., C]` are compared.

"channels" keeps it, as in the paper: groups act on channels, and kernels of samples
sum over positions. "flatten" makes every channel at every position a channel of its
own, `[N, P C]`, "average" takes the mean over positions, `[N, C]`, and "positions"
makes every position of every sample a sample of its own, `[N P, C]`.
"""
