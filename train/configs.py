"""What a zoo is: one frozen record of hyper-parameters, and the presets."""

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args, get_type_hints

from flax import linen as nn

from symjax_lib import models


class UserError(ValueError):
    """A mistake its message explains; the command line shows it without a traceback."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of a zoo; with the seed they decide the result."""

    model: Literal[
        "myrtle_cnn",
        "myrtle_cnn_without_norm",
        "myrtle_cnn_constant_width",
        "resnet20",
        "resnet18",
        "mlp",
    ] = "myrtle_cnn"
    """Architecture."""
    width: int = 64
    """Channels of the first layer (of both hidden layers for `mlp`)."""
    dataset: str = "cifar10"
    """`digits`, which needs no download; a set of TensorFlow Datasets, such as
    `cifar10` or `fashion_mnist`; or an `.npz` file of images and labels."""
    epochs: int = 50
    """Passes over the training images."""
    batch_size: int = 32
    """Images in a step; what does not fill a batch is left out, others every epoch."""
    learning_rate: float = 1e-3
    """Of Adam, in the first epoch."""
    halve_every: int = 12
    """Epochs after which the learning rate is halved, again and again."""
    weight_decay: float = 1e-4
    """L2 penalty on kernels, added to the gradient as in PyTorch's Adam."""
    flip: bool = True
    """Mirror every second image, at random."""
    shift: int = 2
    """Move images at random by up to so many pixels; the mean colour fills the rest."""
    validation_fraction: float = 0.1
    """Part of the training images that is held out, the same for every seed."""
    seeds: int = 100
    """Networks to train; it may grow when a run is resumed."""
    base_seed: int = 0
    """All random numbers of a seed come from this number and the seed's own."""
    strategy: Literal["auto", "loop", "vmap"] = "auto"
    """How to train many seeds: `auto` loops on a CPU and vmaps on an accelerator."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; a killed run goes on from the last one. It may differ
    when a run is resumed."""


PRESETS = {
    "digits_quick": Config(
        width=8,
        dataset="digits",
        epochs=16,
        learning_rate=3e-3,
        halve_every=4,
        flip=False,
        shift=1,
        seeds=4,
        checkpoint_every=8,
    ),
    "cifar10_small": Config(width=16, epochs=12, halve_every=3, seeds=2),
    "myrtle_cnn": Config(),
}


def check(config: Config) -> None:
    """Refuses values that no training can have.

    Args:
      config: any; one that was read from a file may have values of any type.

    Raises:
      UserError: a value is of another type, none of the choices, or out of range.
    """
    for name, hint in get_type_hints(Config).items():
        value = getattr(config, name)
        choices = get_args(hint)
        if choices and value not in choices:
            listed = ", ".join(choices)
            raise UserError(f"train: {name} is {value!r}; there are {listed}.")
        if not choices and not _is_a(value, hint):
            raise UserError(f"train: {name} is {value!r}, not of type {hint.__name__}.")
    for name, (least, most) in _RANGES.items():
        value = getattr(config, name)
        if not least <= value <= most:  # nan is not
            raise UserError(
                f"train: {name} is {value}; it must be from {least:g} to {most:g}."
            )


def _is_a(value: object, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind


_RANGES = {
    **dict.fromkeys(("width", "epochs", "batch_size", "halve_every"), (1, 1e6)),
    **dict.fromkeys(("seeds", "checkpoint_every"), (1, 1e6)),
    "learning_rate": (1e-30, 1e30),
    "weight_decay": (0, 1e30),
    "shift": (0, 1e6),
    "validation_fraction": (0, 1),
    "base_seed": (0, 2**32 - 1),
}


MODELS: dict[str, Callable[[int, int], nn.Module]] = {
    "myrtle_cnn": lambda width, classes: models.MyrtleCNN(
        width=width, num_classes=classes
    ),
    "myrtle_cnn_without_norm": lambda width, classes: models.MyrtleCNN(
        width=width, num_classes=classes, norm=False
    ),
    "myrtle_cnn_constant_width": lambda width, classes: models.MyrtleCNN(
        width=width, num_classes=classes, constant_width=True
    ),
    "resnet20": lambda width, classes: models.ResNet20(
        width=width, num_classes=classes
    ),
    "resnet18": lambda width, classes: models.ResNet18(
        width=width, num_classes=classes
    ),
    "mlp": lambda width, classes: models.MLP(
        features=(width, width), num_classes=classes
    ),
}


def make_model(config: Config, num_classes: int) -> nn.Module:
    """Returns the untrained model of a config.

    Args:
      config: names the architecture and its width.
      num_classes: of the data set.

    Returns:
      A flax.linen module.

    Raises:
      UserError: the architecture is unknown.
    """
    if config.model not in MODELS:
        raise UserError(
            f"make_model: no model {config.model!r}; there are {', '.join(MODELS)}."
        )
    return MODELS[config.model](config.width, num_classes)
