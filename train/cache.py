"""Decoded data sets in the user's cache folder, `$XDG_CACHE_HOME` or `~/.cache`."""

import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from train.arrays import Arrays, fingerprint


def folder() -> Path:
    """Returns this program's part of the cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "symjax_lib"


def cached(path: Path, build: Callable[[], Arrays]) -> Arrays:
    """Returns the arrays in a file; builds and writes them if it is not there whole."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = Arrays(*(stored[field] for field in Arrays._fields))
            if str(stored["fingerprint"]) == fingerprint(arrays):
                return arrays
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # absent or damaged
    arrays = build()
    try:
        _write(path, arrays)
    except OSError as error:
        warnings.warn(f"{path} cannot be written, so not cached: {error}", stacklevel=2)
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            np.savez(file, fingerprint=fingerprint(arrays), **arrays._asdict())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
