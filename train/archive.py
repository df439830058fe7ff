"""A finished run as one small file of arrays, with its manifest beside it.

`NAME.npz` has the variables of all seeds in half precision and the metrics; `NAME.json`
is the manifest of the run, with the checksum of that file.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from train import files
from train.configs import UserError

SUFFIX = ".npz"
_VARIABLES, _METRICS = "variables", "metrics"


def manifest_of(path: Path) -> Path:
    """Returns the file of an archive's manifest."""
    return path.with_suffix(".json")


def write(
    path: Path,
    variables: Mapping[str, Any],
    metrics: Mapping[str, np.ndarray],
    manifest: Mapping[str, Any],
) -> None:
    """Writes an archive.

    Args:
      path: of the file, in `.npz`; folders are made.
      variables: stacked over seeds.
      metrics: columns of `metrics.csv`.
      manifest: of the run.

    Raises:
      UserError: the file is there already, is none in `.npz`, or a weight is too large.
    """
    if path.suffix != SUFFIX:
        raise UserError(f"export: {path} must be the name of a file in {SUFFIX}.")
    for there in (path, manifest_of(path)):
        if there.exists():
            raise UserError(f"export: {there} is there already; name another file.")
    arrays = {f"{_METRICS}/{name}": column for name, column in metrics.items()}
    tree = {_VARIABLES: variables}
    for name, leaf in traverse_util.flatten_dict(tree, sep="/").items():
        with np.errstate(over="ignore"):  # it is looked for below
            arrays[name] = np.asarray(leaf).astype(np.float16)
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"export: {name} has numbers that half precision has not.")
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    checksum = hashlib.sha256(content.getvalue()).hexdigest()
    text = json.dumps({**manifest, "sha256": checksum}, indent=2)
    files.write(manifest_of(path), text + "\n")
    files.write(path, content.getvalue())


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads the arrays of an archive.

    Args:
      path: of the file.

    Returns:
      Variables in float32, stacked over seeds, and the columns of the metrics.

    Raises:
      UserError: the file is not there, or is not that of its manifest.
    """
    noted = files.read_json(manifest_of(path)).get("sha256")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"load: {path} cannot be read: {error}.") from error
    if hashlib.sha256(content).hexdigest() != noted:
        raise UserError(
            f"load: {path} is damaged: it is not what {manifest_of(path).name} beside "
            "it says. Put a good copy there."
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        flat = {name: file[name] for name in file.files}
    tree = traverse_util.unflatten_dict(flat, sep="/")
    full = {
        name: leaf.astype(np.float32)
        for name, leaf in flat.items()
        if name.startswith(f"{_VARIABLES}/")
    }
    variables = traverse_util.unflatten_dict(full, sep="/")[_VARIABLES]
    return variables, tree[_METRICS]
