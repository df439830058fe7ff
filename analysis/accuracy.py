"""How well each network classifies: the background of every other number."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis import features, statistics, style
from analysis.subject import Subject
from analysis.tables import Rows, mean_sd

TITLE = "Accuracy"


class Record(NamedTuple):
    """Accuracies of the networks, as fractions.

    Attributes:
      seeds: `[S]`.
      best_epoch: `[S]`, from 0.
      validation: `[S]`, at that epoch, on the images that chose it.
      test: `[S]`, measured anew.
      recorded: `[S]`, on the same images when the run was trained.
    """

    seeds: np.ndarray
    best_epoch: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    recorded: np.ndarray


def compute(subject: Subject) -> Record:
    """Measures test accuracy, and looks up what the training recorded.

    Args:
      subject: the run.
    """
    seeds = np.array(subject.seeds)
    metrics, best = subject.zoo.metrics, subject.zoo.best_epoch[seeds]
    held_out = metrics["split"] == "validation"
    rows = [
        held_out & (metrics["seed"] == seed) & (metrics["epoch"] == epoch)
        for seed, epoch in zip(seeds, best, strict=True)
    ]
    return Record(
        seeds=seeds,
        best_epoch=best,
        validation=np.array([metrics["accuracy"][row].item() for row in rows]),
        test=np.array([features.accuracy(n, subject.test) for n in subject.networks]),
        recorded=subject.zoo.test_accuracy[seeds],
    )


def tables(record: Record) -> dict[str, Rows]:
    """Returns one row for each network.

    Args:
      record: from `compute`.
    """
    columns = ("seed", *Record._fields[1:])
    rows = zip(*record, strict=True)
    return {"accuracy": [dict(zip(columns, row, strict=True)) for row in rows]}


def summary(record: Record) -> list[Rows]:
    """Returns the table of the page, with mean and sd.

    Args:
      record: from `compute`.
    """
    percent = lambda x: f"{100 * x:.2f} %"
    rows = [
        {
            "network": f"seed {seed}",
            "best epoch, from 0": int(epoch),
            "validation": percent(validation),
            "test": percent(test),
        }
        for seed, epoch, validation, test, _ in zip(*record, strict=True)
    ]
    columns = [statistics.summarise(x) for x in (record.validation, record.test)]
    last = [f"{mean_sd(column, percent=True)} %" for column in columns]
    rows.append(
        {
            "network": "mean ± sd over seeds",
            "best epoch, from 0": "",
            "validation": last[0],
            "test": last[1],
        }
    )
    return [rows]


def plot(record: Record) -> dict[str, Figure]:
    """Draws a point for each network, and mean ± sd.

    Args:
      record: from `compute`.
    """
    figure, axes = style.figure(height=1.7)
    for y, (name, values) in enumerate(
        {"test": record.test, "validation": record.validation}.items()
    ):
        summary = statistics.summarise(100 * values)
        axes.plot(100 * values, np.full(len(values), y), **style.POINTS)
        axes.errorbar(
            summary.mean, y + 0.22, xerr=summary.sd, color=style.COLORS[y], fmt="o"
        )
        axes.text(0.0, y + 0.42, name, transform=axes.get_yaxis_transform())
    axes.set(xlabel="accuracy in %", yticks=[], ylim=(-0.3, 1.8))
    return {"accuracy": figure}


def caption(record: Record) -> str:
    """Says which images decided what.

    Args:
      record: from `compute`.
    """
    return (
        "The epoch that is kept was chosen on held-out training images; the test "
        "images took part in no choice. Points are networks, which differ in their "
        "seed only; the mean has a bar of one standard deviation over seeds."
    )
