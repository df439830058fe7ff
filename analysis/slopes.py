"""Penalties and accuracies against the slope of LeakyReLU: figure 8 and table 3.

LeakyReLU has the group of ReLU for every negative slope but 1, where it is the identity
and every invertible map is a symmetry.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis import penalties, statistics, stitch_protocol, style, subject as subjects
from analysis.subject import Subject
from analysis.tables import Rows, mean_sd
from train.configs import UserError

TITLE = "Figure 8 and table 3: slopes of LeakyReLU"
CLASSES = "full", "rank 1", "rank 2", "rank 4", "G_ReLU"


class Sweep(NamedTuple):
    """Runs that differ in their negative slope, which increases."""

    runs: tuple[Subject, ...]


class Record(NamedTuple):
    """Penalties for every slope.

    Attributes:
      slopes: in increasing order.
      accuracy: for each slope that of all its networks, on the test images.
      found: for each slope its penalties.
    """

    slopes: tuple[float, ...]
    accuracy: tuple[np.ndarray, ...]
    found: tuple[penalties.Record, ...]


def folders(sweep: Path) -> list[Path]:
    """Returns the runs of a sweep, in no order that matters.

    Args:
      sweep: folder of `python -m train resnet20_leaky --out FOLDER`.

    Raises:
      UserError: there are none.
    """
    found = sorted(path.parent for path in sweep.glob("negative_slope_*/config.json"))
    if not found:
        raise UserError(
            f"analysis: {sweep} holds no runs of several slopes; make some by `python "
            f"-m train resnet20_leaky --out {sweep}`."
        )
    return found


def load(sweep: Path, **settings) -> Sweep:
    """Loads the runs of a sweep.

    Args:
      sweep: see `folders`.
      **settings: see `subject.load`.

    Raises:
      UserError: as there.
    """
    runs = [subjects.load(folder, **settings) for folder in folders(sweep)]
    return Sweep(tuple(sorted(runs, key=lambda run: run.zoo.config.negative_slope)))


def compute(
    sweep: Sweep,
    *,
    classes: tuple[str, ...] = (),
    epochs: int | None = None,
    images: int = stitch_protocol.IMAGES,
    protocol: str = "adam",
    kept: Path | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Record:
    """Computes penalties for every slope.

    Args:
      sweep: the runs.
      classes: see `penalties.compute`; by default those of the paper's figures.
      epochs: likewise.
      images: likewise.
      protocol: likewise.
      kept: likewise, a folder for each slope.
      progress: called with a description before each cell.

    Raises:
      UserError: as `penalties.compute`, or the runs have other layers.
    """
    names = [[layer.name for layer in run.layers] for run in sweep.runs]
    if any(name != names[0] for name in names):
        raise UserError("analysis: the runs of a sweep must have the same layers.")
    slopes = tuple(run.zoo.config.negative_slope for run in sweep.runs)
    found = [
        penalties.compute(
            run,
            classes=classes or CLASSES,
            epochs=epochs,
            images=images,
            protocol=protocol,
            kept=kept and kept / f"negative_slope_{slope}",
            progress=lambda what, slope=slope: progress(f"slope {slope:g}: {what}"),
        )
        for slope, run in zip(slopes, sweep.runs, strict=True)
    ]
    return Record(slopes, tuple(record.clean for record in found), tuple(found))


def tables(record: Record) -> dict[str, Rows]:
    """Returns accuracies and penalties for every slope.

    Args:
      record: from `compute`.
    """
    accuracies, rows, cells = [], [], []
    for slope, clean, found in zip(*record, strict=True):
        values = statistics.summarise(clean)
        accuracies.append(
            {"slope": slope, "mean": values.mean, "sd": values.sd, "networks": values.n}
        )
        summary, every, *_ = penalties.tables(found).values()
        rows += [{"slope": slope, **row} for row in summary]
        cells += [{"slope": slope, **row} for row in every]
    return {"slopes_accuracy": accuracies, "slopes": rows, "slopes_cells": cells}


def summary(record: Record) -> list[Rows]:
    """Returns a row for each slope: accuracy, and penalties averaged over layers.

    Args:
      record: from `compute`.
    """
    rows = []
    for slope, clean, found in zip(*record, strict=True):
        row = {"slope": f"{slope:g}"}
        row["accuracy"] = mean_sd(statistics.summarise(clean), percent=True)
        for name, values in found.penalty.items():
            over_pairs = statistics.summarise(values.mean(axis=1))
            row[name] = mean_sd(over_pairs, percent=True)
        rows.append(row)
    return [rows]


def plot(record: Record) -> dict[str, Figure]:
    """Draws the penalty of every class layer by layer, a line for each slope.

    Args:
      record: from `compute`.
    """
    layers, figures = record.found[0].layers, {}
    for number, name in enumerate(record.found[0].penalty):
        figure, axes = style.figure(width=max(5.0, 0.5 * len(layers)), height=3.0)
        for i, (slope, found) in enumerate(
            zip(record.slopes, record.found, strict=True)
        ):
            values = statistics.summarise(100 * found.penalty[name].T)
            axes.errorbar(
                range(len(layers)), values.mean, values.sd, capsize=2,
                color=style.COLORS[i % len(style.COLORS)], label=f"slope {slope:g}",
            )  # fmt: skip
        labels = [layer.label for layer in layers]
        axes.set_xticks(range(len(layers)), labels, rotation=45, ha="right")
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(title=name, ylabel="penalty in % of accuracy")
        axes.legend(frameon=False, fontsize="small")
        figures[f"slopes_{number + 1}"] = figure
    return figures


def caption(record: Record) -> str:
    """Says what is shown.

    Args:
      record: from `compute`.
    """
    slopes = ", ".join(f"{slope:g}" for slope in record.slopes)
    chances = [100 * found.chance for found in record.found]
    lost = sum(row["diverged"] for found in record.found for row in found.rows)
    marked = f" {lost} fits diverged; means with them are –." if lost else ""
    protocol, pairs = record.found[0].protocol, record.found[0].pairs
    return (
        f"Networks whose LeakyReLU has the negative slope {slopes}: test accuracy, "
        "mean ± standard deviation over networks, and the penalties of stitches; in "
        "the table of the average over layers. With slope 1 a network is linear "
        "between its norms, and G_ReLU is no longer its whole group. Networks that "
        f"guess would have {min(chances):.0f} to {max(chances):.0f} %. Stitches were "
        f"fitted on {record.found[0].images} training images in {protocol.epochs} "
        f"epochs.{marked} For every slope: "
        f"{statistics.describe_pairs(pairs)}"
    )
