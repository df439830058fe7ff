"""Means and standard deviations over seeds or pairs, and which pairs there are."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from train.configs import UserError


class Summary(NamedTuple):
    """What is reported of repeated measurements.

    Attributes:
      mean: over the last axis.
      sd: standard deviation over the last axis, with `n - 1` below; nan for one value,
        which has none.
      n: number of values.
    """

    mean: np.ndarray
    sd: np.ndarray
    n: int


def summarise(values: ArrayLike) -> Summary:
    """Returns mean and standard deviation over the last axis.

    Args:
      values: `[..., n]`, n at least 1; a nan makes mean and deviation nan.

    Returns:
      A `Summary` of arrays `[...]`.

    Example:
      >>> mean, sd, n = summarise([1.0, 2.0, 3.0])
      >>> float(mean), float(sd), n
      (2.0, 1.0, 3)
      >>> float(summarise([1.0]).sd)
      nan
    """
    values = np.asarray(values, float)
    n = values.shape[-1]
    mean = values.mean(axis=-1)
    sd = values.std(axis=-1, ddof=1) if n > 1 else np.full_like(mean, np.nan)
    return Summary(mean, sd, n)


def unordered_pairs(n: int) -> np.ndarray:
    """Returns all pairs of n networks; each network is in n - 1 of them.

    Args:
      n: number of networks.

    Returns:
      `[n (n - 1) / 2, 2]`, the smaller index first.

    Raises:
      UserError: there are fewer than two networks.

    Example:
      >>> unordered_pairs(3).tolist()
      [[0, 1], [0, 2], [1, 2]]
    """
    _check_count(n)
    return np.stack(np.triu_indices(n, 1), axis=1)


def cyclic_pairs(n: int) -> np.ndarray:
    """Returns ordered pairs in which each of n networks is once first and once second.

    Args:
      n: number of networks.

    Returns:
      `[n, 2]`, from i to i + 1 and from the last to the first.

    Raises:
      UserError: there are fewer than two networks.

    Example:
      >>> cyclic_pairs(3).tolist()
      [[0, 1], [1, 2], [2, 0]]
    """
    _check_count(n)
    return np.stack([np.arange(n), np.roll(np.arange(n), -1)], axis=1)


def describe_pairs(pairs: np.ndarray) -> str:
    """Says what mean ± sd over pairs is, and how the pairs share networks.

    Args:
      pairs: `[P, 2]` numbers of networks.

    Example:
      >>> print(describe_pairs(unordered_pairs(4)))
      Mean ± standard deviation over 6 pairs of 4 networks; each network is in 3 pairs,
      so the pairs are not independent and this is no confidence interval.
    """
    networks, counts = np.unique(pairs, return_counts=True)
    if len(pairs) == 1:
        return "One pair of networks, so there is no standard deviation."
    return (
        f"Mean ± standard deviation over {len(pairs)} pairs of {len(networks)} "
        f"networks; each network is in {counts.max()} pairs, so the pairs are not "
        "independent and this is no confidence interval."
    )


def _check_count(n: int) -> None:
    if n < 2:
        raise UserError(
            f"analysis: networks are compared in pairs, and the run has {n} that "
            "finished without diverging; train it with at least --seeds 2, or ask for "
            "`accuracy` or `certificate`, which take networks one by one."
        )
