"""Means, deviations and intervals over seeds or pairs, and which pairs there are."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from analysis.intervals import (
    Interval as Interval,
    both_interval as both_interval,
    inputs_interval as inputs_interval,
    models_interval as models_interval,
    paired_models_interval as paired_models_interval,
    pairs_interval as pairs_interval,
)
from analysis.permutation import Null as Null, permutation_null as permutation_null
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


def unordered_pairs(n: int, most: int) -> np.ndarray:
    """Returns pairs of n networks, all if there are no more than asked for.

    Otherwise pairs that share no network come first, then the other neighbours on a
    circle, those two apart, and so on: each network is in about as many pairs as the
    others.

    Args:
      n: number of networks.
      most: number of pairs.

    Returns:
      `[P, 2]`, the smaller index first, in the order of indices.

    Raises:
      UserError: there are fewer than two networks.

    Example:
      >>> unordered_pairs(4, 9).tolist()
      [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
      >>> unordered_pairs(6, 3).tolist()
      [[0, 1], [2, 3], [4, 5]]
    """
    _check_count(n)
    every_other = [*range(0, n, 2), *range(1, n, 2)]
    steps = [(i, (i + step) % n) for step in range(1, n // 2 + 1) for i in every_other]
    pairs = list(dict.fromkeys(tuple(sorted(pair)) for pair in steps))
    return np.array(sorted(pairs[:most]))


def describe_pairs(pairs: np.ndarray) -> str:
    """Says what mean ± sd over pairs is, and how the pairs share networks.

    Args:
      pairs: `[P, 2]` numbers of networks.

    Example:
      >>> print(describe_pairs(unordered_pairs(4, 9)))
      Mean ± standard deviation over 6 pairs of 4 networks; each network is in 3 pairs,
      so the pairs are not independent and this is no confidence interval.
    """
    networks, counts = np.unique(pairs, return_counts=True)
    if len(pairs) == 1:
        return "One pair of networks, so there is no standard deviation."
    if (counts == 1).all():
        return (
            f"Mean ± standard deviation over {len(pairs)} pairs of {len(networks)} "
            "networks, no two of which share one."
        )
    least, most = counts.min(), counts.max()
    shared = f"{most}" if least == most else f"{least} to {most}"
    return (
        f"Mean ± standard deviation over {len(pairs)} pairs of {len(networks)} "
        f"networks; each network is in {shared} pairs, so the pairs are not "
        "independent and this is no confidence interval."
    )


def _check_count(n: int) -> None:
    if n < 2:
        raise UserError(
            f"analysis: networks are compared in pairs, and the run has {n} that "
            "finished without diverging; train it with at least --seeds 2, or ask for "
            "`accuracy` or `certificate`, which take networks one by one."
        )
