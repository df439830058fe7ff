"""Stitching penalties of every class at every layer: the paper's figures 1, 6 to 8."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis import (
    features,
    penalty_figures,
    statistics,
    stitch_cells,
    stitch_classes,
    stitch_file,
    stitch_protocol,
    style,
)
from analysis.networks import Compared
from analysis.stitch_cells import Cell
from analysis.stitch_file import Row
from analysis.stitch_protocol import Protocol
from analysis.subject import Layer
from analysis.tables import Rows, interval_text, mean_sd

TITLE = "Stitching penalties by class"


class Record(NamedTuple):
    """Penalties as fractions of accuracy.

    Attributes:
      layers: `L` of them.
      pairs: `[P, 2]` numbers of networks, the front's first.
      indices: `[P, 2]`, likewise, of the networks that there are.
      protocol: of the fits.
      images: that stitches were fitted on.
      clean: accuracy of each network on the test images.
      chance: penalty of a network that guesses.
      penalty: for each class `[P, L]`; nan where a fit diverged.
      unrounded: likewise, before a permutation is rounded; nan for other classes.
      optimism: likewise, how much the best epoch by test accuracy has more.
      rows: all cells.
    """

    layers: tuple[Layer, ...]
    pairs: np.ndarray
    indices: np.ndarray
    protocol: Protocol
    images: int
    clean: np.ndarray
    chance: float
    penalty: dict[str, np.ndarray]
    unrounded: dict[str, np.ndarray]
    optimism: dict[str, np.ndarray]
    rows: list[Row]


def compute(
    subject: Compared,
    *,
    classes: tuple[str, ...] = (),
    epochs: int | None = None,
    images: int = stitch_protocol.IMAGES,
    protocol: str = "adam",
    kept: Path | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Record:
    """Fits stitches on training images and measures them on the test images.

    Args:
      subject: networks, at least two.
      classes: names of `stitch_classes.CLASSES`, by default the paper's.
      epochs: passes over the training images; by default 3 of 5,000, and of fewer
        images so many more.
      images: most training images; a fifth as many others choose among settings.
      protocol: "adam", or "paper" for its plain SGD, and to measure every epoch.
      kept: folder of finished cells, see `stitch_cells.run`.
      progress: called with a description before each cell.

    Raises:
      UserError: there is one network, no class of a name, or too few images.
    """
    classes = classes or stitch_classes.DEFAULT
    data = stitch_protocol.split(subject, images)
    how = stitch_protocol.named(data, classes, epochs, protocol)
    pairs = statistics.unordered_pairs(len(subject.seeds), subject.most_pairs)
    cells = [
        Cell(front, back, layer)
        for layer in subject.layers
        for front, back in pairs.tolist()
    ]
    rows = stitch_cells.run(
        subject.networks, cells, data, how, subject.stream("stitches"),
        kept=kept, progress=progress,
    )  # fmt: skip
    clean = np.array([features.accuracy(n, subject.test) for n in subject.networks])
    mean = clean[pairs].mean(axis=1)[:, None]
    table = lambda column: {
        name: stitch_file.matrix(rows, name, column, len(pairs)) for name in classes
    }
    test = table("test")
    return Record(
        layers=subject.layers,
        pairs=np.array(subject.seeds)[pairs],
        indices=pairs,
        protocol=how,
        images=len(data.train.labels),
        clean=clean,
        chance=float(mean.mean() - 1 / len(np.unique(subject.test.labels))),
        penalty={name: mean - value for name, value in test.items()},
        unrounded={name: mean - value for name, value in table("unrounded").items()},
        optimism={
            name: best - test[name] for name, best in table("best_epoch_test").items()
        },
        rows=rows,
    )


def tables(record: Record) -> dict[str, Rows]:
    """Returns means with sd and intervals over networks, and all cells.

    Args:
      record: from `compute`.
    """
    summary = []
    for name, values in record.penalty.items():
        for j, layer in enumerate(record.layers):
            found, ends = statistics.summarise(values[:, j]), _interval(record, name, j)
            row = {"layer": layer.name, "inside": layer.inside, "stitch": name}
            row |= {"mean": found.mean, "sd": found.sd, "pairs": found.n}
            row |= {"low": ends[0], "high": ends[1]}
            row["unrounded"] = np.mean(record.unrounded[name][:, j])
            row["optimism"] = np.mean(record.optimism[name][:, j])
            summary.append(row)
    chosen = penalty_figures.chosen(record.layers, record.rows)
    others = {"penalties_chosen": chosen} if chosen else {}
    return {"penalties": summary, "penalties_cells": record.rows, **others}


def _interval(record: Record, name: str, j: int) -> tuple[float, float]:
    count = record.indices.max() + 1
    values = np.zeros((count, count))
    first, second = record.indices.T
    values[first, second] = values[second, first] = record.penalty[name][:, j]
    try:
        found = statistics.models_interval(values, pairs=record.indices)
    except ValueError:  # too few networks
        return float("nan"), float("nan")
    return float(found.low), float(found.high)


def summary(record: Record) -> list[Rows]:
    """Returns a row for each layer: mean penalty in percent, with its interval.

    Args:
      record: from `compute`.
    """
    rows = []
    for j, layer in enumerate(record.layers):
        row = {"layer": layer.label, "channels": layer.channels}
        for name, values in record.penalty.items():
            ends = [100 * end for end in _interval(record, name, j)]
            if np.isfinite(ends).all():
                row[name] = interval_text(100 * values[:, j].mean(), *ends, digits=1)
            else:
                found = statistics.summarise(values[:, j])
                row[name] = mean_sd(found, percent=True)
        rows.append(row)
    return [rows, *filter(None, (_rounding(record), _optimism(record)))]


def _rounding(record: Record) -> Rows:
    """Returns what a permutation loses when its relaxation is rounded."""
    return [
        {
            "stitch": name,
            "penalty before rounding": 100 * before.mean(),
            "after": 100 * record.penalty[name].mean(),
        }
        for name, before in record.unrounded.items()
        if np.isfinite(before).all()
    ]


def _optimism(record: Record) -> Rows:
    """Returns what the best epoch by test accuracy has more, where it is measured."""
    values = {k: 100 * v for k, v in record.optimism.items() if np.isfinite(v).all()}
    return [
        {"stitch": name, "optimism, points": v.mean(), "largest": v.max()}
        for name, v in values.items()
    ]


def plot(record: Record) -> dict[str, Figure]:
    """Draws the penalties in percent of accuracy, with the sd over pairs.

    Args:
      record: from `compute`.
    """
    width = max(6.4, 0.9 * len(record.layers))
    figure, axes = style.figure(width=width, height=3.4)
    series = {}
    for name, values in record.penalty.items():
        found = statistics.summarise(100 * values.T)
        series[name] = (found.mean, found.sd)
    style.bars(axes, [layer.label for layer in record.layers], series)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(ylabel="penalty in % of accuracy")
    return {
        "penalties": figure,
        **penalty_figures.plot_chosen(record.layers, record.rows),
        **penalty_figures.plot_sparsity(record.layers, record.rows, record.clean),
    }


def caption(record: Record) -> str:
    """Says what is shown, how the stitches were fitted and what was chosen by what.

    Args:
      record: from `compute`.
    """
    how = {
        "adam": "Adam with learning rate 0.01",
        "paper": "the paper's plain SGD with learning rate 0.001",
    }[record.protocol.optimizer]
    known = np.isfinite([_interval(record, record.protocol.classes[0], 0)]).all()
    ends = " In brackets 95 % for other networks." if known else ""
    lost = sum(row["diverged"] for row in record.rows)
    marked = f" {lost} fits diverged; their means are –." if lost else ""
    return (
        "What a network loses when its first layers are another network's, joined by a "
        "stitch of each class: the mean accuracy of the two less that of the stitched "
        "one, on all test images, which no choice depends on. A network that guesses "
        f"would have {100 * record.chance:.0f} %. Stitches were fitted on "
        f"{record.images} training images, {record.protocol.epochs} epochs with {how}; "
        "least squares fits features, not labels. A penalty is an upper bound for its "
        "class. Inside a residual block (*) no stitch can undo what the skip "
        "connection brings. "
        f"{statistics.describe_pairs(record.pairs)}{ends}{marked}"
    )
