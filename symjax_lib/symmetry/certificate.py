"""Checks on real inputs that transformed variables give the same function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np


class Certificate(NamedTuple):
    """How far two sets of variables are from giving one function.

    Attributes:
      max_abs_error: largest difference in any output.
      max_rel_error: largest ratio, over the outputs, of the largest difference to the
        largest size.
      ok: whether all outputs are finite and `max_rel_error` is within `tolerance`.
      tolerance: what rounding may add up to.
    """

    max_abs_error: float
    max_rel_error: float
    ok: bool
    tolerance: float


def certify(
    fn: Callable,
    variables: Any,
    transformed: Any,
    *inputs: Any,
    tolerance: float | None = None,
) -> Certificate:
    """Compares a function's outputs before and after an action on its variables.

    Args:
      fn: any function `fn(variables, *inputs)`. Outputs that are whole numbers, such as
        a step count or a predicted class, must be equal.
      variables: a pytree.
      transformed: another one, such as `act(spec, g, variables)`.
      *inputs: real ones, of any batch size; random noise may leave whole layers dead.
      tolerance: on the relative error of each output. By default 1,000 times the
        spacing of floats at 1 in the coarsest precision of outputs and variables, and
        no more than 0.05 (1.2e-4 in float32, 2.2e-13 in float64), as the two sides add
        up the same numbers in another order and size in every layer.

    Returns:
      A `Certificate`; outputs that are not finite are never `ok`.

    Raises:
      ValueError: the outputs have different shapes, or there is none.

    Example:
      >>> f = lambda v, x: v["a"] * v["b"] * x
      >>> v, w = {"a": 2.0, "b": 3.0}, {"a": 6.0, "b": 1.0}
      >>> x = jnp.ones(4)
      >>> certify(f, v, w, x).ok, certify(f, v, v | {"a": 1.0}, x).ok
      (True, False)
    """
    compiled = jax.jit(fn)
    before = jax.tree.leaves(compiled(variables, *inputs))
    after = jax.tree.leaves(compiled(transformed, *inputs))
    shapes = [[x.shape for x in side] for side in (before, after)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"certify: outputs of shapes {shapes[0]} became {shapes[1]}.")
    pairs = [(x, y) for x, y in zip(before, after, strict=True) if x.size]
    if not pairs:
        raise ValueError("certify: the function has no output.")
    if tolerance is None:
        tolerance = _rounding([*before, *jax.tree.leaves(variables)])
    absolute, relative = zip(*(_errors(x, y) for x, y in pairs), strict=True)
    worst = float(np.max(relative))  # nan if one of them is
    ok = bool(np.isfinite(absolute).all()) and worst <= tolerance
    return Certificate(float(np.max(absolute)), worst, ok, tolerance)


def _errors(before: jax.Array, after: jax.Array) -> tuple[float, float]:
    """Returns the largest difference, and its ratio to the largest size."""
    exact = not _is_inexact(before)
    wide = object if exact else complex if jax.numpy.iscomplexobj(before) else float
    x, y = (np.asarray(side).astype(wide) for side in (before, after))
    error = float(np.max(np.abs(x - y)))
    size = float(np.max(np.abs(x)))
    if error == 0:
        return 0.0, 0.0
    return error, np.inf if exact or size == 0 else error / size


def _rounding(arrays: list[Any]) -> float:
    inexact = [x for x in map(jax.numpy.asarray, arrays) if _is_inexact(x)]
    spacing = [float(jax.numpy.finfo(x.dtype).eps) for x in inexact]
    return min(1000 * max(spacing, default=0.0), 0.05)


def _is_inexact(x: jax.Array) -> bool:
    return jax.numpy.issubdtype(x.dtype, jax.numpy.inexact)
