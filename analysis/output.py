"""The folder that an analysis writes, marked with what its files were made of."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import analysis
import symjax_lib
import train
from train.configs import UserError

MARK = "made_of.json"


def hash_of_run(run: Path) -> str:
    """Returns a hash of the config and the trained networks of a run.

    Args:
      run: the folder of a finished run, or the file of its archive.
    """
    if run.is_file():
        return _hash([run], run.parent)
    networks = sorted(run.glob("checkpoints/*/final/sha256"))
    return _hash([run / "config.json", *networks], run)


def hash_of(files: Sequence[Path]) -> str:
    """Returns a hash of the contents of files, in their order.

    Args:
      files: any that can be read.

    Raises:
      UserError: one of them cannot.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise UserError(f"analysis: {path} was not read: {error}") from error
    return digest.hexdigest()[:16]


def hash_of_code() -> str:
    """Returns a hash of the sources that the numbers come from."""
    packages = [Path(package.__path__[0]) for package in (analysis, symjax_lib, train)]
    root = packages[0].parent
    sources = [
        p for d in packages for end in ("py", "jinja") for p in d.rglob(f"*.{end}")
    ]
    return _hash(sorted(sources), root)


def hash_of_options(made_of: Mapping[str, Any]) -> str:
    """Returns a hash of what an output is computed from.

    Args:
      made_of: see `is_complete`.
    """
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


def _hash(paths: Sequence[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(root)} ".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def is_complete(out: Path, made_of: Mapping[str, Any]) -> bool:
    """Tells whether a folder already has what is asked for.

    Args:
      out: the folder; it need not exist.
      made_of: what the output is computed from, as JSON has it; `run` and `experiment`
        name it.

    Returns:
      True if the folder was made of the same; False if it is free, or has an output of
      the same name, which `write` brings up to date.

    Raises:
      UserError: it has something else, which must not be lost.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    mark = _read(out / MARK)
    if mark is None:
        raise UserError(
            f"analysis: {out} is there and is no output of this program; name another "
            "folder with --out."
        )
    there, here = ({k: m[k] for k in ("experiment", "run")} for m in (mark, made_of))
    if there != here:
        raise UserError(
            f"analysis: {out} has {there['experiment']} of {there['run']}, this is "
            f"{here['experiment']} of {here['run']}. Nothing was changed; name another "
            "folder with --out."
        )
    files = mark.pop("files", None)
    whole = files is not None and all((out / name).exists() for name in files)
    return whole and mark == made_of


def write(
    out: Path, made_of: Mapping[str, Any], parts: Iterable[Mapping[str, str]]
) -> None:
    """Writes files one by one, each as a whole; in the end the mark lists them all.

    Args:
      out: the folder, which `is_complete` has passed; files of other names stay.
      made_of: as for `is_complete`.
      parts: contents by name, written as they come.
    """
    out.mkdir(parents=True, exist_ok=True)
    _write(out / MARK, json.dumps(made_of, indent=2) + "\n")
    names = []
    for part in parts:
        for name, content in part.items():
            _write(out / name, content)
            names.append(name)
    _write(out / MARK, json.dumps({**made_of, "files": names}, indent=2) + "\n")


def _write(path: Path, content: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(content, encoding="utf-8")
    os.replace(partial, path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        mark = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) and {"experiment", "run"} <= {*mark} else None
