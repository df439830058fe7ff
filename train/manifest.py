"""The manifest of a run: what made it, and the checksums of what came of it."""

import dataclasses
import datetime
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from train import archive, data, devices, files
from train.configs import Config, UserError

KEYS = {
    "created",
    "config",
    "num_classes",
    "image_shape",
    "data_fingerprint",
    "environment",
    "resumed",
    "checkpoints",
    "diverged",
}


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
    old = read(run) if path.exists() else {}
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
        "checkpoints": {},
        "diverged": [],
    }
    if old:
        session = {"time": _now(), "environment": _environment()}
        manifest = {**old, "config": fields, "resumed": [*old["resumed"], session]}
    # This first: it makes the folder a run, and what is missing then is written again.
    files.write(run / "config.json", json.dumps(fields, indent=2) + "\n")
    files.write(path, json.dumps(manifest, indent=2) + "\n")


def complete(
    run: Path, checksums: Mapping[int, str], diverged: Sequence[int]
) -> dict[str, Any]:
    """Adds what came of a run, unless that is there.

    Args:
      run: the folder.
      checksums: of what is kept of each seed.
      diverged: seeds whose loss was not finite.

    Returns:
      The manifest.
    """
    old = read(run)
    named = {str(seed): checksum for seed, checksum in checksums.items()}
    new = {**old, "checkpoints": named, "diverged": list(diverged)}
    if new != old:
        files.write(run / "manifest.json", json.dumps(new, indent=2) + "\n")
    return new


def read(run: Path) -> dict[str, Any]:
    """Reads the manifest of a run.

    Args:
      run: the folder, or the file of an archive.

    Raises:
      UserError: it is damaged.
    """
    path = run / "manifest.json"
    if run.suffix == archive.SUFFIX:
        path = archive.manifest_of(run)
    manifest = files.read_json(path)
    if not isinstance(manifest, dict) or not manifest.keys() >= KEYS:
        raise UserError(f"{path} is damaged: it must have {', '.join(sorted(KEYS))}.")
    fields = {field.name for field in dataclasses.fields(Config)}  # some came later
    noted, resumed = manifest["config"], manifest["resumed"]
    if not isinstance(noted, dict) or not noted.keys() <= fields:
        raise UserError(f"{path} is damaged: its config has fields that are unknown.")
    if not isinstance(resumed, list):
        raise UserError(f"{path} is damaged: resumed must be a list.")
    return manifest


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _environment() -> dict[str, Any]:
    """Returns what the bits of a result may depend on beside the config."""
    return {
        "git_revision": _git_revision(),
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


def _git_revision() -> str:
    """Returns the commit of this checkout, and whether files differ from it."""
    root = Path(__file__).resolve().parents[1]
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
