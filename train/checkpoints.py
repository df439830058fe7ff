"""Pytrees of arrays on disk: written whole or not at all, checked when read."""

import hashlib
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import serialization

from train.configs import UserError


def save(trees: Mapping[Path, Any]) -> None:
    """Writes pytrees with Orbax; a save that is killed leaves nothing at their paths.

    All are written before the first gets its name, so that those that belong together
    appear together.

    Args:
      trees: arrays of NumPy or JAX, for each path, a folder that does not exist yet.

    Raises:
      UserError: they cannot be written, such as for want of space.
    """
    for path, tree in trees.items():
        partial = _partial(path).absolute()
        shutil.rmtree(partial, ignore_errors=True)
        try:
            with _checkpointer() as checkpointer:
                state = serialization.to_state_dict(jax.device_get(tree))
                checkpointer.save(partial / "arrays", state)
            (partial / "sha256").write_bytes(_digest(partial / "arrays"))
        except Exception as error:  # Orbax passes on what its layers below raise
            raise UserError(
                f"The checkpoint {path} cannot be written: {str(error)[:200]}. What "
                "was saved before is kept; free some space, or make the folder "
                "writable, and go on with --resume."
            ) from error
    for path in trees:
        os.replace(_partial(path), path)


def remove(path: Path) -> None:
    """Removes a checkpoint; if that is killed, none is left that looks damaged.

    Args:
      path: as for `save`.
    """
    partial = _partial(path)
    shutil.rmtree(partial, ignore_errors=True)
    os.replace(path, partial)
    shutil.rmtree(partial)


def remove_others(folder: Path, keep: Collection[str]) -> None:
    """Removes the checkpoints of a seed but some, and what a kill left of any.

    Args:
      folder: of one seed; files of other programs and people stay.
      keep: names of the checkpoints that stay.
    """
    for path in folder.iterdir():
        if re.fullmatch(r"(epoch_\d+|final)\.partial", path.name):
            shutil.rmtree(path)
        elif re.fullmatch(r"epoch_\d+", path.name) and path.name not in keep:
            remove(path)


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
    with _checkpointer() as checkpointer:
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
    if not _is_good(path):
        raise UserError(
            f"The checkpoint {path} is damaged: it is not what its checksum says. "
            f"Nothing was changed. Put a good copy there; or {_RETRAIN}."
        )


def damaged(folder: Path) -> set[int]:
    """Returns the epochs of a seed, of `epochs`, whose checkpoints are damaged."""
    return {n for n in epochs(folder) if not _is_good(folder / f"epoch_{n}")}


def checksum(path: Path) -> str:
    """Returns the SHA-256 of a checkpoint that `check` has passed, hexadecimal."""
    return (path / "sha256").read_text()


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


def _checkpointer() -> ocp.StandardCheckpointer:
    """Returns one that waits for no other process: the first writes, all read."""
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=str(own)
    )
    return ocp.StandardCheckpointer(multiprocessing_options=alone)


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _is_good(path: Path) -> bool:
    noted = path / "sha256"
    return noted.exists() and noted.read_bytes() == _digest(path / "arrays")


def _digest(folder: Path) -> bytes:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)} {len(content)} ".encode() + content)
    return digest.hexdigest().encode()


def _shapes(state: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
