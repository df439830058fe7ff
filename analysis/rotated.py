"""A trained network with a frozen map in it, whose later layers learn on."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from symjax_lib import groups
from train import ensemble, step

ROTATION = "rotation"


class Rotated(nn.Module):
    """A model with a 1x1 convolution `[n, n]` after one of its layers.

    Attributes:
      model: any that takes `train`.
      layer: name of a layer of it, whose output has `channels`.
      channels: n.
    """

    model: nn.Module
    layer: str
    channels: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns logits; the map is the parameter `rotation`."""
        eye = lambda key: jnp.eye(self.channels)
        matrix = self.param(ROTATION, eye)

        def rotate(call: Any, args: tuple, kwargs: dict, context: Any) -> Any:
            y = call(*args, **kwargs)
            here = context.module.name == self.layer
            return y @ matrix.T if here and context.method_name == "__call__" else y

        with nn.intercept_methods(rotate):
            return self.model(images, train=train)  # pyright: ignore[reportCallIssue]


def freeze(
    optimiser: optax.GradientTransformation, layers: tuple[str, ...], layer: str
) -> optax.GradientTransformation:
    """Makes an optimiser leave all but the later layers alone.

    Args:
      optimiser: of the others.
      layers: of the model, in order.
      layer: after which the map is.
    """
    later = layers[layers.index(layer) + 1 :]

    def labels(params: Any) -> Any:
        model = {
            name: _all("learns" if name in later else "frozen", part)
            for name, part in params["model"].items()
        }
        return {"model": model, ROTATION: "frozen"}

    each: Any = {"learns": optimiser, "frozen": optax.set_to_zero()}
    return optax.multi_transform(each, labels)


def _all(value: str, tree: Any) -> Any:
    return jax.tree.map(lambda _: value, tree)


def start(
    functions: ensemble.Functions, variables: Any, keys: jax.Array, kind: str
) -> ensemble.Functions:
    """Makes training begin at trained networks, each with a random map of its own.

    Args:
      functions: of a `Rotated`.
      variables: of the networks, stacked over seeds.
      keys: `[S]`, one for each, consumed.
      kind: of the map, one of `groups.KINDS`.

    Returns:
      Functions whose `init` gives these networks.
    """

    def init(seed_keys: jax.Array) -> step.TrainState:
        state = functions.init(seed_keys)
        n = state.variables["params"][ROTATION].shape[-1]
        draw = lambda key: groups.as_matrix(groups.sample(key, kind, n))
        # Copies, because a step reuses the memory of its state.
        copies = jax.tree.map(jnp.array, variables)
        params = {"model": copies["params"], ROTATION: jax.vmap(draw)(keys)}
        return dataclasses.replace(state, variables={**copies, "params": params})

    return functions._replace(init=init)
