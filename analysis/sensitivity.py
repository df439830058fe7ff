"""Do measures notice what matters to the network? Principal components are removed.

At one layer of one network the principal components of least variance are removed from
the channels. A sensitive measure falls below its own level between networks of
different seeds before the predictions change, and in the order in which they do.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from analysis import compared, features, principal, style
from analysis.networks import Compared
from analysis.subject import Images, Layer
from analysis.tables import Rows
from symjax_lib import stitching
from symjax_lib.similarity import streaming

TITLE = "Sensitivity of the measures"
REMOVED = (0.125, 0.25, 0.5, 0.625, 0.75, 0.875)
"""Parts of the principal components that are removed, those of least variance."""
_IMAGES = 128


class Record(NamedTuple):
    """Similarity of a layer to itself with components removed, and what that does.

    Attributes:
      layers: `L` of them.
      networks: `S` numbers.
      images: that features were computed on.
      behaved: number of test images that behaviour was measured on.
      values: for each measure `[S, L, R]`, for each of `REMOVED`.
      between: for each measure `[L]`, the mean over pairs of networks.
      targets: for each kind of difference in behaviour `[S, L, R]`.
      ceilings: for each the best rank correlation that its noise allows.
      correlations: for each measure and target one for each layer, of dissimilarity
        with difference over networks and parts.
    """

    layers: tuple[Layer, ...]
    networks: np.ndarray
    images: int
    behaved: int
    values: dict[str, np.ndarray]
    between: dict[str, np.ndarray]
    targets: dict[str, np.ndarray]
    ceilings: dict[str, float]
    correlations: dict[tuple[str, str], list[compared.Correlation]]


def compute(
    subject: Compared, progress: Callable[[str], None] = lambda what: None
) -> Record:
    """Removes components at every layer of every network, one layer at a time.

    Args:
      subject: the networks; at least four for intervals.
      progress: called with what is being done.
    """
    measured = subject.measured
    few = Images(measured.images[:_IMAGES], measured.labels[:_IMAGES])
    subject = subject._replace(measured=few)
    seeds = compared.similarities(subject, compared.MEASURES, progress)
    between = {
        name: np.diagonal(seeds.stacked(name), axis1=1, axis2=2).mean(0)
        for name in compared.MEASURES
    }
    values = {name: [] for name in compared.MEASURES}
    outputs = []
    for s, network in enumerate(subject.networks):
        progress(f"network {s + 1} of {len(subject.networks)}")
        taps = features.taps(network, few.images)
        for layer in subject.layers:
            bases = principal.bases(taps[layer.name], REMOVED)
            for name, row in _similarities(taps[layer.name], bases).items():
                values[name].append(row)
            outputs.append(_behaviour(measured, network, layer.name, bases))
    shape = (len(subject.networks), len(subject.layers), len(REMOVED))
    whole, *halves = (
        {
            t: np.array([out[part][t] for out in outputs]).reshape(shape)
            for t in outputs[0][0]
        }
        for part in range(3)
    )
    tables = {name: np.array(rows).reshape(shape) for name, rows in values.items()}
    return Record(
        layers=subject.layers,
        networks=np.arange(shape[0]),
        images=len(few.images),
        behaved=len(measured.images),
        values=tables,
        between=between,
        targets=whole,
        ceilings={
            t: compared.noise_ceiling(*(half[t].ravel() for half in halves))
            for t in whole
        },
        correlations={
            (name, target): [
                _correlation(table[:, i], difference[:, i])
                for i in range(len(subject.layers))
            ]
            for name, table in tables.items()
            for target, difference in whole.items()
        },
    )


def _correlation(values: np.ndarray, difference: np.ndarray) -> compared.Correlation:
    networks = np.repeat(np.arange(len(values)), values.shape[1])[:, None]
    return compared.correlation(1 - values.ravel(), difference.ravel(), networks)


def _similarities(x: jax.Array, bases: list[principal.Basis]) -> dict[str, np.ndarray]:
    def reader(batch: jax.Array) -> dict[str, jax.Array]:
        parts = {
            str(r): principal.removed(batch, b)
            for r, b in zip(REMOVED, bases, strict=True)
        }
        return {"all": batch, **parts}

    # Two readers, so that the whole layer is compared with each of the others only.
    whole = lambda batch: {"all": batch}
    found = streaming.compare(
        [whole, reader], compared.batches(x), measures=compared.MEASURES
    )
    return {name: tables[0][0, 1:] for name, tables in found.values.items()}


def _behaviour(
    measured: Images,
    network: stitching.Network,
    layer: str,
    bases: list[principal.Basis],
) -> list[dict[str, np.ndarray]]:
    """Returns differences `[R]` on all these images, and on every second of them."""
    labels = np.asarray(measured.labels)
    log_p = compared.log_softmax(
        principal.outputs(network, layer, measured.images, bases)
    )

    def on(part: slice) -> dict[str, np.ndarray]:
        before, after = log_p[0, part], log_p[1:, part]
        return compared.differences(before, after, labels[part])

    return [on(slice(None)), on(slice(0, None, 2)), on(slice(1, None, 2))]


def noticed(record: Record) -> dict[str, np.ndarray]:
    """Returns the least part removed that a measure tells from another seed.

    Args:
      record: from `compute`.

    Returns:
      For each measure `[S, L]`, one of `REMOVED`; 1 where it never fell below the mean
      similarity between networks.
    """
    found = {}
    for name, values in record.values.items():
        below = values < record.between[name][:, None]
        first = np.append(REMOVED, 1.0)[np.where(below.any(-1), below.argmax(-1), -1)]
        found[name] = first
    return found


def tables(record: Record) -> dict[str, Rows]:
    """Returns all similarities and differences, and all correlations.

    Args:
      record: from `compute`.
    """
    rows = [
        {"measure": name, "network": s, "layer": layer.name, "removed": part}
        | {"similarity": values[s, i, r], "between_seeds": record.between[name][i]}
        | {target: found[s, i, r] for target, found in record.targets.items()}
        for name, values in record.values.items()
        for s in record.networks
        for i, layer in enumerate(record.layers)
        for r, part in enumerate(REMOVED)
    ]
    correlations = [
        {"measure": name, "target": target, "layer": layer.name}
        | found._asdict()
        | {"noise_ceiling": record.ceilings[target]}
        for (name, target), layers in record.correlations.items()
        for layer, found in zip(record.layers, layers, strict=True)
    ]
    return {"sensitivity": rows, "sensitivity_correlations": correlations}


def summary(record: Record) -> list[Rows]:
    """Returns for each measure when it notices, and its mean correlations.

    Args:
      record: from `compute`.
    """
    first, rows = noticed(record), []
    for name in record.values:
        row: dict[str, Any] = {"measure": name}
        row["noticed at"] = float(first[name].mean())
        for target in record.targets:
            rho = [c.rho for c in record.correlations[name, target]]
            row[target] = float(np.nanmean(rho)) if np.isfinite(rho).any() else np.nan
        rows.append(row)
    rows.append({"measure": "noise ceiling", "noticed at": "", **record.ceilings})
    return [rows]


def plot(record: Record) -> dict[str, Figure]:
    """Draws the similarity against the part removed, the mean over networks and layers.

    Args:
      record: from `compute`.
    """
    figure, axes = style.figure(width=7.0, height=3.6)
    for name, values in record.values.items():
        axes.plot(
            REMOVED, values.mean(axis=(0, 1)), marker="o", markersize=3, label=name
        )
    axes.set_xlabel("part of the principal components removed", fontsize="small")
    axes.set_ylabel("similarity to the whole layer", fontsize="small")
    axes.legend(frameon=False, fontsize="xx-small", loc="center left",
                bbox_to_anchor=(1, 0.5))  # fmt: skip
    return {"sensitivity": figure}


def caption(record: Record) -> str:
    """Says what is shown.

    Args:
      record: from `compute`.
    """
    return (
        "Components of least variance are removed from the channels of one layer at a "
        f"time, in {len(record.networks)} networks; features on {record.images} test "
        f"images, behaviour on {record.behaved}. Noticed at: the mean part removed at "
        "which the similarity to the whole layer is first below the mean similarity "
        "between networks; less is more sensitive, 1 is never. Then the mean over "
        "layers of Spearman's rank correlation of dissimilarity with the change in "
        "behaviour; the noise ceiling is what a perfect measure could reach."
    )
