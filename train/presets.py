"""Configs by name: those of the paper, and small ones that finish on a laptop."""

import dataclasses
from collections.abc import Mapping, Sequence

from train.configs import Config, UserError

_RESNET20 = Config(model="resnet20", width=16)

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
    # The fewest epochs after which all seeds had 80 % of the held-out images right.
    "cifar10_small": Config(
        width=16,
        epochs=5,
        learning_rate=5e-3,
        schedule="linear",
        warm_up=1,
        seeds=8,
    ),
    # The paper's, Appendix D.1.
    "myrtle_cnn": Config(),
    "myrtle_constant_width": Config(model="myrtle_cnn_constant_width"),
    "resnet20": _RESNET20,
    "resnet18": Config(model="resnet18"),
    "resnet20_leaky": _RESNET20,
    # The recipe of Hassani et al. (arXiv 2104.05704) that the paper names, without
    # AutoAugment and random erasing.
    "cct": Config(
        model="cct",
        width=256,
        epochs=300,
        batch_size=128,
        optimiser="adamw",
        learning_rate=5.5e-4,
        schedule="cosine",
        warm_up=10,
        weight_decay=0.06,
        label_smoothing=0.1,
        mixup=0.8,
        cutmix=1.0,
        seeds=10,
        checkpoint_every=10,
    ),
    # Appendix F.3 names ffcv's recipe; images of 64x64 are those that fit in memory.
    "resnet50_no_residual_relu": Config(
        model="resnet50_no_residual_relu",
        dataset="imagenet_resized/64x64",
        epochs=88,
        batch_size=512,
        optimiser="sgd",
        learning_rate=1.0,
        schedule="linear",
        warm_up=2,
        label_smoothing=0.1,
        shift=8,
        validation_fraction=0.02,
        seeds=1,
        precision="bfloat16",
    ),
}

# Presets that stand for several configs: a field of theirs, and its values.
SWEEPS: Mapping[str, tuple[str, Sequence]] = {
    "resnet20_leaky": ("negative_slope", (0.0, 0.01, 0.1, 0.5, 0.9, 1.0)),
}


def sweep(name: str, config: Config) -> dict[str, Config]:
    """Returns the configs that a preset stands for.

    Args:
      name: of a preset.
      config: that preset's, perhaps with other values in some fields.

    Returns:
      A config for each value of the field that is swept, by a name such as
      `negative_slope_0.1`; or the config itself by the name ``""``.

    Raises:
      UserError: the config has a value of its own in the field that is swept.

    Example:
      >>> list(sweep("resnet20_leaky", PRESETS["resnet20_leaky"]))[:2]
      ['negative_slope_0.0', 'negative_slope_0.01']
      >>> list(sweep("myrtle_cnn", PRESETS["myrtle_cnn"]))
      ['']
    """
    if name not in SWEEPS:
        return {"": config}
    field, values = SWEEPS[name]
    if getattr(config, field) != getattr(PRESETS[name], field):
        raise UserError(
            f"train: {name} trains one zoo for each {field} of {list(values)}; leave "
            f"--{field.replace('_', '-')} out, or give it to another preset of "
            f"{config.model}."
        )
    return {
        f"{field}_{value}": dataclasses.replace(config, **{field: value})
        for value in values
    }


def summary(name: str) -> str:
    """Returns what a preset is in a line.

    Args:
      name: of a preset.
    """
    preset = PRESETS[name]
    text = f"{preset.model}, width {preset.width}, on {preset.dataset}"
    if name in SWEEPS:
        field, values = SWEEPS[name]
        text += f", a zoo for each {field} of {', '.join(map(str, values))}"
    return text


def listing() -> str:
    """Returns a table of the presets."""
    rows = [("preset", "model", "width", "data set", "seeds", "epochs", "optimiser")]
    for name, preset in PRESETS.items():
        seeds = str(preset.seeds)
        if name in SWEEPS:
            field, values = SWEEPS[name]
            seeds = f"{seeds} for each {field} of {', '.join(map(str, values))}"
        how = f"{preset.optimiser}, {preset.schedule}"
        width, epochs = str(preset.width), str(preset.epochs)
        row = (name, preset.model, width, preset.dataset, seeds, epochs, how)
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)
