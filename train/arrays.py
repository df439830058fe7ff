"""The arrays of a data set: what they must be, their fingerprint, how to split them."""

import hashlib
from typing import NamedTuple

import numpy as np

from train.configs import UserError


class Arrays(NamedTuple):
    """The four arrays of a data set; see `data.Dataset`."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def split(labels: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Holds out the same fraction of every class, evenly spaced in the given order.

    There is no randomness in it: the split depends on the labels and the fraction only.

    Args:
      labels: `[N]` integers.
      fraction: between 0 and 1; a class gives the nearest whole number of images.

    Returns:
      The indices of the rest and of the held-out images, both increasing.

    Raises:
      UserError: nothing would be held out, or nothing left.

    Example:
      >>> rest, held_out = split(np.array([0, 1, 0, 1, 0, 1, 0, 1]), 0.5)
      >>> rest.tolist(), held_out.tolist()
      ([0, 1, 4, 5], [2, 3, 6, 7])
    """
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        (members,) = np.nonzero(labels == label)
        count = round(fraction * len(members))
        steps = np.arange(len(members) + 1) * count // len(members)
        held_out[members] = np.diff(steps) > 0
    if held_out.all() or not held_out.any():
        raise UserError(
            f"split: a fraction of {fraction} holds out {held_out.sum()} of "
            f"{len(labels)} images; choose one between 0 and 1 that leaves some on "
            "both sides."
        )
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def fingerprint(arrays: Arrays) -> str:
    """Returns the SHA-256 of shapes, types and contents, hexadecimal."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def check(name: str, arrays: Arrays) -> None:
    """Refuses what are not images with labels.

    Args:
      name: of the data set, for the message.
      arrays: to check.

    Raises:
      UserError: images are not uint8 of one size, there is not one label for each, or
        the labels are not the numbers from 0 without a gap; says which.
    """
    x, y, test_x, test_y = arrays
    for part, images, labels in (("training", x, y), ("test", test_x, test_y)):
        if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
            raise UserError(
                f"load: the {part} images of {name} must be (N, H, W, C) of uint8 from "
                f"0 to 255, they are {images.shape} of {images.dtype}."
            )
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise UserError(
                f"load: the {part} labels of {name} must be {len(images)} integers, "
                f"one for each image, they are {labels.shape} of {labels.dtype}."
            )
    if x.shape[1:] != test_x.shape[1:]:
        raise UserError(
            f"load: the images of {name} must have one size: training images have "
            f"{x.shape[1:]}, test images {test_x.shape[1:]}."
        )
    classes = np.unique(y)
    if classes.tolist() != list(range(len(classes))):
        raise UserError(
            f"load: the training labels of {name} must be 0, 1, 2, ... without a gap, "
            f"they are {np.array2string(classes, threshold=12)}."
        )
    if test_y.min() < 0 or test_y.max() >= len(classes):
        raise UserError(
            f"load: the test labels of {name} must be from 0 to {len(classes) - 1}, "
            f"like the training labels, they go from {test_y.min()} to {test_y.max()}."
        )
