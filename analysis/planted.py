"""Do stitches find an answer that is there? From f to A f the map phi(A_l) is exact."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from analysis import features, stitch_cells, stitch_file, stitch_protocol, style
from analysis.networks import Compared
from analysis.stitch_cells import Cell
from analysis.stitch_file import Row
from analysis.stitch_protocol import Protocol
from analysis.subject import Layer
from analysis.tables import Rows
from symjax_lib import symmetry
from symjax_lib.stitching import Network

TITLE = "Planted stitches"
CASES = 20
CLASSES = ("full", "rank 4", "G_ReLU", "permutation", "least squares", "matching")


class Record(NamedTuple):
    """Penalties of stitches from a network to itself in other weights.

    Attributes:
      layers: `L` of them.
      protocol: of the fits.
      images: that stitches were fitted on.
      tested: images that they were measured on.
      clean: accuracy of the network on those.
      penalty: for each class `[cases, L]`, as fractions; nan where a fit diverged.
      rows: all cells.
    """

    layers: tuple[Layer, ...]
    protocol: Protocol
    images: int
    tested: int
    clean: float
    penalty: dict[str, np.ndarray]
    rows: list[Row]


def compute(
    subject: Compared,
    *,
    classes: tuple[str, ...] = (),
    epochs: int | None = None,
    images: int = stitch_protocol.IMAGES,
    protocol: str = "adam",
    kept: Path | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Record:
    """Moves the first network by random elements of its group, and stitches.

    Args:
      subject: networks, of which the first is taken.
      classes: see `penalties.compute`.
      epochs: likewise.
      images: likewise.
      protocol: likewise.
      kept: likewise.
      progress: likewise.

    Raises:
      UserError: as there.
    """
    classes = classes or CLASSES
    data = stitch_protocol.split(subject, images)
    how = stitch_protocol.named(data, classes, epochs, protocol)
    network = subject.networks[0]
    moved = plant(network, subject.stream("planted"), subject.test.images[:2])
    cells = [
        Cell(0, 1 + case, layer) for layer in subject.layers for case in range(CASES)
    ]
    rows = stitch_cells.run(
        [network, *moved], cells, data, how, subject.stream("planted stitches"),
        kept=kept, progress=progress,
    )  # fmt: skip
    clean = features.accuracy(network, data.test)
    return Record(
        layers=subject.layers,
        protocol=how,
        images=len(data.train.labels),
        tested=len(data.test.labels),
        clean=clean,
        penalty={
            name: clean - stitch_file.matrix(rows, name, "test", CASES)
            for name in classes
        },
        rows=rows,
    )


def plant(network: Network, key: jax.Array, images: jax.Array) -> list[Network]:
    """Returns the network in other weights, moved by random elements of its group.

    Of its group in training mode, as statistics are refreshed: with those of a trained
    BatchNorm a channel has a scaling more, which statistics of a batch undo.

    Args:
      network: to move.
      key: consumed.
      images: two or more; their shape counts.
    """
    spec = symmetry.trace(network.update, network.variables, images)
    elements = [symmetry.sample(k, spec) for k in jax.random.split(key, CASES)]
    move = lambda g: symmetry.act(spec, g, network.variables)
    return [network._replace(variables=move(g)) for g in elements]


def tolerance(record: Record) -> float:
    """Returns the penalty up to which a planted stitch counts as found.

    Two standard errors of an accuracy on the test images: statistics that are refreshed
    with the exact stitch are those of other batches, and turn a few images.

    Args:
      record: from `compute`.
    """
    return 2 * float(np.sqrt(record.clean * (1 - record.clean) / record.tested))


def tables(record: Record) -> dict[str, Rows]:
    """Returns how often each class found the planted stitch, and all cells.

    Args:
      record: from `compute`.
    """
    rates = [
        {
            "layer": layer.name,
            "inside": layer.inside,
            "stitch": name,
            "cases": len(values),
            "found": int((values[:, j] <= tolerance(record)).sum()),
            "mean penalty": np.nanmean(values[:, j]),
            "largest": np.nanmax(values[:, j]),
        }
        for name, values in record.penalty.items()
        for j, layer in enumerate(record.layers)
    ]
    return {"planted": rates, "planted_cells": record.rows}


def summary(record: Record) -> list[Rows]:
    """Returns a row for each layer: in how many cases each class found the stitch.

    Args:
      record: from `compute`.
    """
    rows = tables(record)["planted"]
    found = {(row["layer"], row["stitch"]): row["found"] for row in rows}
    return [
        [
            {"layer": layer.label}
            | {name: f"{found[layer.name, name]}/{CASES}" for name in record.penalty}
            for layer in record.layers
        ]
    ]


def plot(record: Record) -> dict[str, Figure]:
    """Draws the penalties of all cases.

    Args:
      record: from `compute`.
    """
    figure, axes = style.figure(width=max(6.4, 0.9 * len(record.layers)), height=3.0)
    count = len(record.penalty)
    for i, (name, values) in enumerate(record.penalty.items()):
        x = np.arange(len(record.layers)) + 0.8 * ((i + 0.5) / count - 0.5)
        places = np.broadcast_to(x, values.shape).ravel()
        color = style.COLORS[i % len(style.COLORS)]
        axes.plot(places, 100 * values.ravel(), ".", color=color, label=name, alpha=0.6)
    axes.axhline(100 * tolerance(record), color="black", linewidth=0.8)
    axes.set_xticks(range(len(record.layers)), [x.label for x in record.layers])
    axes.set(ylabel="penalty in % of accuracy")
    axes.legend(frameon=False, fontsize="small")
    return {"planted": figure}


def caption(record: Record) -> str:
    """Says what was planted and what counts as found.

    Args:
      record: from `compute`.
    """
    return (
        f"A network was moved by {CASES} random elements of its symmetry group: the "
        "same function in other weights, whose features differ by a known map. "
        "Stitches of each class from the network to the moved one, fitted on "
        f"{record.images} training images in {record.protocol.epochs} epochs, find it "
        "if their penalty on the test images is at most two standard errors, "
        f"{100 * tolerance(record):.2f} points (the line). Classes that do not contain "
        "the map cannot; inside a residual block (*) none does, as the skip connection "
        "brings features that were not moved."
    )
