"""Runs networks over images: logits and the values at every layer."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analysis.subject import Images
from symjax_lib import stitching, tracing
from train.configs import UserError


def taps(network: stitching.Network, images: jax.Array) -> dict[str, jax.Array]:
    """Returns the value of every layer, in evaluation mode.

    Args:
      network: any.
      images: `[N, ...]`, normalised.

    Returns:
      Features `[N, ..., C]` by name.

    Raises:
      UserError: a value is not finite.
    """
    parts = [_run(network.predict, network.variables, x)[1] for x in _chunks(images)]
    values = jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise UserError(
                f"analysis: layer {name} has values that are not finite, although no "
                "training loss was; train the run again with a smaller learning rate."
            )
    return values


def pairs(
    networks: Sequence[stitching.Network], indices: np.ndarray, images: jax.Array
) -> Iterator[tuple[dict[str, jax.Array], dict[str, jax.Array]]]:
    """Goes through pairs of networks; no more than two have their values in memory.

    Args:
      networks: any.
      indices: `[P, 2]` of the pairs, best ordered by their first.
      images: `[N, ...]`, normalised.

    Yields:
      What `taps` returns of the first and of the second network of each pair.
    """
    held: dict[int, dict[str, jax.Array]] = {}
    for pair in indices.tolist():
        held = {i: held[i] for i in pair if i in held}
        for i in pair:
            if i not in held:
                held[i] = taps(networks[i], images)
        yield held[pair[0]], held[pair[1]]


def logits(network: stitching.Network, images: jax.Array) -> np.ndarray:
    """Returns the outputs `[N, classes]` of a network, in evaluation mode.

    Args:
      network: any.
      images: `[N, ...]`, normalised.
    """
    parts = [_run(network.predict, network.variables, x)[0] for x in _chunks(images)]
    return np.concatenate(parts)


def accuracy(network: stitching.Network, data: Images) -> float:
    """Returns the part of the images that a network classifies as labelled.

    Args:
      network: any.
      data: images and labels.
    """
    right = logits(network, data.images).argmax(axis=-1) == np.asarray(data.labels)
    return right.mean().item()


_CHUNK = 500


def _chunks(images: jax.Array) -> list[jax.Array]:
    return [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]


# One program for logits and taps: compiling takes longer than running it.
@functools.partial(jax.jit, static_argnums=0)
def _run(predict: Callable, variables: Any, images: jax.Array) -> Any:
    return tracing.taps(predict)(variables, images)
