"""One step of the search of many stitches at one cut."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from symjax_lib.stitching import batches, halves
from symjax_lib.stitching.maps import Params, Stitch


class Program(NamedTuple):
    """What a step is compiled for.

    Attributes:
      stitches: `K` classes.
      optimizers: one for each.
      function: of the back, its `update` in training mode or else its `predict`.
      layer: its tap.
      training: which of the two it is.
    """

    stitches: tuple[Stitch, ...]
    optimizers: tuple[optax.GradientTransformation, ...]
    function: Callable
    layer: str
    training: bool


@functools.partial(jax.jit, static_argnums=0)
def step(
    program: Program,
    params: list[Params],
    states: list[Any],
    variables: Any,
    data: batches.Batch,
    held: jax.Array,
) -> tuple[list[Params], list[Any], jax.Array]:
    """Takes a step of each search.

    Args:
      program: what is searched.
      params: of each stitch.
      states: of each optimizer.
      variables: of the back; they stay.
      data: a batch.
      held: `[K]`, whether parameters with the name "scale" stay.

    Returns:
      The next parameters and states, and the losses `[K]` from before.
    """

    def logits(stitched: jax.Array) -> jax.Array:
        args = program.layer, variables, stitched, data.rest, data.images
        if program.training:
            return halves.run_training(program.function, *args)[0]
        return halves.run_evaluation(program.function, *args)

    def objective(params: list[Params]) -> tuple[jax.Array, jax.Array]:
        each = zip(program.stitches, params, strict=True)
        stitched = [stitch.apply(at, data.value) for stitch, at in each]
        out = jax.vmap(logits)(jnp.stack(stitched))
        labels = jnp.broadcast_to(data.labels, out.shape[:-1])
        losses = optax.softmax_cross_entropy_with_integer_labels(out, labels)
        each = zip(program.stitches, params, strict=True)
        penalties = jnp.stack([jnp.asarray(stitch.penalty(at)) for stitch, at in each])
        losses = losses.mean(axis=1) + penalties
        return losses.sum(), losses  # each depends on its own parameters alone

    gradients, losses = jax.grad(objective, has_aux=True)(params)
    new_params, new_states = [], []
    for i, (stitch, optimizer) in enumerate(
        zip(program.stitches, program.optimizers, strict=True)
    ):
        gradient = gradients[i]
        if "scale" in gradient:
            kept = jnp.where(held[i], 0, gradient["scale"])
            gradient = {**gradient, "scale": kept}
        updates, state = optimizer.update(gradient, states[i], params[i])
        moved: Any = optax.apply_updates(params[i], updates)
        new_params.append(stitch.project(moved))
        new_states.append(state)
    return new_params, new_states, losses
