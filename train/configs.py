"""What a zoo is: one frozen record of hyper-parameters."""

import dataclasses
from typing import Literal, get_args, get_type_hints


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
        "resnet50",
        "resnet50_no_residual_relu",
        "cct",
        "mlp",
    ] = "myrtle_cnn"
    """Architecture."""
    width: int = 64
    """Channels of the first layer (of both hidden layers for `mlp`, of tokens for
    `cct`)."""
    negative_slope: float = 0.0
    """Of the activation, below 0: 0 is ReLU, others LeakyReLU."""
    dataset: str = "cifar10"
    """`digits`, which needs no download; a set of TensorFlow Datasets, such as
    `cifar10` or `fashion_mnist`; or an `.npz` file of images and labels."""
    epochs: int = 50
    """Passes over the training images."""
    batch_size: int = 32
    """Images in a step; what does not fill a batch is left out, others every epoch."""
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    """`sgd` has Nesterov's momentum of 0.9."""
    learning_rate: float = 1e-3
    """The highest."""
    schedule: Literal["halving", "cosine", "linear"] = "halving"
    """How the learning rate falls after the warm-up: by steps, or down to 0."""
    halve_every: int = 12
    """Epochs after which the learning rate is halved, again and again (`halving`)."""
    warm_up: int = 0
    """Epochs in which the learning rate rises from 0, evenly."""
    weight_decay: float = 1e-4
    """On kernels: added to the gradient as in PyTorch's Adam and SGD; for `adamw` taken
    off the weights."""
    label_smoothing: float = 0.0
    """Part of each label that is shared by all classes."""
    mixup: float = 0.0
    """Parameter of the Beta distribution of mixup's weights; 0 for none."""
    cutmix: float = 0.0
    """Likewise of CutMix's areas; with both, every batch has either."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of a step's arithmetic; weights, moments and statistics are float32."""
    flip: bool = True
    """Mirror every second image, at random."""
    shift: int = 2
    """Move images at random by up to so many pixels; the mean colour fills the rest."""
    validation_fraction: float = 0.1
    """Part of the training images that is held out, the same for every seed."""
    seeds: int = 100
    """Networks to train; it may grow when a run is resumed. On the command line also
    `A:B` for those from A to B - 1."""
    first_seed: int = 0
    """Number of the first of them."""
    base_seed: int = 0
    """All random numbers of a seed come from this number and the seed's own."""
    strategy: Literal["auto", "loop", "vmap"] = "auto"
    """How to train many seeds: `auto` loops on a CPU and vmaps on an accelerator."""
    seeds_per_chunk: int = 0
    """The most seeds that are vmapped together, which bounds memory; 0 for as many as
    the devices hold. It may differ when a run is resumed."""
    devices_per_seed: int = 1
    """Devices that share each batch of a seed, for fewer seeds than devices. Sums over
    a batch are then rounded otherwise."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; a killed run goes on from the last one. It may differ
    when a run is resumed."""

    @property
    def numbers(self) -> range:
        """Of the seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)


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
    if config.negative_slope and config.model == "cct":
        raise UserError(
            f"train: negative_slope is {config.negative_slope}, and cct has GELU; "
            "leave it out."
        )


def _is_a(value: object, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind


_RANGES = {
    **dict.fromkeys(("width", "epochs", "batch_size", "halve_every"), (1, 1e6)),
    **dict.fromkeys(("seeds", "checkpoint_every", "devices_per_seed"), (1, 1e6)),
    **dict.fromkeys(("mixup", "cutmix"), (0, 1e6)),
    "seeds_per_chunk": (0, 1e6),
    "negative_slope": (-1e6, 1e6),
    "learning_rate": (1e-30, 1e30),
    "warm_up": (0, 1e6),
    "label_smoothing": (0, 1),
    "weight_decay": (0, 1e30),
    "shift": (0, 1e6),
    "validation_fraction": (0, 1),
    "base_seed": (0, 2**32 - 1),
    "first_seed": (0, 1e9),
}
