"""Which units are detectors of which concepts, from counts."""

from typing import NamedTuple

import numpy as np

from symjax_lib.dissection.concepts import Concepts
from symjax_lib.dissection.passes import Tally

MINIMUM = 0.04


class Detectors(NamedTuple):
    """What the units of a layer detect, in R bases of C units.

    Attributes:
      concept: `[R, C]` the concept that a unit overlaps best.
      score: `[R, C]` their intersection over union.
      interpretable: `[R, G]` units whose score is above the minimum, by category of
        their concept.
      unique: `[R, G]` different concepts among those.
    """

    concept: np.ndarray
    score: np.ndarray
    interpretable: np.ndarray
    unique: np.ndarray


def iou(tally: Tally, data: Concepts) -> np.ndarray:
    r"""Returns the intersection over union of all units and concepts.

    :math:`\sum_x |M_u(x) \cap L_c(x)| / \sum_x |M_u(x) \cup L_c(x)|` over the images
    that have a label of the concept's category, as others may show it without a label.

    Args:
      tally: of a layer.
      data: the images that it was counted on.

    Returns:
      `[R, C, L]`; 0 where both are nowhere.

    References:
      Bau et al., `Network Dissection <https://arxiv.org/abs/1704.05796>`_, 2017. Their
      code counts a unit only in images where it touches a label of the category.
    """
    union = tally.area[..., data.category] + tally.labels - tally.both
    return tally.both / np.maximum(union, 1)


def detectors(tally: Tally, data: Concepts, *, minimum: float = MINIMUM) -> Detectors:
    """Tells which units detect a concept.

    Args:
      tally: of a layer.
      data: the images that it was counted on.
      minimum: a unit whose best intersection over union exceeds it is interpretable.

    Returns:
      `Detectors`.
    """
    scores = iou(tally, data)
    concept, score = scores.argmax(axis=-1), scores.max(axis=-1)
    found = [
        np.unique(row[above], return_counts=True)
        for row, above in zip(concept, score > minimum, strict=True)
    ]
    groups = len(data.categories)
    by_group = lambda at, weights: np.bincount(
        data.category[at], weights=weights, minlength=groups
    )
    return Detectors(
        concept=concept,
        score=score,
        interpretable=np.array([by_group(at, n) for at, n in found]).astype(int),
        unique=np.array([by_group(at, n > 0) for at, n in found]).astype(int),
    )
