"""The two halves of stitched networks, run as they are needed.

Many stitches at one cut share the front. Their backs have the same weights and differ
in what comes in, and in batch statistics: `vmap` over those leaves the weights alone,
so a convolution sees one large batch; see `places` for how many at once.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from symjax_lib import tracing
from symjax_lib.stitching.network import Network

Cut = tuple[str, str]  # the tap of the front and that of the back

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


def cut_of(layer: str | Cut) -> Cut:
    """Returns the taps of front and back; one name stands for both."""
    return (layer, layer) if isinstance(layer, str) else layer


def chunks(n: int) -> list[slice]:
    """Returns parts of n images that are run at once."""
    return [slice(i, min(i + _CHUNK, n)) for i in range(0, n, _CHUNK)]


def value_at(network: Network, layer: str, images: jax.Array) -> Any:
    """Returns shape and type of the value at a tap."""
    before = tracing.split(network.update, layer)[0]
    return jax.eval_shape(before, network.variables, images)[0]


def make_front(front: Network, back: Network, cut: Cut) -> Callable[[jax.Array], Any]:
    """Returns `images -> (value, rest)`, the value at the resolution of the back."""

    def run(images: jax.Array) -> Any:
        expected = value_at(back, cut[1], images).shape
        return _front(front.predict, cut[0], expected, front.variables, images)

    return run


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _front(
    predict: Callable,
    layer: str,
    expected: tuple[int, ...],
    variables: Any,
    images: jax.Array,
) -> Any:
    value, rest = tracing.split(predict, layer)[0](variables, images)
    shape = (*expected[:-1], value.shape[-1])
    if value.ndim == len(shape) == 4 and value.shape != shape:
        value = jax.image.resize(value, shape, "linear")
    return value, rest


def moved(
    update: Callable, layer: str, variables: Any, images: jax.Array
) -> list[bool]:
    """Tells which leaves of the variables a pass in training mode moves on.

    Those before the cut are the front's, which has none to give as it runs in
    evaluation mode.
    """
    _, later = tracing.downstream(update, layer)(variables, images)
    if jax.tree.structure(later) != jax.tree.structure(variables):
        raise ValueError(
            "stitching: update must return its variables as it was given them, with "
            "statistics moved on; its tree has another structure."
        )
    return jax.tree.leaves(later)


def take(variables: Any, flags: list[bool]) -> list[jax.Array]:
    """Returns the leaves that move."""
    pairs = zip(jax.tree.leaves(variables), flags, strict=True)
    return [leaf for leaf, flag in pairs if flag]


def put(variables: Any, flags: list[bool], leaves: Any) -> Any:
    """Returns the variables with other leaves in the places that move."""
    rest, old = iter(leaves), jax.tree.leaves(variables)
    new = [next(rest) if flag else leaf for leaf, flag in zip(old, flags, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(variables), new)


def run_training(
    update: Callable,
    layer: str,
    variables: Any,
    stitched: jax.Array,
    rest: Any,
    images: jax.Array,
) -> tuple[jax.Array, list[jax.Array]]:
    """Runs the back in training mode: logits, and the leaves that moved."""
    flags = moved(update, layer, variables, images)

    def outputs(variables: Any, images: jax.Array) -> tuple[Any, list[jax.Array]]:
        logits, updated = update(variables, images)
        return logits, take(updated, flags)

    return tracing.split(outputs, layer)[1](stitched, rest, variables, images)


def run_evaluation(
    predict: Callable,
    layer: str,
    variables: Any,
    stitched: jax.Array,
    rest: Any,
    images: jax.Array,
) -> jax.Array:
    """Runs the back in evaluation mode: logits."""
    return tracing.split(predict, layer)[1](stitched, rest, variables, images)
