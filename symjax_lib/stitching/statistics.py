"""Batch statistics of the back, adapted to a stitch without gradients."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from symjax_lib.stitching import batches, halves
from symjax_lib.stitching.maps import Params, Stitch
from symjax_lib.stitching.network import Network

_FORGOTTEN = 0.01  # what may be left of the statistics from before


def refresh(
    key: jax.Array,
    stitch: Stitch,
    params: Params,
    front: Network,
    back: Network,
    layer: str | halves.Cut,
    images: jax.Array,
    *,
    batch_size: int = 32,
) -> Any:
    """Adapts the back network's batch statistics to a stitch, without gradients.

    It takes a pass over the images, as the paper does, or as many as running averages
    need until 1 % is left of what they were: 44 batches for those that keep 0.9 of
    themselves, 459 for flax's default of 0.99. How much they keep is measured.

    `fit` does so for the final parameters. For others, such as `Fitted.relaxed`:
    `fitted._replace(params=p, variables=refresh(key, stitch, p, ...))`.

    Args:
      key: consumed, for the order of the batches.
      stitch: the class that `params` belong to.
      params: any of its maps.
      front: as in `fit`.
      back: likewise.
      layer: likewise.
      images: `[N, ...]` training images.
      batch_size: a last batch that is not full is left out.

    Returns:
      The variables of the back network, with statistics after the cut moved on.

    Raises:
      ValueError: there are fewer images than one batch, there is no such tap, or the
        networks do not fit at the cut.
    """
    labels = jnp.zeros(len(images), int)
    halves.check_data("stitching.refresh", images, labels, batch_size)
    cut = halves.cut_of(layer)
    read = batches.make_reader(front, back, cut, images, labels)
    (variables,) = refresh_all(
        key, (stitch,), [params], back, cut, read, len(images), batch_size
    )
    return variables


def refresh_all(
    key: jax.Array,
    stitches: tuple[Stitch, ...],
    params: Sequence[Params],
    back: Network,
    cut: halves.Cut,
    read: batches.Reader,
    count: int,
    batch_size: int,
) -> list[Any]:
    """Does so for many stitches at one cut; see `refresh`.

    Args:
      key: consumed.
      stitches: the classes.
      params: a map of each.
      back: the network that goes on from them.
      cut: taps of front and back.
      read: gives the batches.
      count: of the images.
      batch_size: a last batch that is not full is left out.

    Returns:
      Variables of the back for each stitch.
    """
    data = read(key, jnp.arange(batch_size))
    flags = halves.moved(back.update, cut[1], back.variables, data.images)
    leaves = halves.take(back.variables, flags)
    if not leaves:
        return [back.variables] * len(params)
    args = stitches, back.update, cut[1], list(params), back.variables
    kept = float(_kept(*args, data))
    needed = math.log(_FORGOTTEN) / math.log(min(max(kept, 1e-6), 0.9999))
    passes = math.ceil(needed / (count // batch_size))
    moving = [jnp.stack([leaf] * len(params)) for leaf in leaves]
    for number in range(passes):
        pass_key = jax.random.fold_in(key, number)
        for step, batch in enumerate(batches.shuffled(pass_key, count, batch_size)):
            data = read(jax.random.fold_in(pass_key, step), batch)
            moving = _move(*args, moving, data)
    parts = ([leaf[i] for leaf in moving] for i in range(len(params)))
    return [halves.put(back.variables, flags, part) for part in parts]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _move(
    stitches: tuple[Stitch, ...],
    update: Callable,
    layer: str,
    params: list[Params],
    variables: Any,
    moving: list[jax.Array],
    data: batches.Batch,
) -> list[jax.Array]:
    flags = halves.moved(update, layer, variables, data.images)

    def one(leaves: list[jax.Array], stitched: jax.Array) -> list[jax.Array]:
        there = halves.put(variables, flags, leaves)
        return halves.run_training(
            update, layer, there, stitched, data.rest, data.images
        )[1]

    each = zip(stitches, params, strict=True)
    stitched = [stitch.apply(at, data.value) for stitch, at in each]
    return jax.vmap(one)(moving, jnp.stack(stitched))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _kept(
    stitches: tuple[Stitch, ...],
    update: Callable,
    layer: str,
    params: list[Params],
    variables: Any,
    data: batches.Batch,
) -> jax.Array:
    """Returns how much of themselves the statistics keep at a step: a derivative."""
    flags = halves.moved(update, layer, variables, data.images)
    leaves = halves.take(variables, flags)
    smooth = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

    def move(inexact: list[jax.Array]) -> list[jax.Array]:
        there = halves.put(variables, flags, halves.put(leaves, smooth, inexact))
        stitched = stitches[0].apply(params[0], data.value)
        new = halves.run_training(
            update, layer, there, stitched, data.rest, data.images
        )[1]
        return halves.take(new, smooth)

    at = halves.take(leaves, smooth)
    _, slopes = jax.jvp(move, (at,), ([jnp.ones_like(leaf) for leaf in at],))
    return jnp.stack([jnp.zeros(()), *(slope.max() for slope in slopes)]).max()
