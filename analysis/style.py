"""One look for all figures; nothing here is global."""

from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Told apart by colour-blind readers, and in print.
COLORS = (
    "#0b6e99", "#d1495b", "#b07d00", "#5b8c5a", "#7b5ea7", "#3f3f3f", "#8fb8de",
    "#e29578", "#c9b458",
)  # fmt: skip
GREY = "#8a8f98"
POINTS: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 4,
    "color": GREY,
    "alpha": 0.7,
}


def figure(*, width: float = 6.0, height: float = 3.0) -> tuple[Figure, Axes]:
    """Makes a figure with one pair of axes.

    Args:
      width: in inches.
      height: in inches.
    """
    panel = Figure(figsize=(width, height), layout="constrained")
    axes = panel.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return panel, axes


def bars(
    axes: Axes,
    labels: list[str],
    series: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    """Draws groups of bars with error bars.

    Args:
      axes: to draw on.
      labels: of the groups, `[L]`.
      series: for each name mean and half the error bar, both `[L]`.
    """
    width = 0.8 / len(series)
    for i, (name, (mean, sd)) in enumerate(series.items()):
        x = np.arange(len(labels)) + (i - (len(series) - 1) / 2) * width
        axes.bar(
            x, mean, 0.92 * width, yerr=sd, label=name, color=COLORS[i % len(COLORS)],
            error_kw={"linewidth": 1, "capsize": 2},
        )  # fmt: skip
    axes.set_xticks(range(len(labels)), labels)
    axes.legend(frameon=False, fontsize="small")


def heat_map(axes: Axes, values: np.ndarray, labels: list[str], title: str) -> None:
    """Draws a matrix on the colour scale from 0 to 1, with its numbers if it is small.

    Args:
      axes: to draw on.
      values: `[L, L]`; row 0 is drawn at the bottom.
      labels: of rows and columns, `[L]`.
      title: above it.
    """
    image = axes.imshow(values, origin="lower", vmin=0, vmax=1, cmap="magma")
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=45, ha="right", fontsize="small")
    axes.set_yticks(ticks, labels, fontsize="small")
    axes.set_title(title, fontsize="medium")
    if len(labels) > 10:
        cast(Figure, axes.get_figure(root=True)).colorbar(image, ax=axes, shrink=0.8)
    else:
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                color = "white" if value < 0.6 else "black"
                axes.text(
                    j, i, f"{value:.2f}", color=color, ha="center", va="center",
                    fontsize="small",
                )  # fmt: skip
