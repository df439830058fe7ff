"""Rows of results: as CSV files, as text for the terminal, as cells of a page."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.statistics import Summary, summarise
from analysis.subject import Layer

Rows = list[dict[str, Any]]
"""A table; all rows have the same columns, in the same order."""


def to_csv(rows: Rows) -> str:
    r"""Returns a table as CSV, with six significant digits.

    Args:
      rows: at least one.

    Example:
      >>> to_csv([{"layer": "conv1", "mean": 1 / 3}])
      'layer,mean\nconv1,0.333333\n'
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _exact(x) for name, x in row.items()} for row in rows)
    return text.getvalue()


def to_text(rows: Rows) -> str:
    """Returns a table with aligned columns, as `cell` shows the values.

    Args:
      rows: at least one.

    Example:
      >>> print(to_text([{"layer": "conv1", "n": 6}]))
      layer  n
      conv1  6
    """
    lines = [list(rows[0]), *([cell(x) for x in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        .rstrip()
        for line in lines
    )  # fmt: skip


def cell(value: Any) -> str:
    """Returns a value as people read it: three significant digits of a number.

    Args:
      value: any.

    Example:
      >>> cell(0.123456), cell(True), cell(float("nan"))
      ('0.123', 'yes', '–')
    """
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.3g}"
    return str(value)


def mean_sd(summary: Summary, *, percent: bool = False) -> str:
    """Returns mean ± sd as the tables show it.

    Args:
      summary: of one row of values.
      percent: multiply by 100.

    Example:
      >>> from analysis.statistics import summarise
      >>> mean_sd(summarise([0.5, 0.6])), mean_sd(summarise([0.5, 0.6]), percent=True)
      ('0.550 ± 0.071', '55.0 ± 7.1')
    """
    mean, sd = float(summary.mean), float(summary.sd)
    if np.isnan(mean):
        return "–"
    digits, factor = (1, 100) if percent else (3, 1)
    spread = "" if np.isnan(sd) else f" ± {factor * sd:.{digits}f}"
    return f"{factor * mean:.{digits}f}{spread}"


def interval_text(value: float, low: float, high: float, *, digits: int = 3) -> str:
    """Returns a value with the ends of its interval, if it has one.

    Args:
      value: nan where not defined.
      low: nan where there is no interval.
      high: likewise.
      digits: after the point.

    Example:
      >>> interval_text(0.5, 0.4, 0.6), interval_text(0.5, float("nan"), float("nan"))
      ('0.500 [0.400, 0.600]', '0.500')
    """
    if np.isnan(value):
        return "–"
    ends = "" if np.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{ends}"


def by_layer(
    layers: Sequence[Layer], columns: Mapping[str, np.ndarray], *, percent: bool = False
) -> Rows:
    """Returns a row for each layer with mean ± sd of each column.

    Args:
      layers: `L` of them.
      columns: `[P, L]` values by name.
      percent: multiply by 100.
    """
    return [
        {"layer": layer.label, "channels": layer.channels}
        | {
            name: mean_sd(summarise(values[:, j]), percent=percent)
            for name, values in columns.items()
        }
        for j, layer in enumerate(layers)
    ]


def moments(
    layers: Sequence[Layer], series: Mapping[str, np.ndarray], kind: str
) -> Rows:
    """Returns a row for each layer and series, with mean and sd as numbers.

    Args:
      layers: `L` of them.
      series: `[P, L]` values by name.
      kind: the column of those names.
    """
    return [
        {"layer": layer.name, "paper": layer.paper, "channels": layer.channels}
        | {kind: name, "mean": found.mean, "sd": found.sd, "pairs": found.n}
        for name, values in series.items()
        for j, layer in enumerate(layers)
        if (found := summarise(values[:, j]))
    ]


def single(
    layers: Sequence[Layer],
    pairs: np.ndarray,
    series: Mapping[str, np.ndarray],
    columns: tuple[str, str, str, str],
) -> Rows:
    """Returns a row for each value.

    Args:
      layers: `L` of them.
      pairs: `[P, 2]` numbers of networks.
      series: `[P, L]` values by name.
      columns: of the first and the second network, of the names and the values.
    """
    first, second, kind, value = columns
    return [
        {first: a, second: b, "layer": layer.name, kind: name, value: values[i, j]}
        for name, values in series.items()
        for j, layer in enumerate(layers)
        for i, (a, b) in enumerate(pairs)
    ]


def _exact(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return int(value) if isinstance(value, bool | np.bool_) else value
