"""What the tests of measures share: all similarities, behaviour, rank correlations."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis import features, statistics
from analysis.networks import Compared
from symjax_lib.similarity import streaming

_BATCH = 250

MEASURES = tuple(
    name
    for name in streaming.MEASURES
    if name not in ("g_relu_cka, biased", "median_cka, biased")
)
"""All but the biased variants that nobody uses."""


class Correlation(NamedTuple):
    """A rank correlation, with an interval at the level of networks.

    Attributes:
      rho: Spearman's; nan where one side is constant or not defined.
      low: end of the 95 % interval of the jackknife that leaves out one network.
      high: the other end.
    """

    rho: float
    low: float
    high: float


def similarities(
    subject: Compared, measures: Sequence[str], progress: Callable[[str], None]
) -> streaming.Comparison:
    """Compares pairs of networks, every layer with every layer, in one call.

    Args:
      subject: the networks; measured on its `measured` images.
      measures: some of `MEASURES`.
      progress: called with what is being done.
    """
    pairs = statistics.unordered_pairs(len(subject.networks), subject.most_pairs)
    names = tuple(layer.name for layer in subject.layers)
    networks = subject.networks[: pairs.max() + 1]  # the others are in no pair
    readers = [streaming.Taps(n.predict, n.variables, names) for n in networks]
    return streaming.compare(
        readers,
        batches(subject.measured.images),
        measures=measures,
        pairs=[(i, j) for i, j in pairs.tolist()],
        progress=progress,
    )


def batches(images: ArrayLike) -> list[np.ndarray]:
    """Returns parts of `[N, ...]` images of at most 250.

    Args:
      images: any.
    """
    images = np.asarray(images)
    return np.split(images, range(_BATCH, len(images), _BATCH))


def log_probabilities(subject: Compared) -> np.ndarray:
    """Returns `[S, N, classes]` of all test images.

    Args:
      subject: the networks.
    """
    images = subject.test.images
    return log_softmax(np.stack([features.logits(n, images) for n in subject.networks]))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Returns log-probabilities `[..., classes]` in float64.

    Args:
      logits: `[..., classes]`.
    """
    logits = np.asarray(logits, float)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def differences(
    first: np.ndarray, second: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns how differently networks behave, by three definitions.

    Args:
      first: `[..., N, classes]` log-probabilities.
      second: likewise.
      labels: `[N]`.

    Returns:
      `[...]` for each: the part of images that get another class; the distance of mean
      losses; the distance of accuracies.

    Example:
      >>> sure = np.log([[0.9, 0.1], [0.1, 0.9]])
      >>> found = differences(sure, sure[::-1], np.array([0, 1]))
      >>> {name: round(float(x), 2) for name, x in found.items()}
      {'disagreement': 1.0, 'loss': 2.2, 'accuracy': 1.0}
    """
    labels = np.asarray(labels)
    each = np.arange(len(labels))
    loss = [-p[..., each, labels].mean(-1) for p in (first, second)]
    guess = [p.argmax(-1) for p in (first, second)]
    right = [(g == labels).mean(-1) for g in guess]
    return {
        "disagreement": (guess[0] != guess[1]).mean(-1),
        "loss": np.abs(loss[0] - loss[1]),
        "accuracy": np.abs(right[0] - right[1]),
    }


def noise_ceiling(first: np.ndarray, second: np.ndarray) -> float:
    r"""Returns the rank correlation that a perfect measure could reach with a target.

    The target is measured on two halves of the images; with r their rank correlation,
    the whole has reliability :math:`2 r / (1 + r)`, and nothing correlates with it
    better than the root of that.

    Args:
      first: the target on one half, of any items.
      second: on the other half, of the same items.

    Returns:
      From 0 to 1; 0 where the halves do not agree at all.

    References:
      Spearman, 1910; Brown, 1910.
    """
    r = spearman(first, second)
    return float(np.sqrt(max(2 * r / (1 + r), 0.0))) if r > -1 else 0.0


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Returns Spearman's rank correlation of the items where both are defined.

    Args:
      x: `[n]`.
      y: `[n]`.
    """
    defined = np.isfinite(x) & np.isfinite(y)
    x, y = x[defined], y[defined]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])


def correlation(x: np.ndarray, y: np.ndarray, networks: np.ndarray) -> Correlation:
    """Correlates items that share networks, with an interval over networks.

    Args:
      x: `[n]`.
      y: `[n]`.
      networks: `[n, k]`, the networks that each item is of.

    References:
      Arvesen, `Jackknifing U-statistics <https://doi.org/10.1214/aoms/1177697287>`_,
      1969.
    """
    rho = spearman(x, y)
    found = np.unique(networks)
    without = []
    for network in found:
        keep = ~(networks == network).any(axis=1)
        without.append(spearman(x[keep], y[keep]))
    s, left_out = len(found), np.array(without)
    if s < 4 or not np.isfinite(left_out).all():
        return Correlation(rho, np.nan, np.nan)
    error = np.sqrt((s - 1) / s * ((left_out - left_out.mean()) ** 2).sum())
    reach = stats.t.ppf(0.975, s - 1) * error
    return Correlation(rho, max(rho - reach, -1.0), min(rho + reach, 1.0))
