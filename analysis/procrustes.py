"""Procrustes similarity layer by layer, as the paper's table 2."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from analysis import features, statistics, style
from analysis.subject import Layer, Subject, untrained
from analysis.tables import Rows, by_layer, moments, single
from symjax_lib import similarity, stitching

TITLE = "Procrustes similarity"
MEASURES = {
    "G_ReLU": similarity.g_relu_procrustes,
    "G_ReLU, centred": functools.partial(similarity.g_relu_procrustes, center=True),
    "orthogonal": similarity.orthogonal_procrustes,
}


class Record(NamedTuple):
    """Similarities of two networks at each layer.

    Attributes:
      layers: `L` of them.
      seeds: `[S]`.
      pairs: `[P, 2]` seeds; every seed is in several pairs.
      trained: for each of `MEASURES` `[P, L]`.
      live: `[P, L]`, G_ReLU as it is without dead channels.
      untrained: as `trained`, of networks of the same architecture as initialised.
      dead: `[S, L]`, channels that are zero on all images.
    """

    layers: tuple[Layer, ...]
    seeds: np.ndarray
    pairs: np.ndarray
    trained: dict[str, np.ndarray]
    live: np.ndarray
    untrained: dict[str, np.ndarray]
    dead: np.ndarray


def compute(subject: Subject) -> Record:
    """Compares all pairs of networks at every layer.

    Args:
      subject: the run; needs two networks.

    Raises:
      UserError: there is only one network.
    """
    pairs = statistics.unordered_pairs(len(subject.seeds), subject.most_pairs)
    names = [layer.name for layer in subject.layers]
    trained = _compare(subject, subject.networks, pairs, names)
    baseline = _compare(subject, untrained(subject), pairs, names)
    dead = np.zeros((len(subject.seeds), len(names)), int)
    for i, pair in enumerate(pairs):
        dead[pair] = trained["G_ReLU"].dead_channels[i].T
    similarities = lambda results: {m: r.similarity for m, r in results.items()}
    return Record(
        layers=subject.layers,
        seeds=np.array(subject.seeds),
        pairs=np.array(subject.seeds)[pairs],
        trained=similarities(trained),
        live=trained["G_ReLU"].live_similarity,
        untrained=similarities(baseline),
        dead=dead,
    )


class _Measured(NamedTuple):
    """The parts of a `ProcrustesResult` that do not depend on the width."""

    similarity: np.ndarray
    live_similarity: np.ndarray
    dead_channels: np.ndarray


def _compare(
    subject: Subject,
    networks: Sequence[stitching.Network],
    pairs: np.ndarray,
    names: Sequence[str],
) -> dict[str, _Measured]:
    """Returns the values of each measure, `[P, L]`, and dead channels `[P, L, 2]`."""
    results: dict[str, list[_Measured]] = {measure: [] for measure in MEASURES}
    for first, second in features.pairs(networks, pairs, subject.measured.images):
        for measure in MEASURES:
            rows = [_measure(measure, first[name], second[name]) for name in names]
            results[measure].append(_stack(rows))
        del first, second  # or they would stay until the next pair is there
    return {measure: _stack(rows) for measure, rows in results.items()}


@functools.partial(jax.jit, static_argnums=0)
def _measure(name: str, x: jax.Array, y: jax.Array) -> _Measured:
    result = MEASURES[name](x, y)
    return _Measured(*(getattr(result, field) for field in _Measured._fields))


def _stack(rows: Sequence[_Measured]) -> _Measured:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def tables(record: Record) -> dict[str, Rows]:
    """Returns mean and sd over pairs for each layer and measure, and all values.

    Args:
      record: from `compute`.
    """
    values = {
        **record.trained,
        "G_ReLU, live channels": record.live,
        **{f"{name}, untrained": x for name, x in record.untrained.items()},
    }
    columns = "seed_1", "seed_2", "measure", "similarity"
    dead = [
        {"seed": seed, "layer": layer.name, "dead_channels": record.dead[i, j]}
        for i, seed in enumerate(record.seeds)
        for j, layer in enumerate(record.layers)
    ]
    return {
        "procrustes": moments(record.layers, values, "measure"),
        "procrustes_pairs": single(record.layers, record.pairs, values, columns),
        "dead_channels": dead,
    }


def summary(record: Record) -> list[Rows]:
    """Returns the table of the page: a row for each layer, mean ± sd over pairs.

    Args:
      record: from `compute`.
    """
    columns = {
        "G_ReLU": record.trained["G_ReLU"],
        "G_ReLU, live channels": record.live,
        "G_ReLU, centred": record.trained["G_ReLU, centred"],
        "orthogonal": record.trained["orthogonal"],
        "untrained: G_ReLU": record.untrained["G_ReLU"],
        "untrained: orthogonal": record.untrained["orthogonal"],
    }
    return [by_layer(record.layers, columns)]


def plot(record: Record) -> dict[str, Figure]:
    """Draws G_ReLU and orthogonal similarity per layer, and the untrained level.

    Args:
      record: from `compute`.
    """
    figure, axes = style.figure(width=6.4, height=3.2)
    labels = [layer.label for layer in record.layers]
    series = {}
    for name in ("G_ReLU", "orthogonal"):
        summary = statistics.summarise(record.trained[name].T)
        series[name] = (summary.mean, summary.sd)
    style.bars(axes, labels, series)
    for i, name in enumerate(series):
        level = record.untrained[name].mean(axis=0)
        x = np.arange(len(labels)) + (i - 0.5) * 0.4
        label = "untrained networks" if i == 0 else ""
        axes.hlines(
            level, x - 0.19, x + 0.19, color="black", linestyle=":", label=label
        )
    axes.set(ylabel="similarity", ylim=(0, 1))
    axes.legend(frameon=False, fontsize="small", ncols=3, loc="upper right")
    return {"procrustes": figure}


def caption(record: Record) -> str:
    """Says what the figure shows and what its error bars are.

    Args:
      record: from `compute`.
    """
    return (
        "How close a permutation and positive scaling (G_ReLU), or a rotation or "
        "reflection (orthogonal), brings the features of one network to those of "
        "another; 1 is equal up to the group. "
        f"{statistics.describe_pairs(record.pairs)} The two "
        "measures normalise differently, so neither bounds the other. Dotted: the same "
        "for untrained networks of this architecture. "
        f"{_dead(record)}"
    )


def _dead(record: Record) -> str:
    if not record.dead.any():
        return "No channel is dead."
    counts = {
        layer.name: record.dead[:, j].mean()
        for j, layer in enumerate(record.layers)
        if record.dead[:, j].any()
    }
    listed = ", ".join(f"{name} {mean:.1f}" for name, mean in counts.items())
    return (
        f"Dead channels, mean per network: {listed}; a pair of them counts as a match, "
        "the table has the similarity without them too."
    )
