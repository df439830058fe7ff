"""Networks of others, from files of weights in PyTorch's names, as a subject."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from analysis.subject import Images, Layer, Subject, layers_of, root_key, stream
from symjax_lib import models, stitching
from train import data
from train.configs import UserError

MODELS = {
    "tiny10": models.Tiny10(),
    "myrtle_cnn": models.MyrtleCNN(),
    "myrtle_cnn_constant_width": models.MyrtleCNN(width=512, constant_width=True),
    "resnet18": models.ResNet18(),
    "resnet20": models.ResNet20(),
}
"""Models of which `--networks` can be; the names are those of `--model`."""

# What CIFAR-10 is usually normalised with, on the scale from 0 to 1.
_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class Networks(NamedTuple):
    """Some networks, ready to be compared; the attributes are those of a `Subject`.

    Attributes:
      model: its name in `MODELS`.
      seeds: numbers of the networks, in the order of their files.
      networks: one for each of `seeds`.
      layers: the model's taps, in order.
      train: the first of the training images.
      test: all test images.
      measured: the first of the test images, on which features are computed.
      most_pairs: no more pairs of networks are compared.
      key: of every random choice; see `stream`.
    """

    model: str
    seeds: tuple[int, ...]
    networks: tuple[stitching.Network, ...]
    layers: tuple[Layer, ...]
    train: Images
    test: Images
    measured: Images
    most_pairs: int
    key: jax.Array

    def stream(self, name: str) -> jax.Array:
        """Returns the key of one purpose; see `Subject.stream`."""
        return stream(self.key, name)


Compared = Subject | Networks


def model_of(subject: Compared) -> str:
    """Returns the name of the architecture.

    Args:
      subject: any.
    """
    return subject.model if isinstance(subject, Networks) else subject.zoo.config.model


def load(
    files: Sequence[Path],
    *,
    model: str,
    data_dir: str | Path | None = None,
    images: int = 1000,
    train_images: int = 6000,
    pairs: int | None = None,
    seed: int = 0,
) -> Networks:
    """Loads networks and CIFAR-10's test images, normalised as it is usual.

    Args:
      files: `.npz` or `.safetensors`, one for each network.
      model: one of `MODELS`.
      data_dir: see `train.data.load`.
      images: features are computed on so many test images.
      train_images: so many are there to fit stitches on.
      pairs: of networks that are compared, or all.
      seed: of the starts of stitches.

    Raises:
      UserError: the model is unknown, a file is missing or has other weights, or fewer
        than 4 images or than one pair are asked for.
    """
    if model not in MODELS:
        raise UserError(f"analysis: --model is {model!r}, there are {list(MODELS)}.")
    if images < 4:
        raise UserError(f"analysis: --images is {images}, debiased CKA needs 4.")
    if pairs is not None and pairs < 1:
        raise UserError(f"analysis: --pairs is {pairs}, it must be at least 1.")
    module = MODELS[model]
    networks = tuple(_read(path, module) for path in files)
    dataset = data.load("cifar10", data_dir=data_dir)
    mean, std = jnp.array(_MEAN), jnp.array(_STD)
    take = lambda images, labels: Images(
        (jnp.asarray(images, jnp.float32) / 255 - mean) / std, jnp.asarray(labels)
    )
    test = take(dataset.test_images, dataset.test_labels)
    train = dataset.train_images[:train_images], dataset.train_labels[:train_images]
    return Networks(
        model=model,
        seeds=tuple(range(len(files))),
        networks=networks,
        layers=layers_of(networks[0], module, test.images[:1]),
        train=take(*train),
        test=test,
        measured=Images(test.images[:images], test.labels[:images]),
        most_pairs=pairs or len(files) ** 2,
        key=root_key(seed),
    )


def _read(path: Path, module: nn.Module) -> stitching.Network:
    try:
        variables = models.convert.from_torch(module, models.convert.read(path))
    except (OSError, ValueError) as error:
        raise UserError(f"analysis: {path} was not read: {error}") from error
    return stitching.from_linen(module, jax.device_put(variables))
