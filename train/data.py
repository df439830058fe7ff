"""Images as uint8 arrays in memory: digits, which needs no download, and CIFAR-10.

Decoded arrays are kept in the user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`).
"""

import hashlib
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from train.configs import UserError


class Dataset(NamedTuple):
    """A data set in memory.

    Attributes:
      name: as in `DATASETS`.
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


class Arrays(NamedTuple):
    """The four arrays of a data set; see `Dataset`."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load(name: str, *, data_dir: str | Path | None = None) -> Dataset:
    """Loads a data set.

    `digits` is scikit-learn's: 8x8 images of one channel, of which every fifth of each
    class (see `split`) is a test image, 1,438 and 359 in all. `cifar10` is read as
    prepared by TensorFlow Datasets, sorted by `id`, that is in its original order.

    Args:
      name: `digits` or `cifar10`.
      data_dir: the folder of TensorFlow Datasets; by default `$TFDS_DATA_DIR` or
        `~/tensorflow_datasets`. Not used by `digits`.

    Returns:
      A `Dataset`.

    Raises:
      UserError: the name is unknown, or the data are not in the folder.

    Example:
      >>> digits = load("digits")
      >>> digits.train_images.shape, digits.num_classes
      ((1438, 8, 8, 1), 10)
    """
    if name not in DATASETS:
        raise UserError(f"load: no data set {name!r}; there are {', '.join(DATASETS)}.")
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    arrays = DATASETS[name](Path(data_dir or default).expanduser())
    mean, std = _moments(arrays.train_images)
    return Dataset(name, *arrays, mean=mean, std=std, fingerprint=_fingerprint(arrays))


def normalise(dataset: Dataset, images: ArrayLike) -> jax.Array:
    """Scales images to mean 0 and standard deviation 1 in each channel.

    Args:
      dataset: its `mean` and `std` are used.
      images: `[..., C]` uint8.

    Returns:
      `[..., C]` float32.
    """
    return (jnp.asarray(images, jnp.float32) / 255 - dataset.mean) / dataset.std


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


def _digits(_: Path) -> Arrays:
    # Imported where they are used: this and TensorFlow Datasets take a second each.
    from sklearn.datasets import load_digits

    values, labels = map(np.asarray, load_digits(return_X_y=True))
    images = np.round(values * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = labels.astype(np.int32)
    train, test = split(labels, 0.2)
    return Arrays(images[train], labels[train], images[test], labels[test])


def _cifar10(data_dir: Path) -> Arrays:
    if not any(data_dir.glob("cifar10/*/dataset_info.json")):
        raise UserError(_missing("cifar10", data_dir))
    try:
        train, test = (_source(split, data_dir) for split in ("train", "test"))
        digest = hashlib.sha256()
        for split in ("train", "test"):
            for path in train.dataset_info.splits[split].filepaths:
                digest.update(Path(path).read_bytes())
        # Named by the content of its source: one cache never stands for another.
        cache = _cache_folder() / f"cifar10-{digest.hexdigest()[:32]}.npz"
        return _cached(cache, lambda: Arrays(*_decode(train), *_decode(test)))
    except NotImplementedError as error:  # prepared in another format
        raise UserError(_missing("cifar10", data_dir)) from error
    except Exception as error:  # damage shows as whatever the readers stumble on
        raise UserError(
            f"load: the cifar10 in {data_dir / 'cifar10'} cannot be read: "
            f"{str(error)[:200]}. Prepare it again, or name another folder with "
            "--data-dir."
        ) from error


def _source(split: str, data_dir: Path) -> Any:
    import tensorflow_datasets as tfds

    return tfds.data_source("cifar10", split=split, data_dir=data_dir, download=False)


DATASETS: dict[str, Callable[[Path], Arrays]] = {"digits": _digits, "cifar10": _cifar10}


def _missing(name: str, data_dir: Path) -> str:
    return (
        f"load: no {name} in array_record format in {data_dir / name}. Name the folder "
        "that contains it with --data-dir, or prepare it there, in an environment that "
        "has tensorflow too, with\n"
        '  python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', data_dir='{data_dir}', file_format='array_record')"
        '.download_and_prepare()"'
    )


def _decode(source: Any) -> tuple[np.ndarray, np.ndarray]:
    items = sorted(source, key=lambda item: item["id"])
    labels = np.array([item["label"] for item in items], np.int32)
    return np.stack([item["image"] for item in items]), labels


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "symjax_lib"


def _cached(path: Path, build: Callable[[], Arrays]) -> Arrays:
    """Returns the arrays in a file; builds and writes them if it is not there whole."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = Arrays(*(stored[field] for field in Arrays._fields))
            if str(stored["fingerprint"]) == _fingerprint(arrays):
                return arrays
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # absent or damaged
    arrays = build()
    try:
        _write(path, arrays)
    except OSError as error:
        warnings.warn(f"{path} cannot be written, so not cached: {error}", stacklevel=2)
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            np.savez(file, fingerprint=_fingerprint(arrays), **arrays._asdict())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _fingerprint(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of each channel, exactly, from histograms."""
    channels = np.moveaxis(images, -1, 0)
    counts = np.stack([np.bincount(x.ravel(), minlength=256) for x in channels])
    values, total = np.arange(256) / 255, counts.sum(axis=1)
    mean = counts @ values / total
    std = np.sqrt(counts @ values**2 / total - mean**2)
    return mean.astype(np.float32), std.astype(np.float32)
