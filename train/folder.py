"""The folder of a run: what is in it, and what may be written to it.

`config.json` is what decides the result; `manifest.json` says what made it;
`metrics.csv` has loss and accuracy of every finished seed; `checkpoints/` has a folder
for each seed.
"""

import csv
import dataclasses
import datetime
import io
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from train import checkpoints, data, group
from train.configs import Config, UserError

MANIFEST = {
    "created",
    "config",
    "num_classes",
    "data_fingerprint",
    "environment",
    "resumed",
}
COLUMNS = ("seed", "epoch", "split", "loss", "accuracy", "learning_rate", "seconds")


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
        if run.is_file() or (run.is_dir() and any(run.iterdir())):
            raise UserError(
                f"train: {run} is there and is no run of this program; name another "
                "folder with --out."
            )
        return
    there, here = map(dataclasses.asdict, (read_config(run), config))
    differing = [
        f"{name} is {there[name]!r} there and {value!r} here"
        for name, value in here.items()
        if value != there[name] and not (name == "seeds" and value > there[name])
    ]
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
    run.mkdir(parents=True, exist_ok=True)
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
        "data_fingerprint": dataset.fingerprint,
        "environment": _environment(),
        "resumed": [],
    }
    if old:
        manifest |= {"created": old["created"], "environment": old["environment"]}
        session = {"time": _now(), "environment": _environment()}
        manifest["resumed"] = [*old["resumed"], session]
    _write(path, json.dumps(manifest, indent=2) + "\n")
    _write(run / "config.json", json.dumps(fields, indent=2) + "\n")


def read_config(run: Path) -> Config:
    """Reads the config of a run, or raises a `UserError` if it is damaged."""
    path = run / "config.json"
    try:
        return Config(**_read_json(path))
    except TypeError as error:  # other fields
        raise UserError(f"{path} is not a config of this version: {error}.") from error


def read_manifest(run: Path) -> dict[str, Any]:
    """Reads the manifest of a run, or raises a `UserError` if it is damaged."""
    path = run / "manifest.json"
    manifest = _read_json(path)
    if not isinstance(manifest, dict) or not manifest.keys() >= MANIFEST:
        raise UserError(f"{path} is damaged: it must have {', '.join(MANIFEST)}.")
    return manifest


def metrics(config: Config, finals: Mapping[int, Any]) -> dict[str, np.ndarray]:
    """Returns the metrics of finished seeds as columns.

    Args:
      config: of the run.
      finals: what `group.train` returns, by seed.

    Returns:
      For each of `COLUMNS` an array `[rows]`; ordered by seed, split and epoch.
    """
    rates = config.learning_rate * 0.5 ** (
        np.arange(config.epochs) // config.halve_every
    )
    rows = []
    for seed, final in sorted(finals.items()):
        history = final["history"]
        for split in ("train", "validation"):
            for epoch, row in enumerate(history[split]):
                rows.append((seed, epoch, split, *row[:2], rates[epoch], row[2]))
        epoch, row = group.best_epoch(history["validation"]), final["test"]
        rows.append((seed, epoch, "test", *row[:2], rates[epoch], row[2]))
    columns = map(np.array, zip(*rows, strict=True))
    return dict(zip(COLUMNS, columns, strict=True))


def write_metrics(run: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Writes `metrics.csv`.

    Args:
      run: the folder.
      columns: from `metrics`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in zip(*(columns[name] for name in COLUMNS), strict=True):
        writer.writerow([f"{x:.6g}" if isinstance(x, float) else x for x in row])
    _write(run / "metrics.csv", text.getvalue())


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _environment() -> dict[str, str]:
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")
    versions = {name: metadata.version(name) for name in packages}
    device = jax.devices()[0].device_kind
    return {
        "python": platform.python_version(),
        **versions,
        "backend": jax.default_backend(),
        "device": device,
    }
