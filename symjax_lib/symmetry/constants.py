"""What a program shows of its constants."""

from typing import Any

import jax
import numpy as np
from jax.extend import core


def is_numeric(constant: Any) -> bool:
    """Tells numbers from random keys."""
    dtype = getattr(constant, "dtype", None)
    return dtype is None or not jax.numpy.issubdtype(dtype, jax.dtypes.extended)


def is_zero(constant: Any) -> bool:
    """Tells whether a value is known and zero everywhere."""
    return constant is not None and is_numeric(constant) and not np.any(constant)


def zeros(eqn: core.JaxprEqn) -> dict[Any, Any]:
    """Returns zeros for each of the results of an equation."""
    avals: Any = {var: var.aval for var in eqn.outvars}
    return {var: np.zeros(aval.shape, aval.dtype) for var, aval in avals.items()}


def is_uniform(constant: Any) -> bool:
    """Tells whether a constant is one real number everywhere."""
    if not is_numeric(constant) or np.iscomplexobj(constant):
        return False
    # Not by their range, which is nan where one of them is.
    numbers = np.ravel(np.asarray(constant))
    return bool(numbers.size) and bool((numbers == numbers[0]).all())


def alike(constant: Any, axis: int) -> list[np.ndarray] | None:
    """Returns the positions along an axis at which a constant is alike, by kind.

    None if no two positions are alike.
    """
    if not is_numeric(constant):
        return None
    numbers = np.moveaxis(np.asarray(constant), axis, 0)
    if not numbers.size:
        return [np.arange(len(numbers))]
    kinds: dict[bytes, list[int]] = {}
    for position, row in enumerate(numbers):
        kinds.setdefault(row.tobytes(), []).append(position)
    if len(kinds) == len(numbers) > 1:
        return None
    return [np.array(at) for at in kinds.values()]
