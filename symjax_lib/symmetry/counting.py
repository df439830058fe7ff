r"""How many scalings are independent: the rank of what they do to the variables.

The logarithm of a scaling is a function on the positions of a space, and of the axes it
varies over. Such functions are sums of parts that depend on exactly the axes in a set
:math:`U` and have mean zero along each; there are :math:`\prod_{u \in U} (n_u - 1)` of
them for each scaling. On an entry of an array the parts of its factors add up, so the
rank is found for each :math:`U` alone, from the exponents.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from symjax_lib.symmetry.linear import rank

Entry = Sequence[Any]
"""The factors (`spec.Factor`) that act on one kind of entry of an array."""


def dimension(spaces: Mapping[str, Any], arrays: Iterable[Sequence[Entry]]) -> int:
    """Returns the number of independent scalings.

    Args:
      spaces: `spec.Space` by name.
      arrays: for each variable, the factors of each kind of entry.
    """
    entries = [entry for array in arrays for entry in array]
    sizes = {f.label: f.size for entry in entries for f in entry if f.label}
    domains = [(*space.over, space.name) for space in spaces.values()]
    subsets = {
        frozenset(chosen)
        for domain in domains
        for count in range(len(domain) + 1)
        for chosen in itertools.combinations(domain, count)
    }
    total = 0
    for subset in subsets:
        matrix = exponents(spaces, entries, subset)
        total += rank(matrix) * math.prod(sizes[label] - 1 for label in subset)
    return total


def exponents(
    spaces: Mapping[str, Any],
    entries: Iterable[Entry],
    subset: frozenset[str],
    *,
    of: str = "scalings",
) -> np.ndarray:
    """Returns the exponents `[entries, modes]` of the parts that depend on a set.

    Args:
      spaces: `spec.Space` by name; those not over the set have no such part.
      entries: the factors of each kind of entry.
      subset: labels of axes.
      of: "scalings" or "signs".
    """
    columns: dict[str, int] = {}
    width = 0
    for space in spaces.values():
        if subset <= {*space.over, space.name}:
            columns[space.name] = width
            width += getattr(space, of)
    rows = set()
    for entry in entries:
        # A label may be there twice; each of the two has positions of its own.
        places = [
            [i for i, factor in enumerate(entry) if factor.label == label]
            for label in subset
        ]
        for chosen in itertools.product(*places):
            row = np.zeros(width)
            for i, factor in enumerate(entry):
                own = factor.label not in subset or i in chosen
                if factor.label in columns and own:
                    start = columns[factor.label]
                    powers = getattr(factor, of)
                    row[start : start + len(powers)] += powers
            rows.add(tuple(row))
    return np.array(sorted(rows)).reshape(len(rows), width)
