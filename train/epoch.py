"""A pass of a group of seeds over images: the loops around the jitted steps."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train import data, devices, step

EVALUATION_BATCH = 128


def make_train_epoch(
    train_step: Callable,
    dataset: data.Dataset,
    indices: np.ndarray,
    batch_size: int,
    *,
    devices_per_seed: int = 1,
    scan: bool,
) -> Callable[..., tuple[step.TrainState, np.ndarray]]:
    """Returns a function that shuffles, then takes the steps of an epoch.

    Images are on the devices from the first epoch on; inside of an epoch nothing goes
    to them or comes back.

    Args:
      train_step: of a group of seeds, jitted.
      dataset: its training images are used.
      indices: which of them.
      batch_size: images in a step.
      devices_per_seed: see `devices.on_each`.
      scan: whether all steps are one program, for accelerators, which would wait for
        the dispatch of small steps; or a loop over programs.

    Returns:
      `(TrainState [S], keys [S], epoch) -> (TrainState [S], loss and accuracy [S, 2])`.
    """
    images_and_labels = functools.cache(
        functools.partial(
            devices.replicate, (dataset.train_images, dataset.train_labels)
        )
    )
    steps = len(indices) // batch_size
    if scan:
        run = _scanned(train_step, steps)
    else:
        run = _looped(train_step, steps, devices_per_seed)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def start(key: jax.Array, epoch: jax.Array) -> tuple[jax.Array, jax.Array]:
        order_key, key = jax.random.split(jax.random.fold_in(key, epoch))
        order = jax.random.permutation(order_key, jnp.asarray(indices))
        return key, order[: steps * batch_size].reshape(steps, batch_size)

    def train_epoch(
        state: step.TrainState, keys: jax.Array, epoch: int
    ) -> tuple[step.TrainState, np.ndarray]:
        mesh = devices.mesh(len(keys), devices_per_seed)
        images, labels = images_and_labels(mesh)
        started = start(keys, jax.device_put(np.uint32(epoch)))
        state, keys, order = devices.shard((state, *started), mesh)
        state, sums = run(state, keys, order, images, labels)
        return state, _mean(sums, steps * batch_size)

    return train_epoch


def _looped(train_step: Callable, steps: int, devices_per_seed: int) -> Callable:
    def run(state: step.TrainState, *args: Any) -> tuple[step.TrainState, Any]:
        sums = []
        for _ in range(steps):  # with a device for each seed nothing here waits
            state, out = train_step(state, *args)
            sums.append(devices.one_at_a_time(out, devices_per_seed))
        return state, sums

    return run


def _scanned(train_step: Callable, steps: int) -> Callable:
    @functools.partial(jax.jit, donate_argnums=0)
    def run(state: step.TrainState, *args: Any) -> tuple[step.TrainState, Any]:
        def one(state: step.TrainState, _: None) -> tuple[step.TrainState, step.Sums]:
            return train_step(state, *args)

        state, sums = jax.lax.scan(one, state, length=steps)
        return state, [jax.tree.map(lambda leaf: leaf.sum(axis=0), sums)]

    return run


def make_evaluate(
    evaluate: Callable,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    devices_per_seed: int = 1,
) -> Callable[[Any], np.ndarray]:
    """Returns a function that evaluates a group of seeds on all images.

    Args:
      evaluate: `(variables [S], images, labels) -> Sums [S]`, of a batch.
      images: `[N, H, W, C]` uint8.
      labels: `[N]`.
      devices_per_seed: see `devices.on_each`.

    Returns:
      `variables [S] -> loss and accuracy [S, 2]`.
    """
    padding = -len(labels) % EVALUATION_BATCH
    filled = np.pad(images, [(0, padding), (0, 0), (0, 0), (0, 0)])
    marked = np.pad(labels, (0, padding), constant_values=-1)
    starts = range(0, len(marked), EVALUATION_BATCH)
    parts = [slice(i, i + EVALUATION_BATCH) for i in starts]
    batches = functools.cache(
        functools.partial(devices.replicate, [(filled[i], marked[i]) for i in parts])
    )

    def on_all(variables: Any) -> np.ndarray:
        seeds = len(jax.tree.leaves(variables)[0])
        mesh = devices.mesh(seeds, devices_per_seed)
        variables = devices.shard(variables, mesh)
        sums = [
            devices.one_at_a_time(evaluate(variables, *batch), devices_per_seed)
            for batch in batches(mesh)
        ]
        return _mean(sums, len(labels))

    return on_all


def _mean(sums: Sequence[step.Sums], count: int) -> np.ndarray:
    """Returns loss and accuracy `[S, 2]` of `count` images."""
    return np.sum(devices.gather(sums), axis=0, dtype=float).T / count
