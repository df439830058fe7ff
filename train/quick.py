"""Functions of models with the layers that are faster on a CPU, as in training."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from train import batch_norm, winograd


@functools.cache
def quick(function: Callable) -> Callable:
    """Returns the same function, whose convolutions and BatchNorms are replaced.

    Args:
      function: applies a linen model; for one object there is one result.
    """

    def run(*args: Any) -> Any:
        with (
            nn.intercept_methods(winograd.intercept),
            nn.intercept_methods(batch_norm.intercept),
        ):
            return function(*args)

    return run
