"""The search of stitches by stochastic gradient."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from symjax_lib.stitching import batches, step
from symjax_lib.stitching.maps import Params, Stitch

PAPER = optax.sgd(1e-3)
Name = TypeVar("Name")


class Search(NamedTuple):
    """A class of stitches and how it is searched.

    Attributes:
      stitch: the class.
      optimizer: by default the authors' plain SGD with learning rate 1e-3, made for
        1,562 batches an epoch: small data need a larger one. Share one object among
        searches, as each one compiles anew.
      head_start: for stitches with "scale", epochs at the beginning in which the scale
        is not trained; by default half of them.
      start: parameters to begin at, in place of random ones; see `closed_form`.
    """

    stitch: Stitch
    optimizer: optax.GradientTransformation = PAPER
    head_start: int | None = None
    start: Params | None = None


class Found(NamedTuple):
    """Where a search ended.

    Attributes:
      params: before `finalize`.
      losses: `[epochs]`, mean training loss of each.
      path: what `params` was after each epoch, stacked `[epochs, ...]`.
    """

    params: Params
    losses: np.ndarray
    path: Params


def run(
    key: jax.Array,
    searches: Mapping[Name, Search],
    starts: Mapping[Name, Params],
    back: step.Back,
    variables: Any,
    read: batches.Reader,
    count: int,
    *,
    epochs: int,
    batch_size: int,
) -> dict[Name, Found]:
    """Searches some stitches at one cut at once, with the same batches.

    Args:
      key: consumed, for the order of the batches.
      searches: by name.
      starts: parameters to begin at.
      back: what the stitches go into.
      variables: of the back.
      read: gives the batches.
      count: of the images.
      epochs: passes over the images.
      batch_size: a last batch that is not full is left out.
    """
    ways = tuple(step.Way(s.stitch, s.optimizer) for s in searches.values())
    params = [starts[name] for name in searches]
    states = [way.optimizer.init(at) for way, at in zip(ways, params, strict=True)]
    losses, path = [], [params]
    for epoch in range(epochs):
        held = jnp.array([epoch < _held(s, epochs) for s in searches.values()])
        epoch_key = jax.random.fold_in(key, epoch)
        sums = []
        for number, batch in enumerate(batches.shuffled(epoch_key, count, batch_size)):
            data = read(epoch_key, number, batch)
            params, states, loss = step.step(
                ways, back, params, states, variables, data, held
            )
            sums.append(loss)
        losses.append(np.mean(jax.device_get(sums), axis=0, dtype=np.float64))
        path.append(params)
    losses = np.reshape(losses, (epochs, len(searches)))
    results = {}
    for i, name in enumerate(searches):
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *(at[i] for at in path))
        after = jax.tree.map(lambda x: x[1:], stacked)
        results[name] = Found(params[i], losses[:, i], after)
    return results


def _held(search: Search, epochs: int) -> int:
    return epochs // 2 if search.head_start is None else search.head_start
