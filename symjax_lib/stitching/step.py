"""One step of the search of many stitches at one cut.

In three programs: the long one, through the back, is the same for all stitches of a cut
and compiled once; those before and after it are of the stitches alone.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from symjax_lib.stitching import batches, halves
from symjax_lib.stitching.maps import Params, Stitch


class Back(NamedTuple):
    """The part of the network behind the cut.

    Attributes:
      function: its `update` in training mode or else its `predict`.
      layer: the tap of the cut.
      training: which of the two it is.
    """

    function: Callable
    layer: str
    training: bool


class Way(NamedTuple):
    """How one stitch is searched.

    Attributes:
      stitch: its class.
      optimizer: of its parameters.
    """

    stitch: Stitch
    optimizer: optax.GradientTransformation


def step(
    ways: tuple[Way, ...],
    back: Back,
    params: list[Params],
    states: list[Any],
    variables: Any,
    data: batches.Batch,
    held: jax.Array,
) -> tuple[list[Params], list[Any], jax.Array]:
    """Takes a step of each search.

    Args:
      ways: `K` of them.
      back: what the stitches go into.
      params: of each stitch.
      states: of each optimizer.
      variables: of the back; they stay.
      data: a batch.
      held: `[K]`, whether parameters with the name "scale" stay.

    Returns:
      The next parameters and states, and the losses `[K]` from before.
    """
    stitched = apply(tuple(way.stitch for way in ways), params, data.value)
    losses, slopes = _back(back, stitched, variables, data)
    return _update(ways, params, states, data.value, losses, slopes, held)


@functools.partial(jax.jit, static_argnums=0)
def apply(
    stitches: tuple[Stitch, ...], params: list[Params], value: jax.Array
) -> jax.Array:
    """Returns what each stitch makes of a value, `[K, ...]`."""
    each = zip(stitches, params, strict=True)
    return jnp.stack([stitch.apply(at, value) for stitch, at in each])


@functools.partial(jax.jit, static_argnums=0)
def _back(
    back: Back, stitched: jax.Array, variables: Any, data: batches.Batch
) -> tuple[jax.Array, jax.Array]:
    """Returns cross-entropies `[K]`, and gradients at the cut `[K, ...]`."""

    def loss(stitched: jax.Array) -> jax.Array:
        args = back.layer, variables, stitched, data.rest, data.images
        if back.training:
            logits = halves.run_training(back.function, *args)[0]
        else:
            logits = halves.run_evaluation(back.function, *args)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, data.labels)
        return losses.mean()

    return jax.vmap(jax.value_and_grad(loss))(stitched)


@functools.partial(jax.jit, static_argnums=0)
def _update(
    ways: tuple[Way, ...],
    params: list[Params],
    states: list[Any],
    value: jax.Array,
    losses: jax.Array,
    slopes: jax.Array,
    held: jax.Array,
) -> tuple[list[Params], list[Any], jax.Array]:
    results = [
        _update_one(*each, value=value)
        for each in zip(ways, params, states, slopes, held, strict=True)
    ]
    new_params, new_states, penalties = map(list, zip(*results, strict=True))
    return new_params, new_states, losses + jnp.stack(penalties)


def _update_one(
    way: Way,
    params: Params,
    state: Any,
    slope: jax.Array,
    held: jax.Array,
    *,
    value: jax.Array,
) -> tuple[Params, Any, jax.Array]:
    def objective(params: Params) -> tuple[jax.Array, jax.Array]:
        penalty = jnp.asarray(way.stitch.penalty(params))
        return jnp.vdot(slope, way.stitch.apply(params, value)) + penalty, penalty

    gradient, penalty = jax.grad(objective, has_aux=True)(params)
    if "scale" in gradient:
        gradient = {**gradient, "scale": jnp.where(held, 0, gradient["scale"])}
    updates, state = way.optimizer.update(gradient, state, params)
    moved: Any = optax.apply_updates(params, updates)
    return way.stitch.project(moved), state, penalty
