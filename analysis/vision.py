"""Networks for large images, from files of weights, as dissection takes them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from analysis import subject
from symjax_lib import models, tracing
from symjax_lib.models import renaming
from train import data, zoo as zoos
from train.configs import UserError

# In the order in which these networks take the colours, from 0 to 255.
_IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_LITE = (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)
_CAFFE = (104.0, 117.0, 123.0), (1.0, 1.0, 1.0)
_STAGES = ("layer1.2", "layer2.3", "layer3.5", "layer4.2")


class Architecture(NamedTuple):
    """A network and how it takes images.

    Attributes:
      model: a linen module.
      layers: outputs of its stages.
      renamed: the names of its file of weights to those of PyTorch.
      mean: of each colour.
      std: likewise.
      reverse: whether it takes blue, green, red.
    """

    model: nn.Module
    layers: tuple[str, ...]
    renamed: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    mean: tuple[float, ...] = _IMAGENET[0]
    std: tuple[float, ...] = _IMAGENET[1]
    reverse: bool = False


MODELS = {
    "resnet50": Architecture(models.ResNet50(), _STAGES),
    "resnet50_no_residual_relu": Architecture(
        models.ResNet50(residual_activation=False), _STAGES
    ),
    "convnext_tiny": Architecture(
        models.ConvNeXt(),
        ("stages.0.2", "stages.1.2", "stages.2.8", "stages.3.2"),
        lambda state: renaming.torchvision_convnext(renaming.timm_convnext(state)),
    ),
    "efficientnet_lite0": Architecture(
        models.EfficientNetLite(),
        ("blocks.2", "blocks.4", "blocks.10", "blocks.15"),
        renaming.efficientnet_lite,
        *_LITE,
    ),
    "thin_resnet50": Architecture(
        models.ResNet50(
            width=32, num_classes=2, stride_on="1x1", norm=False, pool_padding=(0, 1)
        ),
        _STAGES,
        renaming.caffe_resnet,
        *_CAFFE,
        reverse=True,
    ),
}
"""By name. `thin_resnet50` is Yahoo's open_nsfw, of half the width."""

Features = Callable[[Any], Mapping[str, jax.Array]]


class Network(NamedTuple):
    """A network that can be dissected.

    Attributes:
      name: to show.
      layers: taps to dissect unless others are asked for.
      features: from images `[B, H, W, 3]` uint8 to feature maps by name, jitted.
    """

    name: str
    layers: tuple[str, ...]
    features: Features


def load(file: Path, name: str, size: tuple[int, int]) -> Network:
    """Loads a network for large images.

    Args:
      file: `.npz` or `.safetensors` with weights in PyTorch's names.
      name: one of `MODELS`.
      size: height and width of the images.

    Raises:
      UserError: there is no such model, or the file was not read.
    """
    architecture = _architecture(name)
    model: Any = architecture.model
    try:
        state = architecture.renamed(models.convert.read(file))
        variables = models.convert.from_torch(model, state, image_shape=(*size, 3))
    except (OSError, ValueError) as error:
        raise UserError(f"analysis: {file} was not read: {error}") from error
    return Network(name, architecture.layers, features_of(architecture, variables))


def untrained(name: str, size: tuple[int, int], *, key: jax.Array) -> Network:
    """Makes a network for large images that is not trained.

    Args:
      name: one of `MODELS`.
      size: height and width of the images.
      key: of its weights.

    Raises:
      UserError: there is no such model.
    """
    architecture = _architecture(name)
    model: Any = architecture.model
    variables = jax.jit(model.init)(key, jnp.zeros((1, *size, 3)))
    features = features_of(architecture, variables)
    return Network(f"untrained {name}", architecture.layers, features)


def _architecture(name: str) -> Architecture:
    if name not in MODELS:
        raise UserError(f"analysis: --model is {name!r}, there are {list(MODELS)}.")
    return MODELS[name]


def load_run(run: Path, *, number: int, data_dir: Path | None) -> Network:
    """Loads a network of a run.

    Args:
      run: folder of `train`, or the file of its archive.
      number: of the seed.
      data_dir: of the data that it was trained on, by which images are normalised.

    Raises:
      UserError: there is no such run or seed, the seed diverged, its data are others or
        not coloured, or the model has no maps.
    """
    zoo = zoos.load(run)
    diverged = zoos.diverged(zoo)
    seeds = [seed for seed in zoo.config.numbers if seed not in diverged]
    if number not in seeds:
        what = "diverged" if number in diverged else "is none of its seeds"
        raise UserError(f"analysis: {number} {what}; {run} has {seeds}.")
    dataset = data.load(zoo.config.dataset, data_dir=data_dir)
    subject.check_data(run, zoo, dataset)
    if dataset.image_shape[-1] != 3:
        raise UserError(
            f"analysis: {run} was trained on {dataset.name}, images of shape "
            f"{dataset.image_shape}; dissection needs three colours."
        )
    at = zoo.config.numbers.index(number)
    variables = jax.tree.map(lambda leaf: leaf[at], zoo.variables)
    architecture = Architecture(
        zoo.model,
        _maps(zoo.model, variables, dataset.image_shape),
        mean=tuple(255 * dataset.mean),
        std=tuple(255 * dataset.std),
    )
    name = f"{zoo.config.model}, seed {number}"
    return Network(name, architecture.layers, features_of(architecture, variables))


def _maps(model: Any, variables: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    if isinstance(model, models.ResNet50):
        return _STAGES
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    _, taps = jax.eval_shape(tracing.taps(model.apply), variables, image)
    names = tuple(name for name in model.tap_names if taps[name].ndim == 4)
    if not names:
        raise UserError(
            f"analysis: no layer of {type(model).__name__} is a map [N, H, W, C]; "
            "dissection is of convolutional networks."
        )
    return names


def features_of(architecture: Architecture, variables: Any) -> Features:
    """Returns a function from images to the network's taps, jitted.

    Args:
      architecture: of the network.
      variables: its weights.
    """
    model: Any = architecture.model
    mean, std = np.array(architecture.mean), np.array(architecture.std)

    @jax.jit
    def run(variables: Any, images: jax.Array) -> Mapping[str, jax.Array]:
        x = images[..., ::-1] if architecture.reverse else images
        x = (x - mean) / std
        return tracing.taps(model.apply)(variables, x.astype(jnp.float32))[1]

    return lambda images: run(variables, images)
