"""Trains a zoo: `python -m train CONFIG --out RUN [--seeds N] [--resume]`.

`python -m train --list` shows the presets, `python -m train verify RUN` checks a run,
`python -m train export RUN FILE` makes one small file of it.
"""

import contextlib
import dataclasses
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from tqdm import tqdm

from train import (
    archive,
    cache,
    configs,
    devices,
    display,
    folder,
    presets,
    processes,
    tensorboard,
    verify,
    zoo,
)
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
    distributed: bool = False
    """Share the seeds with the other processes of this job, see docs/training.md."""
    tensorboard: bool = False
    """Write the metrics as TensorBoard's events, too."""


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
        name: (presets.summary(name), Arguments(preset, tyro.MISSING))
        for name, preset in presets.PRESETS.items()
    }
    return tyro.extras.overridable_config_cli(
        choices, prog="python -m train", description=__doc__, args=_with_ranges(argv)
    )


def _with_ranges(argv: Sequence[str]) -> list[str]:
    """Writes `--seeds A:B` as the number of seeds and the first of them."""
    words = []
    for word in argv:
        ends = re.fullmatch(r"(--seeds=)?(\d+):(\d+)", word)
        if ends and (ends[1] or words[-1:] == ["--seeds"]):
            first, count = int(ends[2]), int(ends[3]) - int(ends[2])
            if count < 1:
                raise UserError(
                    f"train: --seeds {ends[2]}:{ends[3]} has no seed; A:B are those "
                    "from A to B - 1."
                )
            words += [f"{ends[1] or ''}{count}", "--first-seed", str(first)]
        else:
            words.append(word)
    return words


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
    configs.check(args.config)
    config = folder.check(args.out, args.config, resume=args.resume)
    reused = args.resume and not folder.missing_seeds(config, args.out)
    with contextlib.ExitStack() as stack:
        listeners = [
            stack.enter_context(
                display.line(config, quiet=reused or not processes.is_first())
            )
        ]
        if args.tensorboard and not reused:
            listeners.append(stack.enter_context(tensorboard.events(args.out)))
        stopping = stack.enter_context(_stopping())

        def progress(seed: int, done: int, metrics: Mapping[str, Any]) -> None:
            for listener in listeners:
                listener(seed, done, metrics)
            if stopping.is_set():
                raise KeyboardInterrupt

        result = zoo.train(
            config,
            args.out,
            resume=args.resume,
            data_dir=args.data_dir,
            progress=progress,
        )
    if processes.is_first():
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
    pairs = zip(result.config.numbers, result.best_epoch, strict=True)
    for i, (seed, epoch) in enumerate(pairs):
        row = (columns["seed"] == seed) & (columns["epoch"] == epoch)
        row &= columns["split"] == "validation"
        pair = columns["accuracy"][row].item(), result.test_accuracy[i]
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


def check_run(run: tyro.conf.Positional[Path], *, data_dir: Path | None = None) -> None:
    """Prints whether a run is what its manifest says.

    Args:
      run: Folder of the run.
      data_dir: Folder of TensorFlow Datasets; without the data their checks are left
        out.
    """
    wrong = []
    for what, ok, told in verify.verify(run, data_dir=data_dir):
        mark = {True: "ok", False: "WRONG", None: "skipped"}[ok]
        print(f"{mark:8}{what}: {told}", flush=True)
        if ok is False:
            wrong.append(what)
    if wrong:
        raise UserError(
            f"train: {run} is not what its manifest says: {', '.join(wrong)}."
        )


def export(run: tyro.conf.Positional[Path], path: tyro.conf.Positional[Path]) -> None:
    """Writes a finished run as one small file, in half precision.

    Args:
      run: Folder of the run.
      path: Of the file, in .npz; its manifest is written beside it, in .json.
    """
    zoo.export(run, path)
    size = path.stat().st_size / 2**20
    print(f"{path}: {size:.2f} MiB, and {archive.manifest_of(path)}")


COMMANDS = {"verify": check_run, "export": export}


@contextlib.contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Gives an event that the first Ctrl-C sets; the second one stops at once."""
    event = threading.Event()

    def note(*_: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tqdm.write("train: stops after this epoch; Ctrl-C again stops at once.")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _prepare(*, distributed: bool = False) -> None:
    """Sets JAX up for a process that only trains; before it looks for devices."""
    devices.use_cores()
    if distributed:
        processes.start()
    # Programs that were compiled once start at once; JAX's own variable has precedence.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache.folder() / "xla"))


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["--list"]:
            print(presets.listing())
        elif sys.argv[1:] and sys.argv[1] in COMMANDS:
            name, *words = sys.argv[1:]
            _prepare()
            tyro.cli(COMMANDS[name], prog=f"python -m train {name}", args=words)
        else:
            wanted = runs(sys.argv[1:])
            _prepare(distributed=wanted[0].distributed)
            for arguments in wanted:
                main(arguments)
    except UserError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"train: {error}")
    except KeyboardInterrupt:
        sys.exit("train: stopped; the same command with --resume goes on.")
