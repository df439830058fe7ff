"""All layers of all pairs of networks by all measures, as in figures 2 and 5."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis import compared, intervals, statistics, style
from analysis.networks import Compared
from analysis.subject import Layer
from analysis.tables import Rows

TITLE = "All measures"


class Record(NamedTuple):
    """Similarities of all pairs of networks.

    Attributes:
      layers: `L` of them.
      pairs: `[P, 2]` networks, by number.
      images: that features were computed on.
      values: for each measure `[P, L, L]`.
    """

    layers: tuple[Layer, ...]
    pairs: np.ndarray
    images: int
    values: dict[str, np.ndarray]


def compute(
    subject: Compared, progress: Callable[[str], None] = lambda what: None
) -> Record:
    """Compares all pairs by all measures.

    Args:
      subject: the networks.
      progress: called with what is being done.
    """
    found = compared.similarities(subject, compared.MEASURES, progress)
    return Record(
        layers=subject.layers,
        pairs=np.array(found.pairs),
        images=found.settings["samples"],
        values={name: found.stacked(name) for name in compared.MEASURES},
    )


def by_networks(record: Record, measure: str) -> np.ndarray:
    """Returns `[L, S, S]` similarities of each layer with itself; the diagonal is 1.

    Args:
      record: from `compute`.
      measure: one of its `values`.
    """
    networks = int(record.pairs.max()) + 1
    found = np.ones((len(record.layers), networks, networks))
    same = np.diagonal(record.values[measure], axis1=1, axis2=2)
    for (i, j), row in zip(record.pairs, same, strict=True):
        found[:, i, j] = found[:, j, i] = row
    return found


def tables(record: Record) -> dict[str, Rows]:
    """Returns mean and sd over pairs for every two layers, and intervals of the same.

    Args:
      record: from `compute`.
    """
    sizes = range(len(record.layers))
    rows = [
        {"measure": name, "layer_1": record.layers[i].name}
        | {"layer_2": record.layers[j].name}
        | {"mean": found.mean[i, j], "sd": found.sd[i, j], "pairs": found.n}
        for name, values in record.values.items()
        if (found := statistics.summarise(np.moveaxis(values, 0, -1)))
        for i, j in itertools.product(sizes, sizes)
    ]
    same = [
        {"measure": name, "layer": layer.name, "mean": mean[i], "sd": sd[i]}
        | {"low": low[i], "high": high[i]}
        for name in record.values
        for mean, sd, low, high in [_intervals(record, name)]
        for i, layer in enumerate(record.layers)
    ]
    return {"similarity": rows, "similarity_layers": same}


def _intervals(record: Record, measure: str) -> tuple[np.ndarray, ...]:
    """Returns mean, sd over pairs, and both ends of the interval over networks."""
    found = statistics.summarise(
        np.diagonal(record.values[measure], axis1=1, axis2=2).T
    )
    values = by_networks(record, measure)
    if values.shape[-1] < 3:
        return found.mean, found.sd, found.sd * np.nan, found.sd * np.nan
    interval = intervals.models_interval(values)
    return found.mean, found.sd, interval.low, interval.high


def summary(record: Record) -> list[Rows]:
    """Returns for each measure and layer the mean and its interval over networks.

    Args:
      record: from `compute`.
    """
    rows = []
    for name in record.values:
        mean, _, low, high = _intervals(record, name)
        cells = {
            layer.label: f"{mean[i]:.3f} [{low[i]:.3f}, {high[i]:.3f}]"
            for i, layer in enumerate(record.layers)
        }
        rows.append({"measure": name, **cells})
    return [rows]


def plot(record: Record) -> dict[str, Figure]:
    """Draws one heat map for each measure, the mean over pairs.

    Args:
      record: from `compute`.
    """
    labels = [layer.label for layer in record.layers]
    figures = {}
    for i, (name, values) in enumerate(record.values.items(), start=1):
        size = 2.0 + 0.25 * len(labels)
        figure, axes = style.figure(width=size, height=size)
        style.heat_map(axes, values.mean(axis=0), labels, name)
        figures[f"similarity_{i:02}"] = figure
    return figures


def caption(record: Record) -> str:
    """Says what is shown.

    Args:
      record: from `compute`.
    """
    networks = len(np.unique(record.pairs))
    return (
        f"Each layer with the same layer of another network, on {record.images} test "
        f"images: mean over {len(record.pairs)} pairs of {networks} networks, and in "
        "brackets a 95 % interval over networks, by leaving one out (none for fewer "
        "than three). In the maps: row, layer of the first network, column, of the "
        "second. Procrustes is not there between layers whose resolutions are not "
        "whole multiples of each other."
    )
