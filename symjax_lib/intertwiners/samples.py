"""Values of a scalar function in float64 on the host, with what spoils them refused."""

from collections.abc import Callable

import jax
import numpy as np

Scalar = Callable[[jax.Array], jax.Array]

# Eager JAX compiles once for each shape, so long arrays go through in equal pieces.
_PIECE = 8192


def evaluate(sigma: Scalar, points: np.ndarray, *, caller: str) -> np.ndarray:
    """Returns `sigma(points)` in float64, also while a caller is being traced.

    Args:
      sigma: an elementwise function that works in float64.
      points: `[N]`, float64.
      caller: begins the messages.

    Returns:
      `[N]`, float64; whole numbers and truth values are converted.

    Raises:
      ValueError: the function is not elementwise by its shape, complex, or rounds to
        less than float64.

    Example:
      >>> evaluate(jnp.square, np.array([1.0, 3.0]), caller="here").tolist()
      [1.0, 9.0]
    """
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        values = jax.numpy.asarray(sigma(jax.numpy.asarray(points)))
        if values.shape != points.shape:
            raise ValueError(
                f"{caller}: the function is not elementwise, it returned shape "
                f"{values.shape} for {points.shape}; pass a function of each entry "
                "alone, under jax.vmap if it takes a scalar."
            )
        if jax.numpy.iscomplexobj(values):
            raise ValueError(f"{caller}: the function has complex values.")
        floating = jax.numpy.issubdtype(values.dtype, jax.numpy.floating)
        if floating and values.dtype != jax.numpy.float64:
            raise ValueError(
                f"{caller}: the function returned {values.dtype} for float64; remove "
                "the cast, as the laws are tried to the precision of float64."
            )
        return np.asarray(values, dtype=np.float64)


def evaluate_many(sigma: Scalar, points: np.ndarray, *, caller: str) -> np.ndarray:
    """Returns `sigma(points)` for any number of points, and compiles for one shape.

    Args:
      sigma: as in `evaluate`.
      points: `[N]`, float64.
      caller: begins the messages.

    Returns:
      `[N]`, float64.

    Raises:
      ValueError: as in `evaluate`, or a value is not finite.

    Example:
      >>> evaluate_many(jax.nn.relu, np.linspace(-1, 1, 9001), caller="here")[-1].item()
      1.0
    """
    padded = np.concatenate([points, np.zeros(-len(points) % _PIECE)])
    pieces = np.split(padded, len(padded) // _PIECE)
    values = [evaluate(sigma, piece, caller=caller) for piece in pieces]
    values = np.concatenate(values)[: len(points)]
    if not np.isfinite(values).all():
        worst = points[~np.isfinite(values)][0]
        raise ValueError(
            f"{caller}: the function is not finite at x = {worst:g}; it must be on all "
            "of the line for an expectation over a normal variable."
        )
    return values
