"""The folder of a run: what is in it, and what may be written to it.

`config.json` is what decides the result; `manifest.json` says what made it;
`metrics.csv` has loss and accuracy of every finished seed; `checkpoints/` has a folder
for each seed.
"""

import contextlib
import dataclasses
import fcntl
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from train import checkpoints, configs, files, group, manifest
from train.configs import Config, UserError

# Fields that may change from one session to the next.
_FREE = ("seeds", "first_seed", "checkpoint_every", "seeds_per_chunk")
# What a session that was killed at its very start leaves.
_BEGUN = {"config.json.partial"}


def seed_folder(run: Path, seed: int) -> Path:
    """Returns where a seed has its checkpoints."""
    return run / "checkpoints" / f"seed_{seed:03d}"


def missing_seeds(config: Config, run: Path) -> list[int]:
    """Returns the seeds of a config that are not finished, increasing."""
    finals = {seed: seed_folder(run, seed) / group.FINAL for seed in config.numbers}
    return [seed for seed, final in finals.items() if not final.exists()]


def check(run: Path, config: Config, *, resume: bool) -> Config:
    """Refuses a folder that must not be written to.

    Args:
      run: the folder; it need not exist.
      config: what is going to be trained.
      resume: whether a run of the same config may be there. It may have other seeds, if
        they are some of these or next to them.

    Returns:
      The config, with the seeds that are there and those that are asked for.

    Raises:
      UserError: it must not be written to; the message says why and what to do.
    """
    if not (run / "config.json").exists():
        if run.is_file() or (run.is_dir() and {p.name for p in run.iterdir()} - _BEGUN):
            raise UserError(
                f"train: {run} is there and is no run of this program; name another "
                "folder with --out."
            )
        return config
    known = read_config(run)
    there, here = map(dataclasses.asdict, (known, config))
    differing = [
        f"{name} is {there[name]!r} there and {value!r} here"
        for name, value in here.items()
        if value != there[name] and name not in _FREE
    ]
    there, here = known.numbers, config.numbers
    if here.start > there.stop or here.stop < there.start:
        differing.append(
            f"seeds are {there.start}:{there.stop} there and {here.start}:{here.stop} "
            "here, with a gap between them"
        )
    if differing:
        raise UserError(
            f"train: {run} holds a run of another config: {', '.join(differing)}. "
            "Nothing was changed. Give the same options, or name another folder with "
            "--out."
        )
    if not resume:
        raise UserError(
            f"train: {run} holds a run of this config; go on with it, or reuse it, "
            "with --resume, or name another folder with --out."
        )
    first = min(known.first_seed, config.first_seed)
    last = max(known.numbers.stop, config.numbers.stop)
    return dataclasses.replace(config, first_seed=first, seeds=last - first)


@contextlib.contextmanager
def lock(run: Path) -> Iterator[None]:
    """Makes the folder if need be and keeps other trainings out of it.

    Args:
      run: the folder.

    Raises:
      UserError: another process is training in it.
    """
    new = not run.exists()
    run.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run, os.O_RDONLY)
    try:
        _take(descriptor, run)
        try:
            yield
        finally:
            if new and not any(run.iterdir()):  # nothing came of it
                run.rmdir()
    finally:
        os.close(descriptor)  # and with it the lock


def _take(descriptor: int, run: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"train: another process is training in {run}; wait for it, or name "
            "another folder with --out."
        ) from error


def check_checkpoints(run: Path, seeds: Sequence[int]) -> None:
    """Raises a `UserError` if all checkpoints of a seed in training are damaged."""
    for path in (seed_folder(run, seed) for seed in seeds):
        there = checkpoints.epochs(path)
        if there and checkpoints.damaged(path) == there:
            checkpoints.check(path / f"epoch_{max(there)}")


def discard_damaged(run: Path, seeds: Sequence[int]) -> None:
    """Removes damaged checkpoints of seeds that have a good one too, with a warning."""
    for seed in seeds:
        path = seed_folder(run, seed)
        damaged = checkpoints.damaged(path)
        for epoch in damaged:
            used = max(checkpoints.epochs(path) - damaged)
            checkpoints.remove(path / f"epoch_{epoch}")
            warnings.warn(
                f"train: the checkpoint {path}/epoch_{epoch} is damaged; seed {seed} "
                f"goes on from the one before, epoch_{used}.",
                stacklevel=2,
            )


def read_config(run: Path) -> Config:
    """Reads the config of a run.

    Args:
      run: the folder.

    Raises:
      UserError: it is damaged, or not the one in the manifest.
    """
    path = run / "config.json"
    fields = files.read_json(path)
    names = [field.name for field in dataclasses.fields(Config)]
    if not isinstance(fields, dict) or sorted(fields) != sorted(names):
        found = list(fields) if isinstance(fields, dict) else fields
        raise UserError(f"{path} must have the fields {names}, it has {found}. {_COPY}")
    config = Config(**fields)
    try:
        configs.check(config)
    except UserError as error:
        raise UserError(f"{path} is damaged: {error} {_COPY}") from error
    if (run / "manifest.json").exists():
        noted = manifest.read(run)["config"]
        changed = [
            name
            for name in names
            if name not in _FREE and noted.get(name, fields[name]) != fields[name]
        ]
        if changed:
            raise UserError(
                f"{path} is not what the run was trained with: {changed[0]} is "
                f"{fields[changed[0]]!r} there and {noted[changed[0]]!r} in "
                f"manifest.json. {_COPY}"
            )
    return config


_COPY = "Put back what it was; manifest.json has a copy."
