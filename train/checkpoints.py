"""Pytrees of arrays on disk: written whole or not at all, checked when read."""

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import serialization

from train.configs import UserError


def save(path: Path, tree: Any) -> None:
    """Writes a pytree with Orbax; a save that is killed leaves nothing at `path`.

    Args:
      path: a folder that does not exist yet.
      tree: arrays of NumPy or JAX.
    """
    partial = _partial(path).absolute()
    shutil.rmtree(partial, ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        state = serialization.to_state_dict(jax.device_get(tree))
        checkpointer.save(partial / "arrays", state)
    (partial / "sha256").write_bytes(_digest(partial / "arrays"))
    os.replace(partial, path)


def remove(path: Path) -> None:
    """Removes a checkpoint; if that is killed, none is left that looks damaged.

    Args:
      path: as for `save`.
    """
    partial = _partial(path)
    shutil.rmtree(partial, ignore_errors=True)
    os.replace(path, partial)
    shutil.rmtree(partial)


def restore(path: Path, like: Any = None) -> Any:
    """Reads what `save` wrote.

    Args:
      path: as for `save`.
      like: a pytree of arrays or of their shapes, of the structure to return; without
        it, dictionaries are returned.

    Returns:
      The pytree, of NumPy arrays.

    Raises:
      UserError: the checkpoint is damaged, or has other arrays than `like`.
    """
    check(path)
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore((path / "arrays").absolute())
    if like is None:
        return state
    if _shapes(state) != _shapes(serialization.to_state_dict(like)):
        raise UserError(
            f"The checkpoint {path} has other arrays than this model and its "
            f"optimiser; was it written by another version of the code? If so, use "
            f"that one; or {_RETRAIN}."
        )
    return serialization.from_state_dict(like, state)


def check(path: Path) -> None:
    """Compares a checkpoint with its checksum.

    Orbax notices most damage, but not all, and not in one message.

    Args:
      path: as for `save`.

    Raises:
      UserError: it is damaged.
    """
    checksum = path / "sha256"
    if not checksum.exists() or checksum.read_bytes() != _digest(path / "arrays"):
        raise UserError(
            f"The checkpoint {path} is damaged: it is not what its checksum says. "
            f"Nothing was changed. Put a good copy there; or {_RETRAIN}."
        )


def epochs(folder: Path) -> set[int]:
    """Returns after how many epochs the state of a seed was saved.

    Args:
      folder: of one seed.

    Returns:
      The numbers `n` of all `folder/epoch_n`; none if there is no such folder.
    """
    names = (re.fullmatch(r"epoch_(\d+)", path.name) for path in folder.glob("*"))
    return {int(match[1]) for match in names if match}


_RETRAIN = "delete it and run the same command with --resume to train the seed again"


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _digest(folder: Path) -> bytes:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)} {len(content)} ".encode() + content)
    return digest.hexdigest().encode()


def _shapes(state: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
