"""Which of many like cases the fast run takes; `make test-slow` takes the others."""

from collections.abc import Iterable
from typing import Any

import pytest


def some(values: Iterable[Any], *, every: int) -> list[Any]:
    """Returns cases for `parametrize`, of which all but every n-th are slow."""
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            marks=pytest.mark.slow if i % every else (),
        )
        for i, value in enumerate(values)
    ]
