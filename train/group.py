"""Trains a group of seeds from its last checkpoint to the end."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from train import checkpoints, devices, ensemble, finals, processes, step
from train.configs import Config

FINAL = finals.NAME  # of the checkpoint that makes a seed a finished one


# `progress(seed, epochs done, metrics)`, called after each epoch of each seed. Metrics
# are the rows "train" and "validation", loss, accuracy and seconds, and
# "images_per_second" of the group; empty for a seed that was finished before.
Progress = Callable[[int, int, Mapping[str, Any]], None]


@struct.dataclass
class Group:
    """A group of seeds in training; every leaf has a leading axis of seeds `[S]`.

    Attributes:
      state: after the last epoch.
      best: variables after the best epoch so far.
      history: `{"train", "validation"}`, `[S, epochs, 3]` loss, accuracy, seconds; nan
        for epochs to come.
    """

    state: step.TrainState
    best: Any
    history: dict[str, np.ndarray]


def train(
    config: Config,
    functions: ensemble.Functions,
    seeds: Sequence[int],
    folders: Sequence[Path],
    progress: Progress,
) -> list[dict[str, Any]]:
    """Trains seeds together to the end and saves what is kept of each.

    Args:
      config: epochs, base seed, and how often to save.
      functions: from `ensemble.make_functions`.
      seeds: their numbers.
      folders: where each seed has its checkpoints.
      progress: see `Progress`.

    Returns:
      For each seed what its checkpoint `final` has: `variables` after the best epoch,
      `history` as in `Group`, and `test` `[3]` loss, accuracy, seconds of that epoch
      on the test images; loss and accuracy are nan for a seed that diverged.
    """
    keys = ensemble.seed_keys(config, _filled(seeds, config))
    processes.wait("a group")  # the last one is written
    # A kill between two saves leaves some seeds ahead; all go on from the same epoch.
    done = max(set.intersection(*map(checkpoints.epochs, folders)), default=0)
    if done:
        shapes = functools.partial(jax.eval_shape, functions.init)
        group = _restore(folders, done, like=_start(shapes, keys, config))
    else:
        group = _start(functions.init, keys, config)
    with _Writer(folders) as writer:
        for epoch in range(done, config.epochs):
            group = _train_epoch(functions, group, keys, epoch)
            name, last = f"epoch_{epoch + 1}", epoch + 1 == config.epochs
            due = (epoch + 1) % config.checkpoint_every == 0 and not last
            if due:
                writer.save(name, group)
            try:
                latest = _latest(group, epoch, functions)
                for seed, metrics in zip(seeds, latest[: len(seeds)], strict=True):
                    progress(seed, epoch + 1, metrics)
            except KeyboardInterrupt:  # the user wants to go on from here
                if not due and not last:
                    writer.save(name, group)
                raise
        final = devices.gather(_finish(functions, group))
        writer.save(FINAL, final)
    return [_one(final, i) for i in range(len(seeds))]


def _latest(
    group: Group, epoch: int, functions: ensemble.Functions
) -> list[dict[str, Any]]:
    seconds = group.history["train"][:, epoch, 2].sum()
    speed = len(group.history["train"]) * functions.images_per_epoch / seconds
    return [
        {split: rows[i, epoch] for split, rows in group.history.items()}
        | {"images_per_second": speed}
        for i in range(len(group.history["train"]))
    ]


def _filled(seeds: Sequence[int], config: Config) -> list[int]:
    """Repeats the last seed, as every process must have a part of the group.

    One process leaves devices without a seed alone.
    """
    if jax.process_count() == 1:
        return list(seeds)
    places = jax.device_count() // config.devices_per_seed
    return [*seeds, *[seeds[-1]] * (-len(seeds) % places)]


def best_epoch(validation: np.ndarray) -> int:
    """Returns the epoch to keep: highest accuracy, then lowest loss, then the first.

    Args:
      validation: `[epochs, 2 or more]` loss and accuracy; epochs whose loss is not
        finite do not count.

    Returns:
      The epoch, from 0.

    Example:
      >>> best_epoch(np.array([[0.3, 0.8], [0.2, 0.9], [0.1, 0.9], [np.nan, 1.0]]))
      2
    """
    loss, accuracy = validation[:, 0], validation[:, 1]
    accuracy = np.where(np.isfinite(loss), accuracy, -np.inf)
    return int(np.lexsort((loss, -accuracy))[0])


def _start(init: Callable, keys: jax.Array, config: Config) -> Group:
    shape = (len(keys), config.epochs, 3)
    history = {split: np.full(shape, np.nan) for split in ("train", "validation")}
    # Twice, because a step reuses the memory of its state.
    return Group(init(keys), init(keys).variables, history)


def _train_epoch(
    functions: ensemble.Functions, group: Group, keys: jax.Array, epoch: int
) -> Group:
    begin = time.perf_counter()
    state, trained = functions.train_epoch(group.state, keys, epoch)
    middle = time.perf_counter()
    validated = functions.validate(state.variables)
    end = time.perf_counter()
    history = jax.tree.map(np.copy, group.history)
    history["train"][:, epoch] = _timed(trained, middle - begin)
    history["validation"][:, epoch] = _timed(validated, end - middle)
    better = [best_epoch(rows) == epoch for rows in history["validation"]]
    best = _where(np.array(better), state.variables, group.best)
    return Group(state, best, history)


@jax.jit
@jax.vmap
def _where(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), new, old)


def _finish(functions: ensemble.Functions, group: Group) -> dict[str, Any]:
    """Tests the best variables, once."""
    begin = time.perf_counter()
    tested = functions.test(group.best)
    seconds = time.perf_counter() - begin
    losses = np.stack([rows[..., 0] for rows in group.history.values()])
    finite = np.all(np.isfinite(losses), axis=(0, 2))
    tested = np.where(finite[:, None], tested, np.nan)
    return {
        "variables": group.best,
        "history": group.history,
        "test": _timed(tested, seconds),
    }


def _timed(metrics: np.ndarray, seconds: float) -> np.ndarray:
    """Adds a column to `[S, 2]`: each seed's share of the time."""
    share = np.full((len(metrics), 1), seconds / len(metrics))
    return np.concatenate([metrics, share], axis=1)


class _Writer:
    """Saves a group in a thread of its own, while training goes on.

    One save at a time; an error shows at the next one, or at the end.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._thread = futures.ThreadPoolExecutor(1)
        self._saving: futures.Future | None = None

    def save(self, name: str, stacked: Any) -> None:
        self._wait()
        # Here, as the next step reuses the memory of its state.
        stacked = jax.tree.map(np.array, devices.gather(stacked))
        if not processes.is_first():
            return
        self._saving = self._thread.submit(_save, self._folders, name, stacked)

    def _wait(self) -> None:
        if self._saving is not None:
            self._saving.result()

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        with self._thread:  # shuts it down
            self._wait()


def _save(folders: Sequence[Path], name: str, stacked: Any) -> None:
    """Saves each seed's part of a group, then removes all but this and the last one."""
    parts = {folder / name: _one(stacked, i) for i, folder in enumerate(folders)}
    # After a kill some may be there already.
    checkpoints.save({p: part for p, part in parts.items() if not p.exists()})
    for folder in folders:
        epochs = sorted(checkpoints.epochs(folder))
        kept = [FINAL] if name == FINAL else [f"epoch_{n}" for n in epochs[-2:]]
        checkpoints.remove_others(folder, keep=kept)


def _restore(folders: Sequence[Path], epoch: int, like: Group) -> Group:
    one = jax.tree.map(lambda leaf: np.empty(leaf.shape[1:], leaf.dtype), like)
    seeds = [checkpoints.restore(folder / f"epoch_{epoch}", one) for folder in folders]
    seeds += seeds[-1:] * (len(like.history["train"]) - len(seeds))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *seeds)
    state, best = jax.tree.map(jnp.array, (stacked.state, stacked.best))
    return Group(state, best, stacked.history)


def _one(stacked: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i, ...], stacked)
