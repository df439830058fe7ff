"""Trains a zoo: `python -m train CONFIG --out RUN [--seeds N] [--resume]`.

`python -m train --list` shows the presets.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import tyro
from tqdm import tqdm

from train import cache, devices, folder, presets, zoo
from train.configs import Config, UserError


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to train, and where to put it."""

    config: tyro.conf.OmitArgPrefixes[Config]
    out: Path
    """Folder of the run."""
    resume: bool = False
    """Go on with the run in that folder if there is one, or add seeds to it."""
    data_dir: Path | None = None
    """Folder of TensorFlow Datasets; by default $TFDS_DATA_DIR, then
    ~/tensorflow_datasets."""


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Reads the command line: the name of a preset, then options that change it.

    Args:
      argv: the words after `python -m train`; by default those of this process.

    Raises:
      UserError: there is no preset of that name.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv and not argv[0].startswith("-") and argv[0] not in presets.PRESETS:
        raise UserError(
            f"train: no config {argv[0]!r}; there are {', '.join(presets.PRESETS)}."
        )
    choices = {
        name: (
            f"{preset.model}, width {preset.width}, on {preset.dataset}",
            Arguments(preset, tyro.MISSING),
        )
        for name, preset in presets.PRESETS.items()
    }
    return tyro.extras.overridable_config_cli(
        choices, prog="python -m train", args=argv
    )


def runs(argv: Sequence[str]) -> list[Arguments]:
    """Returns what the command line asks for: a run, or those of a sweep.

    Args:
      argv: as for `parse`.
    """
    args = parse(argv)
    swept = presets.sweep(argv[0], args.config)
    return [
        dataclasses.replace(args, config=config, out=args.out / name)
        for name, config in swept.items()
    ]


def main(args: Arguments) -> None:
    """Trains, shows a bar while it does, and prints a table."""
    config = args.config
    reused = args.resume and not folder.missing_seeds(config, args.out)
    epochs = {}
    total = config.seeds * config.epochs
    with tqdm(total=total, unit="epoch", delay=1, disable=reused) as bar:

        def progress(seed: int, done: int, accuracy: float) -> None:
            epochs[seed] = done
            known = np.isfinite(accuracy)  # it is not for a seed finished before
            told = f"validation {accuracy:.2%}" if known else "finished before"
            bar.set_postfix_str(f"seed {seed}, {told}", False)
            bar.update(sum(epochs.values()) - bar.n)

        result = zoo.train(
            config,
            args.out,
            resume=args.resume,
            data_dir=args.data_dir,
            progress=progress,
        )
    print(f"{args.out}: complete{', reusing' if reused else ''}")
    print(table(result))
    if not np.isfinite(result.test_accuracy).any():
        raise UserError(
            f"train: every seed of {args.out} diverged; try a smaller --learning-rate "
            "in another folder."
        )


def table(result: zoo.Zoo) -> str:
    """Returns the accuracies of each seed, their mean and standard deviation."""
    columns = result.metrics
    lines = ["seed  best epoch  validation     test"]
    accuracies = []
    for seed, epoch in enumerate(result.best_epoch):
        row = (columns["seed"] == seed) & (columns["epoch"] == epoch)
        row &= columns["split"] == "validation"
        pair = columns["accuracy"][row].item(), result.test_accuracy[seed]
        accuracies.append(pair)
        if np.isfinite(pair[1]):
            lines.append(f"{seed:4}  {epoch:10}  {pair[0]:10.2%}  {pair[1]:7.2%}")
        else:
            lines.append(f"{seed:4}  diverged")
    trained = np.array(accuracies)[np.isfinite(result.test_accuracy)]
    if len(trained):
        lines.append("mean {:23.2%}  {:7.2%}".format(*trained.mean(axis=0)))
    if len(trained) > 1:
        lines.append("sd   {:23.2%}  {:7.2%}".format(*trained.std(axis=0, ddof=1)))
    return "\n".join(lines)


def _prepare() -> None:
    """Sets JAX up for a process that only trains; before it looks for devices."""
    devices.use_cores()
    # Programs that were compiled once start at once; JAX's own variable has precedence.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache.folder() / "xla"))


if __name__ == "__main__":
    try:
        _prepare()
        if sys.argv[1:] == ["--list"]:
            print(presets.listing())
        else:
            for arguments in runs(sys.argv[1:]):
                main(arguments)
    except UserError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"train: {error}")
    except KeyboardInterrupt:
        sys.exit("train: stopped; the same command with --resume goes on.")
