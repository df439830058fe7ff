"""The metrics of a run: columns in memory, `metrics.csv` on disk."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from train import files, group, optimisers
from train.configs import Config

COLUMNS = ("seed", "epoch", "split", "loss", "accuracy", "learning_rate", "seconds")


def columns(config: Config, finals: Mapping[int, Any]) -> dict[str, np.ndarray]:
    """Returns the metrics of finished seeds as columns.

    Args:
      config: of the run.
      finals: what `group.train` returns, by seed.

    Returns:
      For each of `COLUMNS` an array `[rows]`; ordered by seed, split and epoch.
    """
    rates = optimisers.learning_rate(config, 1)(np.arange(config.epochs))
    rates = np.asarray(rates, float)
    rows = []
    for seed, final in sorted(finals.items()):
        history = final["history"]
        for split in ("train", "validation"):
            for epoch, row in enumerate(history[split]):
                rows.append((seed, epoch, split, *row[:2], rates[epoch], row[2]))
        epoch, row = group.best_epoch(history["validation"]), final["test"]
        rows.append((seed, epoch, "test", *row[:2], rates[epoch], row[2]))
    arrays = map(np.array, zip(*rows, strict=True))
    return dict(zip(COLUMNS, arrays, strict=True))


def text(table: Mapping[str, np.ndarray]) -> str:
    """Returns the contents of `metrics.csv`.

    Args:
      table: from `columns`.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in zip(*(table[name] for name in COLUMNS), strict=True):
        writer.writerow([f"{x:.6g}" if isinstance(x, float) else x for x in row])
    return out.getvalue()


def save(run: Path, table: Mapping[str, np.ndarray]) -> None:
    """Writes `metrics.csv`, unless that is what is there.

    Args:
      run: its folder.
      table: from `columns`.
    """
    path = run / "metrics.csv"
    if not path.exists() or path.read_text() != text(table):
        files.write(path, text(table))
