"""What stitching needs to know of a network: two functions of its variables."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax


class Network(NamedTuple):
    """A trained network, independent of the library it is written in.

    Networks of one architecture should share the functions, so that what is compiled
    for one serves all.

    Attributes:
      predict: `(variables, images) -> logits`, in evaluation mode.
      update: `(variables, images) -> (logits, variables)`, in training mode: with batch
        statistics, and with their running averages moved on.
      variables: a pytree.
    """

    predict: Callable[[Any, jax.Array], jax.Array]
    update: Callable[[Any, jax.Array], tuple[jax.Array, Any]]
    variables: Any


def from_linen(model: nn.Module, variables: Any) -> Network:
    """Makes a `Network` of a flax.linen model that takes `train` as a keyword.

    Args:
      model: a linen module called as `model.apply(variables, images, train=...)`, with
        its running averages, if it has any, in the collection "batch_stats".
      variables: as returned by `model.init`.

    Returns:
      A `Network`; for equal models the functions are the same objects.

    Example:
      >>> from symjax_lib import models
      >>> model = models.MLP(features=(4,))
      >>> images = jax.numpy.ones((5, 3))
      >>> network = from_linen(model, model.init(jax.random.key(0), images))
      >>> network.predict(network.variables, images).shape
      (5, 10)
    """
    return Network(*_functions(model), variables)


@functools.cache
def _functions(model: nn.Module) -> tuple[Callable, Callable]:
    def predict(variables: Any, images: jax.Array) -> jax.Array:
        return model.apply(variables, images, train=False)  # pyright: ignore

    def update(variables: Any, images: jax.Array) -> tuple[jax.Array, Any]:
        logits, updated = model.apply(
            variables, images, train=True, mutable=["batch_stats"]
        )
        return logits, {**variables, **updated}

    return predict, update
