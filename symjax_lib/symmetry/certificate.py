"""Checks on real inputs that transformed variables give the same function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np


class Certificate(NamedTuple):
    """How far two sets of variables are from giving one function.

    Attributes:
      max_abs_error: largest difference between outputs.
      max_rel_error: the same, divided by the largest output.
      ok: whether `max_rel_error` is within `tolerance`.
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
      fn: any function `fn(variables, *inputs)` with floating-point outputs.
      variables: a pytree.
      transformed: another one, such as `act(spec, g, variables)`.
      *inputs: real ones, of any batch size; random noise may leave whole layers dead.
      tolerance: on the relative error. By default 1,000 times the spacing of floats at
        1 in the outputs' precision (1.2e-4 in float32, 2.2e-13 in float64), as the two
        sides add up the same numbers in another order and size in every layer.

    Returns:
      A `Certificate`; outputs that are not finite are never `ok`.

    Raises:
      ValueError: the outputs have different shapes, or none is floating-point.

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
    pairs = [
        (np.asarray(x), np.asarray(y))
        for x, y in zip(before, after, strict=True)
        if jax.numpy.issubdtype(x.dtype, jax.numpy.floating) and x.size
    ]
    if not pairs:
        raise ValueError("certify: the function has no floating-point output.")
    error = max(float(np.abs(x - y).max()) for x, y in pairs)
    size = max(float(np.abs(x).max()) for x, _ in pairs)
    if tolerance is None:
        tolerance = 1000 * max(float(jax.numpy.finfo(x.dtype).eps) for x, _ in pairs)
    relative = error / size if size else error
    return Certificate(error, relative, bool(relative <= tolerance), tolerance)
