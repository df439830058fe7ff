"""Where the tests find real data, weights and the outputs of other implementations."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def shared(path: str) -> Path:
    """Returns a path below the shared folder, or skips the test that asks for it."""
    if not (SHARED / path).exists():
        pytest.skip(f"needs ../shared/{path}, which this checkout does not have")
    return SHARED / path
