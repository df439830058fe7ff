"""Does a network recover from a map in its middle? The paper's figure 4."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from analysis import rotated, statistics, style
from analysis.subject import Subject
from analysis.tables import Rows, mean_sd
from train import ensemble, finals, group, grouping
from train.configs import Config, UserError

TITLE = "Figure 4: rotation penalties"
MODEL = "myrtle_cnn_without_norm"
LAYERS = ("conv1", "conv2", "conv3", "conv4", "fc")
AFTER = LAYERS[:3]  # the paper's layers 0, 2 and 5
KINDS = {"positive_monomial": "random P D", "orthogonal": "random rotation"}


class Record(NamedTuple):
    """Accuracies on the test images, as fractions.

    Attributes:
      seeds: `S` networks.
      before: `[S]`, as trained.
      after: for each of `KINDS` `[S, L]`, with the map after each of `AFTER` and the
        later layers trained on.
      epochs: of that.
    """

    seeds: tuple[int, ...]
    before: np.ndarray
    after: dict[str, np.ndarray]
    epochs: int


def compute(
    subject: Subject,
    *,
    epochs: int | None = None,
    kept: Path | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Record:
    """Puts a frozen map after a layer, freezes what comes before, trains the rest.

    Args:
      subject: a run of `MODEL`.
      epochs: by default as many as the networks were trained for, as in the paper; the
        one to report is chosen on held-out training images.
      kept: folder of checkpoints, from which a run that was stopped goes on.
      progress: called with a description before each training.

    Raises:
      UserError: the run is of another model, or there is no folder to keep
        checkpoints in.
    """
    config = subject.zoo.config
    if config.model != MODEL:
        raise UserError(
            f"analysis: rotation is of {MODEL}, this run is of {config.model}; train "
            f"one by `python -m train cifar10_small --model {MODEL}`."
        )
    if kept is None:
        raise UserError("analysis: rotation needs a folder for its checkpoints.")
    config = config if epochs is None else _shorter(config, epochs)
    after = {}
    for kind in KINDS:
        columns = []
        for layer in AFTER:
            progress(f"{KINDS[kind]} after {layer}")
            columns.append(_tuned(subject, config, layer, kind, kept))
        after[kind] = np.stack(columns, axis=1)
    trained = subject.zoo.test_accuracy
    return Record(
        seeds=subject.seeds,
        before=trained[np.isfinite(trained)],
        after=after,
        epochs=config.epochs,
    )


def _shorter(config: Config, epochs: int) -> Config:
    return dataclasses.replace(config, epochs=epochs)


def _tuned(
    subject: Subject, config: Config, layer: str, kind: str, kept: Path
) -> np.ndarray:
    """Returns the test accuracies `[S]` with a map of a kind after a layer."""
    zoo, dataset = subject.zoo, subject.dataset
    channels = zoo.variables["params"][layer]["kernel"].shape[-1]
    model = rotated.Rotated(zoo.model, layer, channels)
    functions = ensemble.make_functions(
        config, dataset, model=model,
        adapt=functools.partial(rotated.freeze, layers=LAYERS, layer=layer),
    )  # fmt: skip
    place = lambda seed: kept / f"{layer}_{kind}" / f"seed_{seed:03d}"
    missing = [s for s in subject.seeds if not (place(s) / finals.NAME).exists()]
    root = subject.stream(f"{kind} after {layer}")
    for seeds in grouping.plan(config, missing, functions.memory):
        at = np.array(seeds)
        keys = jax.vmap(functools.partial(jax.random.fold_in, root))(at)
        variables = jax.tree.map(lambda leaf, at=at: leaf[at], zoo.variables)
        begun = rotated.start(functions, variables, keys, kind)
        group.train(config, begun, seeds, [place(s) for s in seeds], _quiet)
    tuned = [
        finals.read(config, model, dataset.image_shape, place(seed) / finals.NAME)
        for seed in subject.seeds
    ]
    return np.array([final["test"][1] for final in tuned])


def _quiet(seed: int, epochs: int, metrics: Mapping[str, Any]) -> None:
    """Shows no progress."""


def _penalties(record: Record) -> dict[str, np.ndarray]:
    return {
        KINDS[kind]: record.before[:, None] - after
        for kind, after in record.after.items()
    }


def tables(record: Record) -> dict[str, Rows]:
    """Returns the penalty of every network.

    Args:
      record: from `compute`.
    """
    rows = [
        {
            "seed": seed,
            "layer": layer,
            "map": name,
            "before": record.before[i],
            "penalty": values[i, j],
        }
        for name, values in _penalties(record).items()
        for j, layer in enumerate(AFTER)
        for i, seed in enumerate(record.seeds)
    ]
    return {"rotation_penalties": rows}


def summary(record: Record) -> list[Rows]:
    """Returns a row for each layer, mean ± sd over networks in percent.

    Args:
      record: from `compute`.
    """
    return [
        [
            {"map after": layer}
            | {
                name: mean_sd(statistics.summarise(values[:, j]), percent=True)
                for name, values in _penalties(record).items()
            }
            for j, layer in enumerate(AFTER)
        ]
    ]


def plot(record: Record) -> dict[str, Figure]:
    """Draws the penalties in percent of accuracy, with the sd over networks.

    Args:
      record: from `compute`.
    """
    figure, axes = style.figure(width=5.0, height=3.0)
    series = {}
    for name, values in _penalties(record).items():
        found = statistics.summarise(100 * values.T)
        series[name] = (found.mean, found.sd)
    style.bars(axes, list(AFTER), series)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="map after", ylabel="penalty in % of accuracy")
    return {"rotation_penalties": figure}


def caption(record: Record) -> str:
    """Says what the figure shows.

    Args:
      record: from `compute`.
    """
    return (
        "What accuracy a network loses when a frozen 1x1 convolution is put after a "
        "layer, all up to it is frozen and the rest is trained on for "
        f"{record.epochs} epochs. A random permutation with positive scales commutes "
        "with ReLU, so the later layers can undo it; a random rotation does not. Test "
        "accuracy after the epoch that held-out training images chose, for both; mean "
        f"± standard deviation over {len(record.seeds)} networks."
    )
