"""Reads images with labelled concepts in the layout of Broden.

A folder has `index.csv` with a row for each image, `label.csv` with the numbers and
names of concepts, `category.csv`, and `images/`. In the column of a category is either
the name of a picture whose pixels are numbers, red + 256 green, 0 for none, or a number
for the whole image; several are separated by semicolons.
"""

import csv
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from symjax_lib.dissection.concepts import Concepts, Labelled

_COLUMNS = "image", "split", "ih", "iw", "sh", "sw"


class _Index(NamedTuple):
    """Attributes: the folder, rows of `index.csv`, and places of label numbers."""

    images: Path
    rows: list[dict[str, str]]
    categories: tuple[str, ...]
    place: dict[int, int]


def read(folder: str | Path, *, split: str | None = None) -> Concepts:
    """Opens a data set; images are read when they are asked for.

    Args:
      folder: with `index.csv`.
      split: "train" or "val", or all images.

    Returns:
      `Concepts`, in the order of their numbers.

    Raises:
      ValueError: a file is missing, a table lacks a column, or there is no image of the
        split; when an image is read, it or its labels are missing, have another size
        than the index says, or a label has no name.
    """
    folder = Path(folder)
    labels = _table(folder / "label.csv", ("number", "name", "category"))
    categories = tuple(
        row["name"] for row in _table(folder / "category.csv", ("name",))
    )
    rows = _table(folder / "index.csv", (*_COLUMNS, *categories))
    rows = [row for row in rows if split in (None, row["split"])]
    if not rows:
        raise ValueError(f"broden.read: {folder}/index.csv has no image of {split!r}.")
    labels.sort(key=lambda row: int(row["number"]))
    index = _Index(
        images=folder / "images",
        rows=rows,
        categories=categories,
        place={int(row["number"]): i for i, row in enumerate(labels)},
    )
    return Concepts(
        names=tuple(row["name"] for row in labels),
        categories=categories,
        category=np.array([_category(row, categories, folder) for row in labels]),
        length=len(rows),
        read=functools.partial(_read, index),
    )


def _table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except FileNotFoundError as error:
        raise ValueError(
            f"broden.read: there is no {path}; name a folder in the layout of Broden, "
            "or make one by dissection.draw."
        ) from error
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise ValueError(f"broden.read: {path} has no column {', '.join(missing)}.")
    return rows


def _category(row: dict[str, str], categories: tuple[str, ...], folder: Path) -> int:
    """Returns the category that a label is in most often, of `part(3);object(9)`."""
    found = re.findall(r"([^;()]+)\((\d+)\)", row["category"])
    known = [(int(n), name) for name, n in found if name in categories]
    if not known:
        raise ValueError(
            f"broden.read: label {row['name']!r} in {folder}/label.csv is of "
            f"{row['category']!r}, and category.csv has {', '.join(categories)}."
        )
    return categories.index(max(known, key=lambda pair: pair[0])[1])


def _read(index: _Index, i: int) -> Labelled:
    row = index.rows[i]
    height, width, *size = (int(row[name]) for name in _COLUMNS[2:])
    image = _picture(index.images / row["image"], (height, width))
    concepts, masks = [], []
    for number, mask in _labels(index, row, tuple(size)):
        if number not in index.place:
            raise ValueError(
                f"broden.read: {row['image']} has the label {number}, which label.csv "
                "does not name."
            )
        concepts.append(index.place[number])
        masks.append(mask)
    return _merged(image, concepts, np.reshape(masks, (-1, *size)).astype(bool))


def _labels(
    index: _Index, row: dict[str, str], size: tuple[int, ...]
) -> Iterator[tuple[int, np.ndarray]]:
    for category in index.categories:
        for value in filter(None, (row[category] or "").split(";")):
            if value.isdigit():
                if int(value):  # 0 is no label
                    yield int(value), np.ones(size, bool)
                continue
            colours = _picture(index.images / value, size).astype(int)
            numbers = colours[..., 0] + 256 * colours[..., 1]
            for number in np.unique(numbers[numbers > 0]):
                yield int(number), numbers == number


def _merged(image: np.ndarray, concepts: list[int], masks: np.ndarray) -> Labelled:
    """Returns every concept once, where any of its masks is."""
    there, which = np.unique(np.array(concepts, int), return_inverse=True)
    merged = np.zeros((len(there), *masks.shape[1:]), bool)
    np.logical_or.at(merged, which, masks)
    return Labelled(image, there, merged)


def _picture(path: Path, size: tuple[int, ...]) -> np.ndarray:
    """Returns `[*size, 3]` uint8."""
    image: Any = pillow().open
    try:
        with image(path) as file:
            pixels = np.asarray(file.convert("RGB"))
    except OSError as error:
        raise ValueError(f"broden.read: {path} was not read: {error}") from error
    if pixels.shape[:2] != size:
        raise ValueError(
            f"broden.read: {path} has {pixels.shape[:2]} pixels, index.csv says {size}."
        )
    return pixels


def pillow() -> Any:
    """Returns the module that reads and writes pictures."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "broden.read needs Pillow: pip install 'symjax_lib[train]'."
        ) from error
    return Image
