"""Layers of networks with layers of other networks, by any measures and intervals."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from analysis import compared, moments, statistics, style
from analysis.networks import Compared
from analysis.subject import Images, Layer
from analysis.tables import Rows, interval_text
from symjax_lib.similarity import streaming
from train.configs import UserError

TITLE = "Similarity"


class Record(NamedTuple):
    """Similarities of pairs of networks.

    Attributes:
      layers: `L` of them.
      pairs: `[P, 2]` networks, by number.
      images: that features were computed on.
      values: for each measure `[P, L, L]`.
      interval: one of `moments.INTERVALS`.
      groups: for each measure `[L, moments.GROUPS]`, the mean over pairs of each layer
        with itself on each group of images; empty if the interval needs none.
    """

    layers: tuple[Layer, ...]
    pairs: np.ndarray
    images: int
    values: dict[str, np.ndarray]
    interval: str
    groups: dict[str, np.ndarray]


def compute(
    subject: Compared,
    progress: Callable[[str], None] = lambda what: None,
    *,
    measures: Sequence[str] = (),
    interval: str = "models",
    found: streaming.Comparison | None = None,
) -> Record:
    """Compares pairs of networks, every layer with every layer.

    Args:
      subject: the networks.
      progress: called with what is being done.
      measures: some of `compared.MEASURES`, by default all.
      interval: one of `moments.INTERVALS`.
      found: the similarities, where they have been computed.

    Raises:
      UserError: there are too few networks for them, or too few images for the
        interval.
    """
    measures = tuple(measures) or compared.MEASURES
    by_inputs = interval in ("inputs", "both")
    images = subject.measured.images
    if by_inputs and len(images) < 4 * moments.GROUPS:
        raise UserError(
            f"analysis: --interval {interval} divides the images into "
            f"{moments.GROUPS} groups and needs {4 * moments.GROUPS}, there are "
            f"{len(images)}."
        )
    found = found or compared.similarities(subject, measures, progress)
    groups = _on_groups(subject, measures, progress) if by_inputs else {}
    return Record(
        layers=subject.layers,
        pairs=np.array(found.pairs),
        images=len(images),
        values={name: found.stacked(name) for name in measures},
        interval=interval,
        groups=groups,
    )


def _on_groups(
    subject: Compared, measures: Sequence[str], progress: Callable[[str], None]
) -> dict[str, np.ndarray]:
    # Equally many images in each, or some would have another bias.
    size = len(subject.measured.images) // moments.GROUPS
    rows = []
    for g in range(moments.GROUPS):
        part = slice(g * size, (g + 1) * size)
        measured = jax.tree.map(lambda x, part=part: x[part], subject.measured)
        here = subject._replace(measured=Images(*measured))
        rows.append(compared.similarities(here, measures, progress))
    return {
        name: np.stack([_own(row.stacked(name)).mean(0) for row in rows], axis=-1)
        for name in measures
    }


def _own(values: np.ndarray) -> np.ndarray:
    """Returns `[P, L]`, each layer with itself."""
    return np.diagonal(values, axis1=1, axis2=2)


def moments_of(record: Record, measure: str) -> moments.Moments:
    """Returns mean, sd and interval of each layer with itself.

    Args:
      record: from `compute`.
      measure: one of its `values`.
    """
    return moments.moments(
        _own(record.values[measure]),
        record.pairs,
        interval=record.interval,
        groups=record.groups.get(measure),
    )


def tables(record: Record) -> dict[str, Rows]:
    """Returns mean and sd for every two layers, intervals of the same, all values.

    Args:
      record: from `compute`.
    """
    names = [layer.name for layer in record.layers]
    both = list(itertools.product(range(len(names)), repeat=2))
    rows = [
        {"measure": measure, "layer_1": names[i], "layer_2": names[j]}
        | {"mean": found.mean[i, j], "sd": found.sd[i, j], "pairs": found.n}
        for measure, values in record.values.items()
        if (found := statistics.summarise(np.moveaxis(values, 0, -1)))
        for i, j in both
    ]
    same = [
        {"measure": measure, "layer": layer.name, "paper": layer.paper}
        | {"inside_block": layer.inside, "mean": found.mean[i], "sd": found.sd[i]}
        | {"low": found.low[i], "high": found.high[i], "interval": record.interval}
        for measure in record.values
        for found in [moments_of(record, measure)]
        for i, layer in enumerate(record.layers)
    ]
    single = [
        {"measure": measure, "network_1": a, "network_2": b}
        | {"layer_1": names[i], "layer_2": names[j], "similarity": table[i, j]}
        for measure, values in record.values.items()
        for (a, b), table in zip(record.pairs.tolist(), values, strict=True)
        for i, j in both
    ]
    return {
        "similarity": rows,
        "similarity_layers": same,
        "similarity_pairs": single,
    }


def summary(record: Record) -> list[Rows]:
    """Returns for each measure and layer the mean and its interval.

    Args:
      record: from `compute`.
    """
    rows = []
    for measure in record.values:
        found = moments_of(record, measure)
        labels = [layer.label for layer in record.layers]
        texts = map(interval_text, found.mean, found.low, found.high)
        cells = dict(zip(labels, texts, strict=True))
        rows.append({"measure": measure, **cells})
    return [rows]


def plot(record: Record) -> dict[str, Figure]:
    """Draws bars of each layer with itself, and a heat map for each measure.

    Args:
      record: from `compute`.
    """
    labels = [layer.label for layer in record.layers]
    figures = {}
    measures, most = list(record.values), len(style.COLORS)
    for start in range(0, len(measures), most):
        names = measures[start : start + most]
        figure, axes = style.figure(width=2.5 + 0.6 * len(labels), height=3.2)
        series = {name: moments_of(record, name) for name in names}
        style.bars(
            axes, labels, {n: (m.mean, m.high - m.mean) for n, m in series.items()}
        )
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
        axes.set(ylabel="similarity", ylim=(min(0, axes.get_ylim()[0]), 1))
        axes.set_xlim(-0.6, len(labels) - 0.4)
        axes.legend(frameon=False, fontsize="small", ncols=2, loc="lower left",
                    bbox_to_anchor=(0, 1))  # fmt: skip
        figures[f"bars_{start // most + 1}"] = figure
    for name, values in record.values.items():
        size = 2.0 + 0.25 * len(labels)
        figure, axes = style.figure(width=size, height=size)
        style.heat_map(axes, values.mean(axis=0), labels, name)
        axes.set_xlabel("layer of the second network", fontsize="small")
        axes.set_ylabel("layer of the first network", fontsize="small")
        figures[f"map_{name.replace(', ', '_').replace(' ', '_')}"] = figure
    return figures


def caption(record: Record) -> str:
    """Says what is shown.

    Args:
      record: from `compute`.
    """
    networks = len(np.unique(record.pairs))
    stars = any(layer.inside for layer in record.layers)
    return (
        f"Each layer with the same layer of another network, on {record.images} test "
        f"images: mean over {len(record.pairs)} pairs of {networks} networks, with "
        f"{moments.INTERVALS[record.interval]}. In the maps, the mean over pairs: row, "
        "layer of the first network, column, of the second. "
        + ("A star marks layers inside residual blocks. " if stars else "")
        + "Intervals over networks need three of them. Procrustes is not there between "
        "layers whose resolutions are not whole multiples of each other."
    )
