r"""Integrals over the line of functions with kinks and steps at unknown places.

A panel is halved unless the polynomial through its values meets those in its halves.
Around a kink that costs one panel per halving, and a kink in a panel of width `h` errs
by `h ** 2`, so its place need not be known. The first panels shrink towards 0 in
proportion, as what :math:`\sigma(x)` has at `k` lies at :math:`k / \lambda` in
:math:`\sigma(\lambda x)`.
"""

from collections.abc import Callable

import numpy as np
from numpy.polynomial import legendre as polynomial

Integrand = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

# In units of each integral of the absolute value; a panel errs by less.
TOLERANCE = 1e-13
# Beyond it the normal density is 0 in float64.
END = 38.0
# Not 0 itself, where a step and log |x| have a value that is neither side's.
_EDGES = np.concatenate(
    [
        [1e-200],
        2.0 ** np.arange(-40, -2, 0.5),
        np.arange(0.25, 10, 0.25),
        np.arange(10, END + 1),
    ]
)


def _lobatto(count: int) -> tuple[np.ndarray, np.ndarray]:
    legendre = polynomial.Legendre.basis(count - 1)
    nodes = np.concatenate([[-1.0], np.sort(legendre.deriv().roots().real), [1.0]])
    return nodes, 2 / (count * (count - 1) * legendre(nodes) ** 2)


# With the ends, unlike Gauss: a step between an end and the first node inside would not
# be seen, and that happens to one step in ten on the way down.
_NODES, _WEIGHTS = _lobatto(15)
_HALVES = np.stack([(_NODES - 1) / 2, (_NODES + 1) / 2])
# From values at the nodes to those of the polynomial through them, in either half. The
# integrals alone agree by accident for some kinks.
_INTERPOLATE = polynomial.legvander(_HALVES, 14) @ np.linalg.inv(
    polynomial.legvander(_NODES, 14)
)
_HALVINGS = 60
_MOST = 50_000


def integrate(function: Integrand, count: int, *, caller: str) -> np.ndarray:
    """Returns the integrals of several functions over the line, from -38 to 38.

    A feature that lies between the nodes of the first panels and of their halves, which
    are 1/120 apart or, nearer to 0, 1/80 of their distance to it, is not found.

    Args:
      function: takes `x` `[N]` and `which` `[N]`, the number of the function to take at
        each, and returns two arrays `[N]`: the values, and a bound on their rounding
        error. Below that bound panels are not halved.
      count: of the functions.
      caller: begins the message.

    Returns:
      `[count]`, float64.

    Raises:
      ValueError: a function does not decay until 38, or panels do not come to agree, so
        it is not integrable or oscillates too fast.

    Example:
      >>> step = lambda x, which: (np.where((0 < x) & (x < np.pi), 1.0, 0.0), 0 * x)
      >>> integrate(step, 1, caller="here").round(11).tolist()
      [3.14159265359]
    """
    if count == 0:
        return np.zeros(0)
    with np.errstate(all="ignore"):  # what overflows does not settle
        return _halve(function, count, caller)


def _halve(function: Integrand, count: int, caller: str) -> np.ndarray:
    ends, which = _start(count)
    values = _evaluate(function, ends, which)[0]
    _check_ends(_integrals(values, ends).reshape(count, -1), caller)
    done, size = np.zeros(count), np.zeros(count)
    for _ in range(_HALVINGS):
        middle = ends.mean(0)
        two = np.stack([[ends[0], middle], [middle, ends[1]]], axis=1)
        halves, rounding = _evaluate(function, two, np.stack([which, which]))
        gap = np.abs(halves - np.einsum("hij,mj->hmi", _INTERPOLATE, values))
        both, absolute, error, noise = (
            _integrals(part, two).sum(0)
            for part in (halves, np.abs(halves), gap, rounding)
        )
        total = size + np.bincount(which, absolute, count)
        settled = error <= TOLERANCE * total[which] + noise
        settled &= np.isfinite(total[which])
        done += np.bincount(which[settled], both[settled], count)
        size += np.bincount(which[settled], absolute[settled], count)
        if settled.all():
            return done
        ends = two[..., ~settled].reshape(2, -1)
        values = halves[:, ~settled].reshape(-1, len(_NODES))
        which = np.tile(which[~settled], 2)
        if len(which) > _MOST * count:
            break
    narrowest = ends[0, np.argmin(ends[1] - ends[0])]
    raise ValueError(
        f"{caller}: the integral did not settle near x = {narrowest:g}; the function "
        "is not square integrable there, or oscillates too fast for this scale."
    )


def _start(count: int) -> tuple[np.ndarray, np.ndarray]:
    left = np.concatenate([-_EDGES[:0:-1], _EDGES[:-1]])
    right = np.concatenate([-_EDGES[-2::-1], _EDGES[1:]])
    which = np.repeat(np.arange(count), len(left))
    return np.tile([left, right], count), which


def _evaluate(
    function: Integrand, ends: np.ndarray, which: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values and rounding at the nodes of each panel, which come last."""
    left, right = ends[..., None]
    # Exact at the ends, so that none of them becomes 0.
    x = left * ((1 - _NODES) / 2) + right * ((1 + _NODES) / 2)
    values, rounding = function(x.ravel(), np.repeat(which.ravel(), len(_NODES)))
    return values.reshape(x.shape), rounding.reshape(x.shape)


def _integrals(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return (ends[1] - ends[0]) / 2 * (values @ _WEIGHTS)


def _check_ends(whole: np.ndarray, caller: str) -> None:
    ends = np.abs(whole[:, [0, -1]]).max(1)
    if (ends > TOLERANCE * np.abs(whole).sum(1)).any():
        raise ValueError(
            f"{caller}: the function grows too fast at this scale for its expectation "
            f"over a normal variable: at {END:g} deviations it still counts."
        )
