"""Mean, deviation and the chosen interval of similarities over pairs of networks."""

from typing import NamedTuple

import numpy as np

from analysis import intervals, statistics

INTERVALS = {
    "models": "95 % interval for other networks, by leaving one out",
    "inputs": "95 % interval for other images, from disjoint groups of them",
    "both": "95 % interval for other networks on other images",
    "sd": "one standard deviation over pairs, which is no confidence interval",
}
"""What bars and brackets can be, and how the caption calls it."""
GROUPS = 8
"""Into so many disjoint groups the images are divided for an interval over them."""


class Moments(NamedTuple):
    """Of each of L layers `[L]`: mean and sd over pairs, and an interval."""

    mean: np.ndarray
    sd: np.ndarray
    low: np.ndarray
    high: np.ndarray


def moments(
    values: np.ndarray,
    pairs: np.ndarray,
    *,
    interval: str,
    groups: np.ndarray | None = None,
) -> Moments:
    """Returns mean, sd and an interval; nan for one that needs more networks.

    Args:
      values: `[P, L]`.
      pairs: `[P, 2]` networks, by number.
      interval: one of `INTERVALS`.
      groups: `[L, GROUPS]`, the mean over pairs on each group of inputs, for intervals
        over them.
    """
    mean, sd, n = statistics.summarise(values.T)
    if interval == "sd":
        return Moments(mean, sd, mean - sd, mean + sd)
    over = {}
    if groups is not None:
        # About the value on all inputs, which no group has as well.
        inputs = intervals.inputs_interval(groups)
        half = inputs.high - inputs.mean
        over["inputs"] = inputs._replace(mean=mean, low=mean - half, high=mean + half)
    if interval != "inputs" and n > 2:
        matrices = by_networks(values, pairs)
        over["models"] = intervals.models_interval(matrices, pairs=pairs)
    if len(over) == 2:
        over["both"] = intervals.both_interval(over["models"], over["inputs"])
    if interval not in over:
        return Moments(mean, sd, mean * np.nan, mean * np.nan)
    return Moments(mean, sd, over[interval].low, over[interval].high)


def by_networks(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns `[L, S, S]`, symmetric; 1 on the diagonal, nan for pairs not there.

    Args:
      values: `[P, L]`.
      pairs: `[P, 2]` networks, by number.
    """
    networks = int(pairs.max()) + 1
    found = np.full((values.shape[1], networks, networks), np.nan)
    found[:, range(networks), range(networks)] = 1
    for (i, j), row in zip(pairs, values, strict=True):
        found[:, i, j] = found[:, j, i] = row
    return found
