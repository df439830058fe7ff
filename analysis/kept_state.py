"""What dissection knows after a pass, in a file."""

import os
from pathlib import Path

import numpy as np

from symjax_lib.dissection import State
from symjax_lib.dissection.thresholds import Bracket


def write(path: Path | None, state: State) -> None:
    """Writes a state as a whole.

    Args:
      path: of the file; None for none.
      state: to keep.
    """
    if path is None:
        return
    arrays = {
        f"{layer}/{name}": value
        for layer, bracket in state.brackets.items()
        for name, value in bracket._asdict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        np.savez(file, **{"/done": np.array(state.done)}, **arrays)
    os.replace(partial, path)


def read(path: Path | None) -> State | None:
    """Returns the state that was kept, or None.

    Args:
      path: of the file, which need not exist.
    """
    if path is None or not path.exists():
        return None
    brackets: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as stored:
        done = int(stored["/done"])
        for key in stored.files:
            layer, _, name = key.rpartition("/")
            if layer:
                brackets.setdefault(layer, {})[name] = stored[key]
    return State(done, {layer: Bracket(**parts) for layer, parts in brackets.items()})
