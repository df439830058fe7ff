"""What else penalties show: settings that held-out images chose, and sparsity."""

import collections

import numpy as np
from matplotlib.figure import Figure

from analysis import style
from analysis.stitch_file import Row
from analysis.subject import Layer
from analysis.tables import Rows


def chosen(layers: tuple[Layer, ...], rows: list[Row]) -> Rows:
    """Returns how often each setting of a class was chosen at each layer.

    Args:
      layers: in order.
      rows: all cells; classes without settings are left out.
    """
    counts = collections.Counter(
        (row["layer"], row["stitch"], row["variant"]) for row in rows if row["variant"]
    )
    order = [layer.name for layer in layers]
    return [
        {"layer": layer, "stitch": stitch, "variant": variant, "pairs": count}
        for (layer, stitch, variant), count in sorted(
            counts.items(), key=lambda item: (order.index(item[0][0]), item[0][1:])
        )
    ]


def plot_chosen(layers: tuple[Layer, ...], rows: list[Row]) -> dict[str, Figure]:
    """Draws a histogram of the chosen settings, as the paper's figure 14.

    Args:
      layers: in order.
      rows: all cells.
    """
    found = chosen(layers, rows)
    if not found:
        return {}
    variants = sorted({row["variant"] for row in found}, key=float)
    table = {(row["layer"], row["variant"]): row["pairs"] for row in found}
    figure, axes = style.figure(width=max(6.4, 0.9 * len(layers)), height=2.6)
    none = np.zeros(len(layers))
    series = {
        variant: (np.array([table.get((x.name, variant), 0) for x in layers]), none)
        for variant in variants
    }
    style.bars(axes, [layer.label for layer in layers], series)
    axes.set(ylabel="pairs that chose it")
    return {"penalties_chosen": figure}


def plot_sparsity(
    layers: tuple[Layer, ...], rows: list[Row], clean: np.ndarray
) -> dict[str, Figure]:
    """Draws penalty against sparsity of the matrix, as the paper's figure 15.

    Args:
      layers: in order.
      rows: all cells; nothing is drawn if no class is an L1 stitch.
      clean: accuracies of the networks.
    """
    classes = list(dict.fromkeys(row["stitch"] for row in rows))
    if not any(name.startswith("L1") for name in classes):
        return {}
    figure, axes = style.figure(width=5.4, height=3.4)
    for number, name in enumerate(classes):
        points = []
        for layer in layers:
            some = [r for r in rows if (r["stitch"], r["layer"]) == (name, layer.name)]
            loss = [
                (clean[r["front"]] + clean[r["back"]]) / 2 - r["test"] for r in some
            ]
            points.append((np.mean([r["sparsity"] for r in some]), np.mean(loss)))
        x, y = np.transpose(points)
        color = style.COLORS[number % len(style.COLORS)]
        axes.plot(x, 100 * y, "o-", color=color, label=name, alpha=0.8)
    axes.set(xlabel="part of entries near 0", ylabel="penalty in % of accuracy")
    axes.legend(frameon=False, fontsize="small")
    return {"penalties_sparsity": figure}
