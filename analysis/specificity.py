"""Do similarities follow behaviour? Networks that differ by their seed alone.

For every pair of networks and every layer: is the similarity lower where predictions
differ more? And is the most similar layer of another network the same layer?
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis import compared, style
from analysis.networks import Compared
from analysis.subject import Layer
from analysis.tables import Rows, interval_text
from symjax_lib.similarity import streaming

TITLE = "Specificity of the measures"


class Record(NamedTuple):
    """Similarities and behaviour of all pairs.

    Attributes:
      layers: `L` of them.
      pairs: `[P, 2]` networks, by number.
      images: that features were computed on.
      values: for each measure `[P, L, L]`.
      targets: for each kind of difference in behaviour `[P]`, on all test images.
      ceilings: for each the best rank correlation that its noise allows.
      correlations: for each measure and target one for each layer, of dissimilarity
        with difference.
    """

    layers: tuple[Layer, ...]
    pairs: np.ndarray
    images: int
    values: dict[str, np.ndarray]
    targets: dict[str, np.ndarray]
    ceilings: dict[str, float]
    correlations: dict[tuple[str, str], list[compared.Correlation]]


def compute(
    subject: Compared,
    progress: Callable[[str], None] = lambda what: None,
    *,
    found: streaming.Comparison | None = None,
) -> Record:
    """Compares pairs of networks by all measures, and their behaviour.

    Args:
      subject: the networks; at least four for correlations.
      progress: called with what is being done.
      found: the similarities by all measures, where they have been computed.
    """
    found = found or compared.similarities(subject, compared.MEASURES, progress)
    pairs = np.array(found.pairs)
    targets, halves = _behaviour(subject, pairs)
    values = {name: found.stacked(name) for name in compared.MEASURES}
    correlations = {
        (name, target): [
            compared.correlation(1 - tables[:, i, i], difference, pairs)
            for i in range(len(subject.layers))
        ]
        for name, tables in values.items()
        for target, difference in targets.items()
    }
    return Record(
        layers=subject.layers,
        pairs=pairs,
        images=found.settings["samples"],
        values=values,
        targets=targets,
        ceilings={t: compared.noise_ceiling(*(h[t] for h in halves)) for t in targets},
        correlations=correlations,
    )


def _behaviour(
    subject: Compared, pairs: np.ndarray
) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    """Returns differences `[P]` on all test images, and on every second of them."""
    outputs = compared.log_probabilities(subject)
    labels = np.asarray(subject.test.labels)

    def on(part: slice) -> dict[str, np.ndarray]:
        rows = [
            compared.differences(outputs[i, part], outputs[j, part], labels[part])
            for i, j in pairs
        ]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    return on(slice(None)), [on(slice(start, None, 2)) for start in (0, 1)]


def identified(tables: np.ndarray) -> np.ndarray:
    """Tells for each pair and layer whether its most similar layer is the same one.

    Args:
      tables: `[P, L, L]`.

    Returns:
      `[2 P, L]` of 0 and 1, from both sides of each pair; nan where the layer cannot be
      compared with all others.

    References:
      Kornblith et al., 2019, section 6.1.
    """
    both = np.concatenate([tables, tables.swapaxes(1, 2)])
    best = np.where(np.isnan(both), -np.inf, both).argmax(axis=2)
    right = (best == np.arange(tables.shape[1])).astype(float)
    return np.where(np.isnan(both).any(axis=2), np.nan, right)


def tables(record: Record) -> dict[str, Rows]:
    """Returns all correlations, and how often each layer was identified.

    Args:
      record: from `compute`.
    """
    rows = [
        {"measure": name, "target": target, "layer": layer.name}
        | found._asdict()
        | {"noise_ceiling": record.ceilings[target]}
        for (name, target), layers in record.correlations.items()
        for layer, found in zip(record.layers, layers, strict=True)
    ]
    layers = [
        {"measure": name, "layer": layer.name, "identified": part}
        for name, values in record.values.items()
        for layer, part in zip(record.layers, identified(values).mean(0), strict=True)
    ]
    return {"specificity": rows, "identification": layers}


def summary(record: Record) -> list[Rows]:
    """Returns for each measure its mean over layers, and the last layer's interval.

    Args:
      record: from `compute`.
    """
    rows = []
    for name, values in record.values.items():
        row = {"measure": name, "layers identified": _mean(identified(values))}
        for target in record.targets:
            layers = record.correlations[name, target]
            last = layers[-1]
            row[f"{target}, mean"] = _mean(np.array([c.rho for c in layers]))
            name_of_last = f"{target}, {record.layers[-1].name}"
            row[name_of_last] = interval_text(last.rho, last.low, last.high)
        rows.append(row)
    ceilings = {f"{t}, mean": f"{c:.2f}" for t, c in record.ceilings.items()}
    rows.append({key: ceilings.get(key, "") for key in rows[0]})
    rows[-1]["measure"] = "noise ceiling"
    return [rows]


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def plot(record: Record) -> dict[str, Figure]:
    """Draws the correlations with disagreement, one line for each measure.

    Args:
      record: from `compute`.
    """
    figure, axes = style.figure(width=7.0, height=3.6)
    for name in record.values:
        layers = record.correlations[name, "disagreement"]
        axes.plot([c.rho for c in layers], marker="o", markersize=3, label=name)
    axes.axhline(record.ceilings["disagreement"], color=style.GREY, linestyle="--")
    axes.set_xticks(range(len(record.layers)), [layer.label for layer in record.layers])
    axes.set_ylabel("rank correlation with disagreement", fontsize="small")
    axes.legend(frameon=False, fontsize="xx-small", loc="center left",
                bbox_to_anchor=(1, 0.5))  # fmt: skip
    return {"specificity": figure}


def caption(record: Record) -> str:
    """Says what is shown.

    Args:
      record: from `compute`.
    """
    networks = len(np.unique(record.pairs))
    return (
        f"Spearman's rank correlation of dissimilarity on {record.images} test images "
        "with the difference in behaviour on all test images, over the "
        f"{len(record.pairs)} pairs of {networks} networks; 95 % intervals by leaving "
        "out one network. The noise ceiling (dashed) is what a perfect measure could "
        "reach, from two halves of the images. Layers identified: how often the most "
        "similar layer of another network is the same layer; – where resolutions do "
        "not match, so that not all layers can be compared."
    )
