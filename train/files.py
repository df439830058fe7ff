"""Small files of a run, written as a whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

from train.configs import UserError


def write(path: Path, content: str | bytes) -> None:
    """Writes a file as a whole or not at all."""
    if isinstance(content, str):
        content = content.encode()
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def read_json(path: Path) -> Any:
    """Reads a file in JSON.

    Args:
      path: of the file.

    Raises:
      UserError: it is not there, or is no JSON.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as the JSON that was written there: {error}."
        ) from error
