"""Networks of others, from files of weights in PyTorch's names, as a subject."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from analysis.subject import Images, Layer, Subject, layers_of
from symjax_lib import models, stitching
from train import data
from train.configs import UserError

MODELS = {"tiny10": models.Tiny10()}
"""Models of which `--networks` can be; the names are those of `--model`."""

# What the networks were trained with, on the scale from 0 to 1.
_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class Networks(NamedTuple):
    """Some networks, ready to be compared; the attributes are those of a `Subject`.

    Attributes:
      seeds: numbers of the networks, in the order of their files.
      networks: one for each of `seeds`.
      layers: the model's taps, in order.
      test: all test images.
      measured: the first of the test images, on which features are computed.
    """

    seeds: tuple[int, ...]
    networks: tuple[stitching.Network, ...]
    layers: tuple[Layer, ...]
    test: Images
    measured: Images


Compared = Subject | Networks


def load(
    files: Sequence[Path],
    *,
    model: str,
    data_dir: str | Path | None = None,
    images: int = 1000,
) -> Networks:
    """Loads networks and CIFAR-10's test images.

    Args:
      files: `.npz` or `.safetensors`, one for each network.
      model: one of `MODELS`.
      data_dir: see `train.data.load`.
      images: features are computed on so many test images.

    Raises:
      UserError: the model is unknown, a file is missing or has other weights, or fewer
        than 4 images are asked for.
    """
    if model not in MODELS:
        raise UserError(f"analysis: --model is {model!r}, there are {list(MODELS)}.")
    if images < 4:
        raise UserError(f"analysis: --images is {images}, debiased CKA needs 4.")
    module = MODELS[model]
    networks = tuple(_read(path, module) for path in files)
    dataset = data.load("cifar10", data_dir=data_dir)
    mean, std = jnp.array(_MEAN), jnp.array(_STD)
    pixels = (jnp.asarray(dataset.test_images, jnp.float32) / 255 - mean) / std
    test = Images(pixels, jnp.asarray(dataset.test_labels))
    return Networks(
        seeds=tuple(range(len(files))),
        networks=networks,
        layers=layers_of(networks[0], module, test.images[:1]),
        test=test,
        measured=Images(test.images[:images], test.labels[:images]),
    )


def _read(path: Path, module: nn.Module) -> stitching.Network:
    try:
        variables = models.convert.from_torch(module, models.convert.read(path))
    except (OSError, ValueError) as error:
        raise UserError(f"analysis: {path} was not read: {error}") from error
    return stitching.from_linen(module, jax.device_put(variables))
