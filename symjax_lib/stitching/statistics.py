"""Batch statistics of the back, adapted to a stitch without gradients."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib.stitching import batches, halves, places, step
from symjax_lib.stitching.maps import Params, Stitch
from symjax_lib.stitching.network import Network

Name = TypeVar("Name")

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
    return refresh_many(
        key, {"": (stitch, params)}, front, back, layer, images, batch_size=batch_size
    )[""]


def refresh_many(
    key: jax.Array,
    pairs: Mapping[Name, tuple[Stitch, Params]],
    front: Network,
    back: Network,
    layer: str | halves.Cut,
    images: jax.Array,
    *,
    batch_size: int = 32,
    augment: batches.Augment | None = None,
) -> dict[Name, Any]:
    """Does so for many stitches at one cut; see `refresh`.

    Args:
      key: consumed.
      pairs: stitches and their parameters, by name.
      front: see `refresh`, as for all other arguments but the last.
      back: likewise.
      layer: likewise.
      images: likewise.
      batch_size: likewise.
      augment: see `fitting.fit`.

    Returns:
      Variables of the back for each name.
    """
    if not pairs:
        return {}
    labels = jnp.zeros(len(images), int)
    halves.check_data("stitching.refresh", images, labels, batch_size)
    cut = halves.cut_of(layer)
    flags = halves.moved(back.update, cut[1], back.variables, images[:batch_size])
    if not any(flags):
        return dict.fromkeys(pairs, back.variables)

    def run(
        place: places.Place, key: jax.Array, params: Any, front: Network, back: Network,
        images: jax.Array, labels: jax.Array,
    ) -> dict[Name, list[jax.Array]]:  # fmt: skip
        read = batches.make_reader(front, back, cut, images, labels, augment, place)
        moved = {}
        for names in place.parts:
            some = [params[name] for name in names]
            apply = functools.partial(
                step.apply, tuple(pairs[name][0] for name in names), some
            )
            stacked = _refresh(
                key, apply, len(some), back, cut, read, len(images), batch_size
            )
            moved |= {n: [leaf[i] for leaf in stacked] for i, n in enumerate(names)}
        return moved

    params = {name: params for name, (_, params) in pairs.items()}
    moved = places.everywhere(
        run, tuple(pairs), key, params, front, back, images, labels
    )
    return {n: halves.put(back.variables, flags, leaves) for n, leaves in moved.items()}


def _refresh(
    key: jax.Array,
    apply: Callable[[jax.Array], jax.Array],
    stitches: int,
    back: Network,
    cut: halves.Cut,
    read: batches.Reader,
    count: int,
    batch_size: int,
) -> list[jax.Array]:
    """Returns the leaves that move, `[K, ...]`, for K stitches at once."""
    data = read(key, 0, np.arange(batch_size))
    flags = halves.moved(back.update, cut[1], back.variables, data.images)
    leaves = halves.take(back.variables, flags)
    args = back.update, cut[1], back.variables
    kept = float(_kept(*args, apply(data.value), data))
    needed = math.log(_FORGOTTEN) / math.log(min(max(kept, 1e-6), 0.9999))
    passes = math.ceil(needed / (count // batch_size))
    moving = [jnp.stack([leaf] * stitches) for leaf in leaves]
    for number in range(passes):
        pass_key = jax.random.fold_in(key, number)
        for i, batch in enumerate(batches.shuffled(pass_key, count, batch_size)):
            data = read(pass_key, i, batch)
            moving = _move(*args, moving, apply(data.value), data)
    return moving


@functools.partial(jax.jit, static_argnums=(0, 1))
def _move(
    update: Callable,
    layer: str,
    variables: Any,
    moving: list[jax.Array],
    stitched: jax.Array,
    data: batches.Batch,
) -> list[jax.Array]:
    flags = halves.moved(update, layer, variables, data.images)

    def one(leaves: list[jax.Array], stitched: jax.Array) -> list[jax.Array]:
        there = halves.put(variables, flags, leaves)
        return halves.run_training(
            update, layer, there, stitched, data.rest, data.images
        )[1]

    return jax.vmap(one)(moving, stitched)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _kept(
    update: Callable,
    layer: str,
    variables: Any,
    stitched: jax.Array,
    data: batches.Batch,
) -> jax.Array:
    """Returns how much of themselves the statistics keep at a step: a derivative."""
    flags = halves.moved(update, layer, variables, data.images)
    leaves = halves.take(variables, flags)
    smooth = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

    def move(inexact: list[jax.Array]) -> list[jax.Array]:
        there = halves.put(variables, flags, halves.put(leaves, smooth, inexact))
        new = halves.run_training(
            update, layer, there, stitched[0], data.rest, data.images
        )[1]
        return halves.take(new, smooth)

    at = halves.take(leaves, smooth)
    _, slopes = jax.jvp(move, (at,), ([jnp.ones_like(leaf) for leaf in at],))
    return jnp.stack([jnp.zeros(()), *(slope.max() for slope in slopes)]).max()
