r"""The activation that a unit exceeds at a given part of all places, by counting.

For N activations and a part f the threshold is the order statistic t with :math:`\#\{x
> t\} \leq \lfloor f N \rfloor < \#\{x \geq t\}`. It is enclosed between two numbers;
every pass over the data counts how many activations are above some numbers between, and
so makes the enclosure narrower. Nothing is kept but those counts, and they are exact:
of the number that is used it is known how many activations exceed it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LEVELS = 16


class Bracket(NamedTuple):
    """Enclosures of thresholds, `low < t <= high`.

    Attributes:
      low: `[..., C]` float32.
      high: likewise.
      above_high: `[..., C]` activations that exceed `high`, at most the allowed number.
    """

    low: np.ndarray
    high: np.ndarray
    above_high: np.ndarray


def start(least: np.ndarray, largest: np.ndarray) -> Bracket:
    """Returns the enclosure that the extremes of the activations give.

    Args:
      least: `[..., C]` float32.
      largest: likewise.
    """
    low, high = _unrank(_rank(least) - 1), _unrank(_rank(largest))
    return Bracket(low, high, np.zeros(largest.shape, np.int64))


def levels(bracket: Bracket, *, by_value: bool = True) -> np.ndarray:
    """Returns numbers inside of an enclosure, `[LEVELS, ..., C]`, in increasing order.

    Args:
      bracket: of the thresholds.
      by_value: whether they divide the interval evenly, or else its floating point
        numbers: that takes more passes where values are large, and at most 8 in all.
    """
    parts = np.arange(1, LEVELS + 1) / (LEVELS + 1)
    parts = parts.reshape(-1, *[1] * bracket.low.ndim)
    if not by_value:
        low, high = _rank(bracket.low), _rank(bracket.high)
        return _unrank(low + (parts * (high - low)).astype(np.int64))
    low, high = bracket.low.astype(float), bracket.high.astype(float)
    found = _unrank(_rank((low + parts * (high - low)).astype(np.float32)))
    # What ReLU makes of half of all values is a threshold itself where units are rare.
    found[0] = np.where((low < 0) & (high > 0), 0, found[0])
    return np.sort(found, axis=0)


@jax.jit
def count_above(units: jax.Array, numbers: jax.Array) -> jax.Array:
    """Returns how many values of every unit exceed numbers.

    Args:
      units: `[P, C]`.
      numbers: `[T, C]`.

    Returns:
      `[T, C]` int32.
    """
    one = lambda level: (units > level).sum(axis=0, dtype=jnp.int32)
    return jax.lax.map(one, numbers)


def narrow(
    bracket: Bracket, numbers: np.ndarray, above: np.ndarray, allowed: int
) -> Bracket:
    """Returns the narrower enclosure that counts give.

    Args:
      bracket: what was known.
      numbers: from `levels`.
      above: `[T, ..., C]` how many activations exceed them.
      allowed: how many may exceed a threshold.

    Example:
      >>> bracket = start(np.zeros(1, np.float32), np.full(1, 34, np.float32))
      >>> x = np.arange(35.0)[:, None]
      >>> numbers = levels(bracket)
      >>> above = np.array([(x > level).sum(axis=0) for level in numbers])
      >>> found = narrow(bracket, numbers, above, allowed=3)
      >>> bool(found.low < 31 <= found.high), found.above_high
      (True, array([2]))
    """
    many = above > allowed
    low = np.where(many, numbers, bracket.low).max(axis=0)
    high = np.where(many, bracket.high, numbers).min(axis=0)
    # Counts fall as levels rise: above the high one there are the fewest.
    within = np.where(many, bracket.above_high, above).max(axis=0)
    return Bracket(low, high, within)


def is_exact(bracket: Bracket) -> bool:
    """Tells whether no floating point number is left between the ends."""
    return bool((_rank(bracket.high) - _rank(bracket.low) <= 1).all())


# Processors may take numbers below the smallest normal one for 0, or may not.
_SUBNORMAL = 2**23 - 1


def _rank(x: np.ndarray) -> np.ndarray:
    """Returns the place of float32 numbers among the normal ones, which have no gap."""
    bits = np.asarray(x, np.float32).view(np.int32).astype(np.int64)
    size = np.maximum((bits & (2**31 - 1)) - _SUBNORMAL, 0)
    return np.where(bits < 0, -size, size)


def _unrank(rank: np.ndarray) -> np.ndarray:
    size = np.where(rank == 0, 0, np.abs(rank) + _SUBNORMAL)
    found = size.astype(np.int32).view(np.float32)
    return np.where(rank < 0, -found, found)
