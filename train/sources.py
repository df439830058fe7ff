"""Where images come from: scikit-learn, TensorFlow Datasets, or a file in `.npz`."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from train import cache
from train.arrays import Arrays, check, split
from train.configs import UserError


def load(name: str, data_dir: Path) -> Arrays:
    """Reads the arrays of a data set and checks them; see `data.load`."""
    if name in BUILT_IN:
        arrays = BUILT_IN[name]()
    elif name.endswith(".npz"):
        arrays = _npz(Path(name).expanduser())
    else:
        arrays = _tfds(name, data_dir)
    check(name, arrays)
    return arrays


def _digits() -> Arrays:
    # Imported where they are used: this and TensorFlow Datasets take a second each.
    from sklearn.datasets import load_digits

    values, labels = map(np.asarray, load_digits(return_X_y=True))
    images = np.round(values * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    return _every_fifth(images, labels.astype(np.int32))


BUILT_IN: dict[str, Callable[[], Arrays]] = {"digits": _digits}


def _every_fifth(images: np.ndarray, labels: np.ndarray) -> Arrays:
    train, test = split(labels, 0.2)
    return Arrays(images[train], labels[train], images[test], labels[test])


def _npz(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
    except Exception as error:  # damage shows as whatever the reader stumbles on
        raise UserError(
            f"load: {path} cannot be read as a NumPy archive: {str(error)[:200]}."
        ) from error
    stored = {name: _as_read(array) for name, array in stored.items()}
    if set(Arrays._fields) <= stored.keys():
        return Arrays(*(stored[name] for name in Arrays._fields))
    if {"images", "labels"} <= stored.keys():
        if len(stored["images"]) != len(stored["labels"]):
            raise UserError(
                f"load: {path} has {len(stored['images'])} images and "
                f"{len(stored['labels'])} labels; there must be one for each."
            )
        images, labels = stored["images"], stored["labels"]
        check(str(path), Arrays(images, labels, images, labels))
        return _every_fifth(images, labels)
    raise UserError(
        f"load: {path} must have the arrays {', '.join(Arrays._fields)}, or images and "
        f"labels; it has {', '.join(stored) or 'none'}."
    )


def _as_read(array: np.ndarray) -> np.ndarray:
    """Labels as int32, images without channels as of one; `check` judges the rest."""
    if array.ndim == 1 and array.dtype.kind in "iu":
        return array.astype(np.int32)
    return array[..., None] if array.ndim == 3 else array


def _tfds(name: str, data_dir: Path) -> Arrays:
    if not any((data_dir / name).glob("*/dataset_info.json")):
        raise UserError(_missing(name, data_dir))
    try:
        train, test = (_source(name, split, data_dir) for split in ("train", "test"))
        splits = train.dataset_info.splits
        digest = hashlib.sha256()
        for path in splits["train"].filepaths + splits["test"].filepaths:
            digest.update(Path(path).read_bytes())
        # Named by the content of its source: one cache never stands for another.
        path = cache.folder() / f"{name}-{digest.hexdigest()[:32]}.npz"
        arrays = cache.cached(path, lambda: Arrays(*_decode(train), *_decode(test)))
        counts = [splits[part].num_examples for part in ("train", "test")]
    except NotImplementedError as error:  # prepared in another format
        raise UserError(_missing(name, data_dir)) from error
    except Exception as error:  # damage shows as whatever the readers stumble on
        raise UserError(
            f"load: the {name} in {data_dir / name} cannot be read: "
            f"{str(error)[:200]}. Prepare it again, or name another folder with "
            "--data-dir."
        ) from error
    found = [len(arrays.train_labels), len(arrays.test_labels)]
    if found != counts:
        raise UserError(
            f"load: the {name} in {data_dir / name} has {found} training and test "
            f"images, and by its own account {counts}. Prepare it again."
        )
    return arrays


def _source(name: str, split: str, data_dir: Path) -> Any:
    import tensorflow_datasets as tfds

    return tfds.data_source(name, split=split, data_dir=data_dir, download=False)


def _missing(name: str, data_dir: Path) -> str:
    return (
        f"load: no {name} in array_record format in {data_dir / name}; "
        f"{', '.join(BUILT_IN)} needs no files, and a file of images ends in .npz. "
        f"Name the folder that contains {name} with --data-dir, or prepare it there, "
        "in an environment that has tensorflow too, with\n"
        '  python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', data_dir='{data_dir}', file_format='array_record')"
        '.download_and_prepare()"'
    )


def _decode(source: Any) -> tuple[np.ndarray, np.ndarray]:
    # Some sets have no `id`, and stay in the order in which they were prepared.
    items = sorted(source, key=lambda item: item.get("id", b""))
    labels = np.array([item["label"] for item in items], np.int32)
    return np.stack([item["image"] for item in items]), labels
