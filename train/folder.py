"""The folder of a run: what is in it, and what may be written to it.

`config.json` is what decides the result; `manifest.json` says what made it;
`metrics.csv` has loss and accuracy of every finished seed; `checkpoints/` has a folder
for each seed.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import platform
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from train import checkpoints, configs, data, devices, group
from train.configs import Config, UserError

MANIFEST = {
    "created",
    "config",
    "num_classes",
    "image_shape",
    "data_fingerprint",
    "environment",
    "resumed",
}
# Fields that may change from one session to the next.
_FREE = ("seeds", "checkpoint_every")
# What a session that was killed at its very start leaves.
_BEGUN = {"config.json.partial"}


def seed_folder(run: Path, seed: int) -> Path:
    """Returns where a seed has its checkpoints."""
    return run / "checkpoints" / f"seed_{seed:03d}"


def missing_seeds(config: Config, run: Path) -> list[int]:
    """Returns the seeds of a config that are not finished, increasing."""
    seeds = range(config.seeds)
    return [s for s in seeds if not (seed_folder(run, s) / group.FINAL).exists()]


def check(run: Path, config: Config, *, resume: bool) -> None:
    """Refuses a folder that must not be written to.

    Args:
      run: the folder; it need not exist.
      config: what is going to be trained.
      resume: whether a run of the same config may be there. It may have fewer seeds.

    Raises:
      UserError: it must not be written to; the message says why and what to do.
    """
    if not (run / "config.json").exists():
        if run.is_file() or (run.is_dir() and {p.name for p in run.iterdir()} - _BEGUN):
            raise UserError(
                f"train: {run} is there and is no run of this program; name another "
                "folder with --out."
            )
        return
    there, here = map(dataclasses.asdict, (read_config(run), config))
    differing = [
        f"{name} is {there[name]!r} there and {value!r} here"
        for name, value in here.items()
        if value != there[name] and name not in _FREE
    ]
    if here["seeds"] < there["seeds"]:
        differing.append(
            f"seeds is {there['seeds']} there and {here['seeds']} here, fewer"
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
    """Raises a `UserError` if a checkpoint of a seed in training is damaged."""
    for path in (seed_folder(run, seed) for seed in seeds):
        for epoch in checkpoints.epochs(path):
            checkpoints.check(path / f"epoch_{epoch}")


def describe(run: Path, config: Config, dataset: data.Dataset) -> None:
    """Writes config and manifest; a run that is there gets one more session.

    Args:
      run: the folder, which `check` has passed.
      config: of the run, perhaps with more seeds than before.
      dataset: that it is going to be trained on.

    Raises:
      UserError: the run was started on other data.
    """
    path = run / "manifest.json"
    old = read_manifest(run) if path.exists() else {}
    there = old.get("data_fingerprint", dataset.fingerprint)
    if there != dataset.fingerprint:
        raise UserError(
            f"train: {run} was started on {config.dataset} with the fingerprint "
            f"{there}, and these data have {dataset.fingerprint}. Nothing was changed. "
            "Name the folder of the same data with --data-dir, or another folder with "
            "--out."
        )
    fields = dataclasses.asdict(config)
    manifest = {
        "created": _now(),
        "config": fields,
        "num_classes": dataset.num_classes,
        "image_shape": list(dataset.image_shape),
        "data_fingerprint": dataset.fingerprint,
        "environment": _environment(),
        "resumed": [],
    }
    if old:
        session = {"time": _now(), "environment": _environment()}
        manifest = {**old, "config": fields, "resumed": [*old["resumed"], session]}
    # This first: it makes the folder a run, and what is missing then is written again.
    write(run / "config.json", json.dumps(fields, indent=2) + "\n")
    write(path, json.dumps(manifest, indent=2) + "\n")


def read_config(run: Path) -> Config:
    """Reads the config of a run.

    Args:
      run: the folder.

    Raises:
      UserError: it is damaged, or not the one in the manifest.
    """
    path = run / "config.json"
    fields = _read_json(path)
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
        noted = read_manifest(run)["config"]
        changed = [
            name for name in names if name not in _FREE and noted[name] != fields[name]
        ]
        if changed:
            raise UserError(
                f"{path} is not what the run was trained with: {changed[0]} is "
                f"{fields[changed[0]]!r} there and {noted[changed[0]]!r} in "
                f"manifest.json. {_COPY}"
            )
    return config


_COPY = "Put back what it was; manifest.json has a copy."


def read_manifest(run: Path) -> dict[str, Any]:
    """Reads the manifest of a run.

    Args:
      run: the folder.

    Raises:
      UserError: it is damaged.
    """
    path = run / "manifest.json"
    manifest = _read_json(path)
    if not isinstance(manifest, dict) or not manifest.keys() >= MANIFEST:
        raise UserError(
            f"{path} is damaged: it must have {', '.join(sorted(MANIFEST))}."
        )
    fields = {field.name for field in dataclasses.fields(Config)}
    noted, resumed = manifest["config"], manifest["resumed"]
    if not isinstance(noted, dict) or noted.keys() != fields:
        raise UserError(f"{path} is damaged: its config must have all fields.")
    if not isinstance(resumed, list):
        raise UserError(f"{path} is damaged: resumed must be a list.")
    return manifest


def write(path: Path, text: str) -> None:
    """Writes a file as a whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as the JSON that was written there: {error}."
        ) from error


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _environment() -> dict[str, Any]:
    """Returns what the bits of a result may depend on beside the config."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        # XLA divides sums among the cores it may use.
        "cores": devices.cores(),
        "devices": jax.device_count(),
        "x64": jax.config.read("jax_enable_x64"),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


_PACKAGES = (
    "symjax_lib", "jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint",
    "scikit-learn", "tensorflow-datasets", "pillow",
)  # fmt: skip


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
