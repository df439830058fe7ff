"""What stitching needs to know of a network: two functions of its variables."""

import functools
import inspect
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

    Example:
      A plain function without batch statistics, which is the same in both modes:

      >>> mlp = lambda v, x: jax.nn.relu(x @ v["in"]) @ v["out"]
      >>> v = {"in": jax.numpy.ones((3, 4)), "out": jax.numpy.ones((4, 2))}
      >>> network = Network(mlp, lambda v, x: (mlp(v, x), v), v)
      >>> network.predict(network.variables, jax.numpy.ones((5, 3))).shape
      (5, 2)
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

    Raises:
      TypeError: the model does not take `train`.

    Example:
      >>> from symjax_lib import models
      >>> model = models.MLP(features=(4,))
      >>> images = jax.numpy.ones((5, 3))
      >>> network = from_linen(model, model.init(jax.random.key(0), images))
      >>> network.predict(network.variables, images).shape
      (5, 10)
    """
    if "train" not in inspect.signature(model.__call__).parameters:
        raise TypeError(
            f"from_linen: {type(model).__name__}.__call__ must take train=False as a "
            "keyword; make a Network of two functions of your own instead."
        )
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
