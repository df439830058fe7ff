"""A data set in memory: images as uint8 arrays, how they are scaled and split."""

import os
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from train import sources
from train.arrays import Arrays as Arrays, fingerprint, split as split


class Dataset(NamedTuple):
    """A data set in memory.

    Attributes:
      name: as `load` takes it.
      train_images: `[N, H, W, C]` uint8.
      train_labels: `[N]` int32.
      test_images: `[M, H, W, C]` uint8.
      test_labels: `[M]` int32.
      mean: `[C]` float32, of the training images on the scale from 0 to 1.
      std: `[C]` float32, likewise.
      fingerprint: SHA-256 of images and labels, hexadecimal.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    fingerprint: str

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(H, W, C)`."""
        return self.train_images.shape[1:]

    @property
    def num_classes(self) -> int:
        """Number of classes; labels run from 0 without a gap."""
        return int(self.train_labels.max()) + 1


def load(name: str, *, data_dir: str | Path | None = None) -> Dataset:
    """Loads a data set.

    `digits` is scikit-learn's: 8x8 images of one channel, of which every fifth of each
    class (see `split`) is a test image, 1,438 and 359 in all. Other names are those of
    TensorFlow Datasets, such as `cifar10`, `cifar100` or `fashion_mnist`, as prepared
    by them, sorted by `id` if they have one, for CIFAR the original order. A file in
    `.npz` has `train_images`, `train_labels`, `test_images` and `test_labels`, or
    `images` and `labels`, of which every fifth of each class is a test image.

    Args:
      name: `digits`, the name of an image classification set, or an `.npz` file.
      data_dir: the folder of TensorFlow Datasets; by default `$TFDS_DATA_DIR` or
        `~/tensorflow_datasets`. Only used for its sets.

    Returns:
      A `Dataset`.

    Raises:
      UserError: the data are not there, damaged, or no images with labels.

    Example:
      >>> digits = load("digits")
      >>> digits.train_images.shape, digits.num_classes
      ((1438, 8, 8, 1), 10)
    """
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    arrays = sources.load(name, Path(data_dir or default).expanduser())
    mean, std = _moments(arrays.train_images)
    return Dataset(name, *arrays, mean=mean, std=std, fingerprint=fingerprint(arrays))


def normalise(dataset: Dataset, images: ArrayLike) -> jax.Array:
    """Scales images to mean 0 and standard deviation 1 in each channel.

    Args:
      dataset: its `mean` and `std` are used.
      images: `[..., C]` uint8.

    Returns:
      `[..., C]` float32.
    """
    return (jnp.asarray(images, jnp.float32) / 255 - dataset.mean) / dataset.std


def _moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of each channel, exactly, from histograms."""
    channels = np.moveaxis(images, -1, 0)
    counts = np.stack([np.bincount(x.ravel(), minlength=256) for x in channels])
    values, total = np.arange(256) / 255, counts.sum(axis=1)
    mean = counts @ values / total
    std = np.sqrt(counts @ values**2 / total - mean**2)
    return mean.astype(np.float32), std.astype(np.float32)
