"""The two halves of a stitched network, run as they are needed."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from symjax_lib import tracing
from symjax_lib.stitching.network import Network

_CHUNK = 500


def check_data(caller: str, images: Any, labels: Any, batch_size: int) -> None:
    """Raises a `ValueError` if these are no data to fit on or measure with."""
    if batch_size < 1:
        raise ValueError(f"{caller}: batch_size must be at least 1, got {batch_size}.")
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer) or labels.ndim != 1:
        raise ValueError(
            f"{caller}: labels must be [N] integers, got {labels.dtype} of shape "
            f"{labels.shape}; pass one_hot.argmax(-1) for one-hot labels."
        )
    if len(images) != len(labels):
        raise ValueError(f"{caller}: {len(images)} images but {len(labels)} labels.")
    if len(images) < batch_size:
        raise ValueError(
            f"{caller}: {len(images)} images do not fill a batch of {batch_size}; pass "
            "more images or a smaller batch_size."
        )


def front_features(front: Network, layer: str, images: jax.Array) -> Any:
    """Runs the front once over all images, as it does not change while fitting."""
    parts = [
        run_front(front.predict, layer, front.variables, images[chunk])
        for chunk in chunks(len(images))
    ]
    return jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)


def chunks(n: int) -> list[slice]:
    """Returns parts of n images that are run at once."""
    return [slice(i, min(i + _CHUNK, n)) for i in range(0, n, _CHUNK)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def run_front(predict: Callable, layer: str, variables: Any, images: jax.Array) -> Any:
    """Returns value and rest at a layer."""
    return tracing.split(predict, layer)[0](variables, images)


def back_update(
    update: Callable,
    layer: str,
    value: jax.Array,
    rest: Any,
    variables: Any,
    images: jax.Array,
) -> tuple[jax.Array, Any]:
    """Runs the back in training mode; statistics from before the cut stay as they are.

    Those are the front's, which runs in evaluation mode and has none to give.
    """
    later = tracing.downstream(update, layer)(variables, images)

    def moved(variables: Any, images: jax.Array) -> list[jax.Array]:
        outputs = jax.tree.leaves(update(variables, images))
        flags = jax.tree.leaves(later)
        return [out for out, flag in zip(outputs, flags, strict=True) if flag]

    outputs = iter(tracing.split(moved, layer)[1](value, rest, variables, images))
    take = lambda flag, old: next(outputs) if flag else old
    return jax.tree.map(take, later, (jnp.zeros(()), variables))
