"""The file of finished cells of an experiment on stitches."""

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

NAME = "cells.csv"
Row = dict[str, Any]
COLUMNS: tuple[str, ...] = (
    "front", "back", "layer", "stitch", "variant", "validation", "test", "unrounded",
    "best_epoch_test", "distance", "sparsity", "diverged",
)  # fmt: skip
_TEXT, _WHOLE = ("layer", "stitch", "variant"), ("front", "back", "diverged")


def read(path: Path | None) -> dict[tuple[str, str, str], list[Row]]:
    """Returns the rows of each cell by front, back and layer.

    Args:
      path: of the file, which need not exist.
    """
    found: dict[tuple[str, str, str], list[Row]] = {}
    if path is None or not path.exists():
        return found
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            name = row["front"], row["back"], row["layer"]
            found.setdefault(name, []).append({k: _typed(k, row[k]) for k in COLUMNS})
    return found


def append(path: Path | None, rows: list[Row]) -> None:
    """Writes the rows of a cell at once, or none of them.

    Args:
      path: of the file; None for none.
      rows: with `COLUMNS`.
    """
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path.read_text() if path.exists() else ",".join(COLUMNS) + "\n"
    lines = io.StringIO()
    csv.DictWriter(lines, COLUMNS, lineterminator="\n").writerows(rows)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(there + lines.getvalue())
    os.replace(partial, path)


def matrix(rows: list[Row], name: str, column: str, pairs: int) -> np.ndarray:
    """Returns `[P, L]` values of a class.

    Args:
      rows: by layer, then by pair.
      name: of the class.
      column: of the rows.
      pairs: P.
    """
    values = [row[column] for row in rows if row["stitch"] == name]
    return np.reshape(values, (-1, pairs)).T


def _typed(column: str, text: str) -> Any:
    if column in _TEXT:
        return text
    return int(text) if column in _WHOLE else float(text)
