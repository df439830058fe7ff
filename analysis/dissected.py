"""Units of a dissected network as tables and figures."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis import statistics, style
from analysis.tables import Rows
from symjax_lib.dissection import Concepts, Detectors, Tally

TITLE = "Network dissection"


class Record(NamedTuple):
    """What the units of layers detect, in `R` rotations by `A` powers.

    Attributes:
      model: name of the network.
      data: the images.
      alphas: `A` powers, of which the first is 0, the units as they are.
      rotations: R.
      minimum: of the intersection over union of an interpretable unit.
      tallies: of each layer, in `1 + R (A - 1)` bases: the units, then by rotation all
        other powers.
      detectors: likewise.
    """

    model: str
    data: Concepts
    alphas: tuple[float, ...]
    rotations: int
    minimum: float
    tallies: dict[str, Tally]
    detectors: dict[str, Detectors]


def by_alpha(record: Record, values: np.ndarray) -> np.ndarray:
    """Returns values of bases `[bases, ...]` as `[R, A, ...]`, equal for alpha 0.

    Args:
      record: from `compute`.
      values: in the order of the bases.
    """
    powers = len(record.alphas) - 1
    rotated = values[1:].reshape(record.rotations, powers, *values.shape[1:])
    plain = np.broadcast_to(values[0], (record.rotations, 1, *values.shape[1:]))
    return np.concatenate([plain, rotated], axis=1)


def tables(record: Record) -> dict[str, Rows]:
    """Returns counts for every layer, rotation and power, and the units as they are.

    Args:
      record: from `compute`.
    """
    names, categories = record.data.names, record.data.categories
    counts, units = [], []
    for layer, found in record.detectors.items():
        interpretable, unique = (
            by_alpha(record, values) for values in (found.interpretable, found.unique)
        )
        for r, a in np.ndindex(record.rotations, len(record.alphas)):
            row = {"layer": layer, "rotation": r, "alpha": record.alphas[a]}
            row |= {"units": found.concept.shape[1]}
            row |= {"interpretable": int(interpretable[r, a].sum())}
            row |= {"unique": int(unique[r, a].sum())}
            for g, category in enumerate(categories):
                row[f"interpretable {category}"] = int(interpretable[r, a, g])
                row[f"unique {category}"] = int(unique[r, a, g])
            counts.append(row)
        tally = record.tallies[layer]
        for u in np.argsort(-found.score[0], kind="stable"):
            concept = int(found.concept[0, u])
            group = record.data.category[concept]
            somewhere = found.score[0, u] > 0  # else it overlaps no concept
            units.append(
                {
                    "layer": layer,
                    "unit": int(u),
                    "concept": names[concept] if somewhere else "none",
                    "category": categories[group] if somewhere else "none",
                    "iou": found.score[0, u],
                    "threshold": tally.thresholds[0, u],
                    "above": tally.above[0, u] / tally.activations,
                }
            )
    return {"dissection": counts, "dissection_units": units}


def summary(record: Record) -> list[Rows]:
    """Returns a row for each layer and power: mean ± sd over rotations.

    Args:
      record: from `compute`.
    """
    rows = []
    for layer, found in record.detectors.items():
        interpretable, unique = (
            by_alpha(record, values.sum(axis=1))
            for values in (found.interpretable, found.unique)
        )
        for a, alpha in enumerate(record.alphas):
            row = {"layer": layer, "units": found.concept.shape[1]}
            row["alpha"] = f"{alpha:g}"
            for name, values in (
                ("interpretable", interpretable), ("unique detectors", unique),
            ):  # fmt: skip
                row[name] = _text(values[:, a], rotated=alpha > 0)
            rows.append(row)
    return [rows, _breakdown(record)]


def _text(values: np.ndarray, *, rotated: bool) -> str:
    """Returns mean ± sd of numbers of units, which do not differ if not rotated."""
    found = statistics.summarise(values.astype(float))
    spread = f" ± {found.sd:.1f}" if rotated and found.n > 1 else ""
    return f"{found.mean:.4g}{spread}"


def _breakdown(record: Record) -> Rows:
    """Returns interpretable units by category, plain and fully rotated."""
    rows = []
    for layer, found in record.detectors.items():
        values = by_alpha(record, found.interpretable).mean(axis=0)
        for g, category in enumerate(record.data.categories):
            row = {"layer": layer, "category": category}
            row |= {"interpretable, plain": f"{values[0, g]:g}"}
            last = f"alpha {record.alphas[-1]:g}"
            rows.append(row | {last: f"{values[-1, g]:.1f}"})
    return rows


def plot(record: Record) -> dict[str, Figure]:
    """Draws interpretable units and unique detectors against the power.

    Args:
      record: from `compute`.
    """
    figures = {}
    for number, kind in enumerate(("interpretable", "unique")):
        figure, axes = style.figure(width=5.0, height=3.2)
        for i, (layer, found) in enumerate(record.detectors.items()):
            values = by_alpha(record, getattr(found, kind).sum(axis=1))
            mean = values.mean(axis=0)
            sd = values.std(axis=0, ddof=1) if record.rotations > 1 else 0 * mean
            axes.errorbar(
                record.alphas, mean, sd, capsize=2, label=layer,
                color=style.COLORS[i % len(style.COLORS)],
            )  # fmt: skip
        name = "interpretable units" if number == 0 else "unique detectors"
        axes.set(xlabel="power of the rotation", ylabel=name)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize="small")
        figures[f"dissection_{kind}"] = figure
    return figures


def caption(record: Record) -> str:
    """Says what is shown and how it was counted.

    Args:
      record: from `compute`.
    """
    above = [tally.above / tally.activations for tally in record.tallies.values()]
    spread = "; mean ± standard deviation over rotations" * (record.rotations > 1)
    parts = 100 * np.concatenate([part.ravel() for part in above])
    low, usual, high = np.quantile(parts, [0.05, 0.5, 0.95])
    return (
        f"Units of {record.model} on {record.data.length} images with "
        f"{len(record.data.names)} concepts. A unit is where it exceeds a threshold of "
        f"its own, as {usual:.3g} % of its activations do for the median unit and "
        f"{low:.3g} to {high:.3g} % for nine of ten; it is interpretable if its "
        "intersection over union with a concept exceeds "
        f"{record.minimum:g}; unique detectors are the different concepts of these. "
        f"Units are rotated by powers of {record.rotations} random rotations, uniform "
        "on SO(n), along the shortest path from the identity"
        f"{spread}. The union is taken over all images with a label of the concept's "
        "category; the original code takes those that the unit touches, and has higher "
        "scores."
    )
