"""The best units of a layer with the images on which they are largest."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from analysis.vision import Features
from symjax_lib.dissection import Concepts, Detectors, Tally

UNITS, IMAGES = 6, 4


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
    layer: str,
    basis: np.ndarray,
    tally: Tally,
    detectors: Detectors,
    number: int,
    *,
    batch_size: int = 8,
    progress: Callable[[str], None] = lambda what: None,
) -> Gallery:
    """Looks for the images on which the best units of a basis are largest.

    Args:
      features: of the network.
      data: the images.
      layer: name.
      basis: `[C, C]`.
      tally: of the layer.
      detectors: likewise.
      number: of the basis in them.
      batch_size: images of a forward pass.
      progress: called with a description after each batch.
    """
    score = detectors.score[number]
    units = np.argsort(-score, kind="stable")[:UNITS]
    rows = jnp.asarray(basis)[units]
    best = np.full((len(units), IMAGES), -np.inf)
    images = np.zeros(best.shape, int)
    maps: np.ndarray | None = None
    for first in range(0, data.length, batch_size):
        some = range(first, min(first + batch_size, data.length))
        z = features(np.stack([data.read(i).image for i in some]))[layer]
        new = np.asarray(jnp.einsum("uc,bhwc->ubhw", rows, z))
        if maps is None:
            maps = np.zeros((*best.shape, *new.shape[2:]), np.float32)
        largest = np.concatenate([best, new.max(axis=(2, 3))], axis=1)
        order = np.argsort(-largest, axis=1, kind="stable")[:, :IMAGES]
        pick = lambda old, new, at=order: np.take_along_axis(
            np.concatenate([old, new], axis=1),
            at.reshape(*at.shape, *[1] * (old.ndim - 2)),
            axis=1,
        )
        best = pick(best, new.max(axis=(2, 3)))
        images = pick(images, np.broadcast_to(np.array(some), new.shape[:2]))
        maps = pick(maps, new)
        progress(f"gallery of {layer}, {some[-1] + 1} of {data.length} images")
    titles = [
        f"unit {u}: {data.names[detectors.concept[number, u]]}, {score[u]:.2f}"
        for u in units
    ]
    assert maps is not None  # there is an image
    return Gallery(units, titles, images, maps, tally.thresholds[number][units])


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
