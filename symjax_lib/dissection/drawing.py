"""Draws a small data set in the layout of Broden, whose concepts are known exactly."""

import collections
import csv
from pathlib import Path
from typing import Any

import numpy as np

from symjax_lib.dissection import broden
from symjax_lib.dissection.broden import pillow
from symjax_lib.dissection.concepts import Concepts

COLOURS = {
    "red-c": (1, 0, 0),
    "green-c": (0, 1, 0),
    "blue-c": (0, 0, 1),
    "yellow-c": (1, 1, 0),
}
SHAPES = "square", "disc", "cross"
TEXTURES = "striped", "plain"
_CATEGORY = {
    **dict.fromkeys(COLOURS, "color"),
    **dict.fromkeys(SHAPES, "object"),
    **dict.fromkeys(TEXTURES, "texture"),
}
_NUMBER = {name: i + 1 for i, name in enumerate(_CATEGORY)}
_MAPS = "color", "object"  # pixel by pixel
_GREY = np.array([96, 160])
_SCALE = 2  # pixels of an image to one of its labels


def draw(
    folder: str | Path, *, images: int = 64, size: int = 64, seed: int = 0
) -> Concepts:
    """Draws shapes of pure colours on grey, plain or striped; the same for a seed.

    Shapes do not overlap. Colours and shapes are labelled pixel by pixel, textures by
    the image; what is grey has no colour.

    Args:
      folder: to write, new or empty.
      images: a fifth of them is for validation.
      size: height and width of the images, an even number from 32.
      seed: of everything.

    Returns:
      `Concepts`, as `read` opens them.

    Raises:
      ValueError: the folder has something, or there are no images, or of another size.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     data = draw(folder, images=2)
      ...     item = data.read(0)
      >>> item.image.shape, item.masks.shape[1:], data.names[4:7]
      ((64, 64, 3), (32, 32), ('square', 'disc', 'cross'))
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"dissection.draw: {folder} is not empty; name a new folder.")
    if images < 1 or size < 32 or size % 2:
        raise ValueError(
            f"dissection.draw: {images} images of size {size}; there must be at least "
            "one, of an even size from 32."
        )
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows, found = [], collections.Counter()
    for i in range(images):
        row, names = _one(folder / "images", i, size, seed)
        rows.append(row)
        found.update(names)
    _write(folder / "index.csv", rows)
    _write(
        folder / "category.csv",
        [{"name": name} for name in dict.fromkeys(_CATEGORY.values())],
    )
    labels = [
        {
            "number": _NUMBER[name],
            "name": name,
            "category": f"{category}({found[name]})",
        }
        for name, category in _CATEGORY.items()
    ]
    _write(folder / "label.csv", labels)
    return broden.read(folder)


def _one(folder: Path, i: int, size: int, seed: int) -> tuple[dict[str, Any], set[str]]:
    """Draws an image with its labels; returns its row of the index and its concepts."""
    rng = np.random.default_rng([seed, i])
    side = size // _SCALE
    texture = str(rng.choice(TEXTURES))
    stripes = np.arange(side) // 2 % 2 if texture == "striped" else np.zeros(side, int)
    pixels = np.broadcast_to(_GREY[stripes][:, None, None], (side, side, 3)).copy()
    maps = {category: np.zeros((side, side), int) for category in _MAPS}
    names = {texture}
    for quarter in rng.permutation(4)[: rng.integers(1, 4)]:  # in each one shape
        colour, shape = str(rng.choice(tuple(COLOURS))), str(rng.choice(SHAPES))
        half = int(rng.integers(3, side // 4))
        corner = np.array(divmod(quarter, 2)) * (side // 2)
        centre = corner + rng.integers(half, side // 2 - half, size=2)
        mask = _shape(shape, side, centre, half)
        pixels[mask] = 255 * np.array(COLOURS[colour])
        maps["color"][mask], maps["object"][mask] = _NUMBER[colour], _NUMBER[shape]
        names |= {colour, shape}
    name = f"{i:04d}"
    _save(folder / f"{name}.png", pixels.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1))
    for category, labels in maps.items():
        red_green = np.stack([labels % 256, labels // 256, 0 * labels], axis=-1)
        _save(folder / f"{name}_{category}.png", red_green)
    row = {"image": f"{name}.png", "split": "val" if i % 5 == 4 else "train"}
    row |= {"ih": size, "iw": size, "sh": side, "sw": side}
    row |= {category: f"{name}_{category}.png" for category in maps}
    return row | {"texture": _NUMBER[texture]}, names


def _shape(shape: str, side: int, centre: np.ndarray, half: int) -> np.ndarray:
    """Returns where a shape is, `[side, side]` bool."""
    y, x = (np.abs(np.arange(side) - c) for c in centre)
    y, x = y[:, None], x[None, :]
    if shape == "disc":
        return y**2 + x**2 <= half**2
    within = np.maximum(y, x) <= half
    return within if shape == "square" else within & (np.minimum(y, x) <= half // 3)


def _save(path: Path, pixels: np.ndarray) -> None:
    pillow().fromarray(pixels.astype(np.uint8)).save(path)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
