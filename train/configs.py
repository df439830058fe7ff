"""What a zoo is: one frozen record of hyper-parameters, and the presets."""

import dataclasses
from collections.abc import Callable
from typing import Literal

from flax import linen as nn

from symjax_lib import models


class UserError(ValueError):
    """A mistake its message explains; the command line shows it without a traceback."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides the result of a training, and nothing else."""

    model: Literal[
        "myrtle_cnn", "myrtle_cnn_without_norm", "myrtle_cnn_constant_width", "mlp"
    ] = "myrtle_cnn"
    """Architecture."""
    width: int = 64
    """Channels of the first layer (of both hidden layers for `mlp`)."""
    dataset: Literal["digits", "cifar10"] = "cifar10"
    """Data set; `digits` needs no download."""
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
    """Networks to train; the only field that may grow when a run is resumed."""
    base_seed: int = 0
    """All random numbers of a seed come from this number and the seed's own."""
    strategy: Literal["auto", "loop", "vmap"] = "auto"
    """How to train many seeds: `auto` loops on a CPU and vmaps on an accelerator."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; a killed run goes on from the last one."""


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
    """Refuses numbers that no training can have.

    Args:
      config: any.

    Raises:
      UserError: a number is out of range.
    """
    counts = (
        "width",
        "epochs",
        "batch_size",
        "halve_every",
        "seeds",
        "checkpoint_every",
    )
    for name in counts:
        if getattr(config, name) < 1:
            raise UserError(f"train: {name} is {getattr(config, name)}, at least 1.")


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
