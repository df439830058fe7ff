"""The best units of a layer with the images on which they are largest."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from analysis.vision import Features
from symjax_lib.dissection import Concepts, Detectors, Tally

UNITS, IMAGES = 6, 4


class Top(NamedTuple):
    """For each of U units K images `[U, K]` and its activations `[U, K, h, w]`."""

    images: np.ndarray
    maps: np.ndarray


class Gallery(NamedTuple):
    """Some units and their images.

    Attributes:
      units: `[U]` numbers, the best first.
      titles: what each detects.
      images: `[U, K]` numbers of the images where each is largest.
      maps: `[U, K, h, w]` its activations there.
      thresholds: `[U]`.
    """

    units: np.ndarray
    titles: list[str]
    images: np.ndarray
    maps: np.ndarray
    thresholds: np.ndarray


def collect(
    features: Features,
    data: Concepts,
    tallies: Mapping[str, Tally],
    detectors: Mapping[str, Detectors],
    *,
    batch_size: int = 8,
    progress: Callable[[str], None] = lambda what: None,
) -> dict[str, Gallery]:
    """Looks for the images on which the best units of layers are largest, in one pass.

    Args:
      features: of the network.
      data: the images.
      tallies: of layers, of which the first basis is the units as they are.
      detectors: likewise.
      batch_size: images of a forward pass.
      progress: called with a description after each batch.
    """
    best = {
        layer: np.argsort(-found.score[0], kind="stable")[:UNITS]
        for layer, found in detectors.items()
    }
    tops: dict[str, Top] = {}
    for first in range(0, data.length, batch_size):
        some = np.arange(first, min(first + batch_size, data.length))
        maps = features(np.stack([data.read(i).image for i in some.tolist()]))
        for layer, units in best.items():
            new = np.moveaxis(np.asarray(maps[layer][..., units]), -1, 0)
            images = np.broadcast_to(some, new.shape[:2])
            tops[layer] = _merged(tops.get(layer), Top(images, new))
        progress(f"gallery, {some[-1] + 1} of {data.length} images")
    galleries = {}
    for layer, units in best.items():
        found = detectors[layer]
        titles = [
            f"unit {u}: {data.names[found.concept[0, u]]}, {found.score[0, u]:.2f}"
            for u in units
        ]
        limits = tallies[layer].thresholds[0, units]
        galleries[layer] = Gallery(units, titles, *tops[layer], limits)
    return galleries


def _merged(old: Top | None, new: Top) -> Top:
    """Returns the images of both where units are largest, the first ones of equals."""
    if old is not None:
        parts = zip(old, new, strict=True)
        new = Top(*(np.concatenate(pair, axis=1) for pair in parts))
    largest = new.maps.max(axis=(2, 3))
    order = np.argsort(-largest, axis=1, kind="stable")[:, :IMAGES]
    maps = np.take_along_axis(new.maps, order[..., None, None], axis=1)
    return Top(np.take_along_axis(new.images, order, axis=1), maps)


def draw(data: Concepts, gallery: Gallery, title: str) -> Figure:
    """Draws a row of images for each unit, outlined where it exceeds its threshold.

    Args:
      data: the images.
      gallery: from `collect`.
      title: of the figure.
    """
    rows, columns = gallery.images.shape
    figure = Figure(figsize=(1.5 * columns, 1.7 * rows), layout="constrained", dpi=70)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.suptitle(title, fontsize="medium")
    for u, k in np.ndindex(rows, columns):
        image = data.read(int(gallery.images[u, k])).image
        large = jax.image.resize(gallery.maps[u, k], image.shape[:2], "linear")
        above = np.asarray(large > gallery.thresholds[u])
        panel: Any = axes[u, k]
        panel.imshow(np.where(above[..., None], image, image // 3))
        if above.any() and not above.all():
            panel.contour(above, levels=[0.5], colors="#ffd23f", linewidths=1)
        panel.set_axis_off()
    for u, text in enumerate(gallery.titles):
        axes[u, 0].set_title(text, fontsize="small", loc="left")
    return figure
