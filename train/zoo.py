"""Trains and loads zoos: networks that differ in their seed alone.

A run is a folder, see `folder`. One that is killed goes on to the same result, with
the same versions on the same machine to the last bit: `train(..., resume=True)`.
"""

import contextlib
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from train import (
    architectures,
    archive,
    checkpoints,
    configs,
    data,
    ensemble,
    finals,
    folder,
    group,
    grouping,
    manifest,
    metrics,
    processes,
)
from train.configs import Config, UserError


class Zoo(NamedTuple):
    """A finished run.

    Attributes:
      variables: `{"params", "batch_stats"}`, every leaf stacked over seeds on axis 0,
        each seed as it was after its best epoch.
      model: `model.apply(variables of one seed, normalised images, train=False)`.
      config: of the run; `config.dataset` names its data set.
      test_accuracy: `[S]`, of the seeds `config.numbers`, as a fraction; nan for one
        that diverged.
      best_epoch: `[S]`, from 0; see `group.best_epoch`.
      metrics: the columns of `metrics.csv`, each `[rows]`. The row of the split `test`
        has the best epoch. The loss of a seed that diverged is not finite.
      manifest: what made the run, as in `manifest.json`.
    """

    variables: Any
    model: nn.Module
    config: Config
    test_accuracy: np.ndarray
    best_epoch: np.ndarray
    metrics: dict[str, np.ndarray]
    manifest: dict[str, Any]


def train(
    config: Config,
    out: str | Path,
    *,
    resume: bool = False,
    data_dir: str | Path | None = None,
    progress: group.Progress = lambda seed, epochs, metrics: None,
) -> Zoo:
    """Trains the seeds of a zoo that are not finished yet.

    The epoch to keep is chosen by accuracy on held-out training images, the same for
    every seed; the test images are used once for each seed, at the end. (The paper's
    code chooses by test accuracy.)

    Args:
      config: what to train.
      out: the folder of the run.
      resume: go on with a run that is there, or with more seeds; start it otherwise.
      data_dir: see `data.load`.
      progress: see `group.Progress`.

    Returns:
      The finished run, as `load` does.

    Raises:
      UserError: `out` has something else, a run of another config or, without `resume`,
        of this one; or the data or a checkpoint cannot be read. Nothing is overwritten.

    References:
      Godfrey et al., `On the Symmetries of Deep Learning Models and their Internal
      Representations <https://arxiv.org/abs/2205.14258>`_, 2022, Appendix D.1.
    """
    run = Path(out)
    configs.check(config)
    folder.check(run, config, resume=resume)
    lock = folder.lock(run) if processes.is_first() else contextlib.nullcontext()
    with lock:
        # Again, as it may have changed meanwhile.
        config = folder.check(run, config, resume=resume)
        processes.wait("checked")
        if missing := folder.missing_seeds(config, run):
            dataset = data.load(config.dataset, data_dir=data_dir)
            _train(config, run, missing, dataset, progress)
        processes.wait("trained")
        result = load(run)
        if processes.is_first():
            metrics.save(run, result.metrics)
            manifest.complete(run, _checksums(config, run), diverged(result))
        processes.wait("complete")
    return result._replace(manifest=manifest.read(run))


def diverged(zoo: Zoo) -> list[int]:
    """Returns the numbers of the seeds that diverged."""
    lost = np.isnan(zoo.test_accuracy)
    return [seed for seed, nan in zip(zoo.config.numbers, lost, strict=True) if nan]


def _checksums(config: Config, run: Path) -> dict[int, str]:
    paths = {
        seed: folder.seed_folder(run, seed) / group.FINAL for seed in config.numbers
    }
    return {seed: checkpoints.checksum(path) for seed, path in paths.items()}


def _train(
    config: Config,
    run: Path,
    missing: Sequence[int],
    dataset: data.Dataset,
    progress: group.Progress,
) -> None:
    architectures.check(config, dataset.num_classes, dataset.image_shape)
    functions = ensemble.make_functions(config, dataset)
    finished = sorted(set(config.numbers) - set(missing))
    kept = _finals(config, dataset.num_classes, dataset.image_shape, run, finished)
    folder.check_checkpoints(run, missing)
    if processes.is_first():
        manifest.describe(run, config, dataset)
        folder.discard_damaged(run, missing)
    processes.wait("described")
    for seed in finished:
        progress(seed, config.epochs, {})
    place = functools.partial(folder.seed_folder, run)
    started = [seed for seed in missing if checkpoints.epochs(place(seed))]
    fresh = [seed for seed in missing if seed not in started]
    # Apart, because a group goes on from where all of it has been.
    for part in (started, fresh):
        for seeds in grouping.plan(config, part, functions.memory):
            folders = [place(seed) for seed in seeds]
            new = group.train(config, functions, seeds, folders, progress)
            kept |= dict(zip(seeds, new, strict=True))
            if processes.is_first():
                metrics.save(run, metrics.columns(config, kept))
    for seed in config.numbers if processes.is_first() else ():
        checkpoints.remove_others(place(seed), keep=[group.FINAL])


def load(run: str | Path) -> Zoo:
    """Loads a finished run.

    Args:
      run: its folder, or the file that `export` has made of it.

    Returns:
      A `Zoo`.

    Raises:
      UserError: there is no run, some seeds are not finished, or a file is damaged.
    """
    run = Path(run)
    if run.suffix == archive.SUFFIX:
        made = manifest.read(run)
        config = Config(**made["config"])
        variables, table = archive.read(run)
    else:
        config, made, variables, table = _read(run)
    tests = table["split"] == "test"
    return Zoo(
        variables=jax.tree.map(jnp.asarray, variables),
        model=architectures.make_model(config, made["num_classes"]),
        config=config,
        test_accuracy=table["accuracy"][tests],
        best_epoch=table["epoch"][tests],
        metrics=table,
        manifest=made,
    )


def _read(run: Path) -> tuple[Config, dict[str, Any], Any, dict[str, np.ndarray]]:
    """Returns config, manifest, stacked variables and metrics of a folder."""
    if not (run / "config.json").exists():
        inside = sorted(path.parent.name for path in run.glob("*/config.json"))
        what = f"is a sweep; name one of its runs: {', '.join(inside)}"
        none = "holds no run; `python -m train` makes one"
        raise UserError(f"load: {run} {what if inside else none}.")
    config = folder.read_config(run)
    if missing := folder.missing_seeds(config, run):
        raise UserError(
            f"load: {len(missing)} of the {config.seeds} seeds of {run} are not "
            "finished; run the command that started it again with --resume."
        )
    made = manifest.read(run)
    num_classes, image_shape = made["num_classes"], made["image_shape"]
    kept = _finals(config, num_classes, image_shape, run, config.numbers)
    variables = [final["variables"] for final in kept.values()]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *variables)
    return config, made, stacked, metrics.columns(config, kept)


def export(run: str | Path, path: str | Path) -> None:
    """Writes a finished run as one small file, in half precision; `load` reads it.

    Args:
      run: its folder.
      path: of the file, in `.npz`; its manifest is written beside it, in `.json`.

    Raises:
      UserError: as `load`; or one of the files is there already.
    """
    result = load(run)
    archive.write(Path(path), result.variables, result.metrics, result.manifest)


def _finals(
    config: Config,
    num_classes: int,
    image_shape: Sequence[int],
    run: Path,
    seeds: Iterable[int],
) -> dict[int, Any]:
    """Reads what is kept of finished seeds, and checks that it fits the config."""
    model = architectures.make_model(config, num_classes)
    paths = {seed: folder.seed_folder(run, seed) / group.FINAL for seed in seeds}
    return {
        seed: finals.read(config, model, image_shape, path)
        for seed, path in paths.items()
    }
