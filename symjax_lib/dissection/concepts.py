"""Labelled images, as dissection needs them, from whatever source."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Labelled(NamedTuple):
    """One image and where its concepts are.

    Attributes:
      image: `[H, W, 3]` uint8.
      concepts: `[K]` numbers of the concepts that are in the image.
      masks: `[K, h, w]` bool, where each is; all true for a label of the whole image.
    """

    image: np.ndarray
    concepts: np.ndarray
    masks: np.ndarray


class Concepts(NamedTuple):
    """A data set of labelled images.

    Attributes:
      names: of the concepts, `L` of them.
      categories: names, `G` of them, as color or texture.
      category: `[L]` number of each concept's category.
      length: number of images.
      read: `index -> Labelled`, the same whenever it is called.
    """

    names: tuple[str, ...]
    categories: tuple[str, ...]
    category: np.ndarray
    length: int
    read: Callable[[int], Labelled]


def check_sizes(
    first: Labelled, items: Sequence[Labelled], numbers: Sequence[int]
) -> None:
    """Refuses images of another size than the first one.

    Args:
      first: of the data set.
      items: others.
      numbers: of these.

    Raises:
      ValueError: an image or its masks have another size.
    """
    size = lambda item: (item.image.shape[:2], item.masks.shape[1:])
    for item, number in zip(items, numbers, strict=True):
        if size(item) != size(first):
            raise ValueError(
                f"dissect: image {number} and its masks have the sizes {size(item)}, "
                f"image 0 and its masks {size(first)}; bring all to one size."
            )


def stack(items: Sequence[Labelled], pad: int) -> tuple[np.ndarray, ...]:
    """Returns images, concepts and masks of a batch; concepts are filled up with -1.

    Args:
      items: of one size.
      pad: the number of concepts is filled up to a multiple of it.
    """
    most = -(-max(1, *(len(item.concepts) for item in items)) // pad) * pad
    size = items[0].masks.shape[1:]
    numbers = np.full((len(items), most), -1)
    masks = np.zeros((len(items), most, *size), bool)
    for i, item in enumerate(items):
        numbers[i, : len(item.concepts)] = item.concepts
        masks[i, : len(item.concepts)] = item.masks
    return np.stack([item.image for item in items]), numbers, masks
