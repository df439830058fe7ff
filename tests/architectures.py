"""Small architectures as lists of blocks, with their parameters in a flat dictionary.

A block is a function `block(scope, x)`, where `scope(name, *shape)` is a parameter.
Channels are last. Every block takes any number of channels, so any list of blocks that
suits the kind of input (vectors, sequences, images, tokens) is an architecture.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib.tracing import tap

EPS = 1e-3

ACTIVATIONS: dict[str, Callable] = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "abs": jnp.abs,
    "square": jnp.square,
    "cube": lambda x: x**3,
    "quadratic": lambda x: x**2 + x,
    "squared_relu": lambda x: jax.nn.relu(x) ** 2,
    "relu6": jax.nn.relu6,
    "identity": lambda x: x,
}


class Scope:
    """Parameters by name; with a generator, those that are missing are drawn."""

    def __init__(
        self, variables: dict[str, Any], rng: Any = None, prefix: str = ""
    ) -> None:
        self.variables, self._rng, self._prefix = variables, rng, prefix

    def inner(self, name: str) -> "Scope":
        """Returns a scope for a block inside a block."""
        return Scope(self.variables, self._rng, f"{self._prefix}{name}.")

    def __call__(self, name: str, *shape: int) -> jax.Array:
        return self.shared(self._prefix + name, *shape)

    def shared(self, name: str, *shape: int) -> jax.Array:
        """Returns a parameter that other blocks may use too."""
        if self._rng is not None and name not in self.variables:
            fan = max(math.prod(shape[:-1]), 1) ** 0.5
            new = self._rng.normal(size=shape) / fan
            self.variables[name] = np.abs(new) if "var" in name else new
        return jnp.asarray(self.variables[name])


Block = Callable[[Scope, jax.Array], jax.Array]
T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def block(cls: type[T]) -> type[T]:
    return dataclasses.dataclass(frozen=True)(cls)


def run(blocks: Sequence[Block], scope: Scope, x: jax.Array) -> jax.Array:
    for i, block in enumerate(blocks):
        x = block(scope.inner(f"{i}{type(block).__name__}"), x)
    return x


@block
class Architecture:
    """Blocks in a row, and the shape of their input.

    Attributes:
      input: `(batch, channels)`, `(batch, length, channels)` or `(batch, height, width,
        channels)`; or tokens `(batch, length)` if there is a vocabulary.
      blocks: each result of which is a tap.
      vocabulary: number of tokens.
    """

    input: tuple[int, ...]
    blocks: tuple[Block, ...]
    vocabulary: int = 0

    def example(self, seed: int = 0) -> jax.Array:
        rng = np.random.default_rng(seed)
        if not self.vocabulary:
            return jnp.asarray(rng.normal(size=self.input))
        tokens = rng.integers(0, self.vocabulary, self.input)
        tokens[(0,) * tokens.ndim] = self.vocabulary - 1
        return jnp.asarray(tokens)

    def init(self, seed: int = 1) -> dict[str, jax.Array]:
        scope = Scope({}, np.random.default_rng(seed))
        jax.eval_shape(lambda x: self._run(scope, x), self.example())
        return jax.tree.map(jnp.asarray, scope.variables)

    def apply(self, variables: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return self._run(Scope(variables), x)

    def _run(self, scope: Scope, x: jax.Array) -> jax.Array:
        for i, block in enumerate(self.blocks):
            name = f"{i}{type(block).__name__}"
            x = tap(block(scope.inner(name), x), name)
        return x
