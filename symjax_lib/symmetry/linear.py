"""Null spaces, ranks and inverses of small matrices of exponents, in whole numbers.

With `modulo=2` the numbers are bits, as exponents of signs are.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

# A scaling by a higher power would soon overflow.
_LARGEST = 12
Row = Mapping[Any, float]
"""An equation: coefficients of unknowns whose sum is 0."""


def solutions(
    rows: Sequence[Row], wanted: Sequence[Hashable], *, modulo: int = 0
) -> np.ndarray:
    """Returns a basis `[modes, wanted]` of the solutions, in whole numbers if small.

    Args:
      rows: the equations.
      wanted: the unknowns to report; a solution that is zero on all is left out.
      modulo: 2 for bits.
    """
    rows, same = _substituted(rows, modulo)
    names = [same(unknown) for unknown in wanted]
    columns: dict[Any, int] = {}
    for unknown in (*names, *(u for row in rows for u in row)):
        columns.setdefault(unknown, len(columns))
    matrix = np.zeros((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for unknown, value in row.items():
            matrix[i, columns[unknown]] = value
    basis = _null_space(matrix, modulo)[:, [columns[name] for name in names]]
    basis = _echelon(basis, modulo)[0]
    if modulo:
        return basis
    return np.array([_whole(row) for row in basis]).reshape(-1, len(wanted))


def _substituted(rows: Sequence[Row], modulo: int) -> tuple[list[Row], Any]:
    """Puts one name for unknowns that are equal, as most equations say just that.

    Returns the equations that are left, each once, and the name of each unknown.
    """
    parent: dict[Any, Any] = {}

    def same(unknown: Any) -> Any:
        while (up := parent.get(unknown, unknown)) != unknown:
            parent[unknown] = parent.get(up, up)
            unknown = up
        return unknown

    left = []
    for row in rows:
        row = {u: v % modulo if modulo else v for u, v in row.items()}
        row = {u: v for u, v in row.items() if v}
        if len(row) == 2 and (modulo or sum(row.values()) == 0):
            a, b = row
            parent[same(a)] = same(b)
        elif row:
            left.append(row)
    merged: dict[Any, None] = {}
    for row in left:
        total: dict[Any, float] = {}
        for unknown, value in row.items():
            name = same(unknown)
            total[name] = total.get(name, 0) + value
        merged[tuple((u, v % modulo if modulo else v) for u, v in total.items())] = None
    return [dict(row) for row in merged], same


def rank(matrix: np.ndarray, modulo: int = 0) -> int:
    """Returns the rank of a matrix of whole numbers, or of its residues modulo 2."""
    matrix = np.asarray(matrix, float)
    return len(_echelon(matrix, modulo)[1])


def inverse_modulo_2(matrix: np.ndarray) -> np.ndarray:
    """Returns the inverse of a matrix of bits."""
    count = len(matrix)
    both = np.concatenate([matrix % 2.0, np.eye(count)], axis=1)
    return _echelon(both, modulo=2)[0][:, count:]


def _null_space(matrix: np.ndarray, modulo: int = 0) -> np.ndarray:
    reduced, pivots = _echelon(matrix, modulo)
    free = [j for j in range(matrix.shape[1]) if j not in pivots]
    basis = np.zeros((len(free), matrix.shape[1]))
    for i, j in enumerate(free):
        basis[i, j] = 1
        basis[i, pivots] = -reduced[:, j]
    return basis % modulo if modulo else basis


def _echelon(matrix: np.ndarray, modulo: int = 0) -> tuple[np.ndarray, list[int]]:
    """Returns the non-zero rows of the reduced row echelon form, and its pivots."""
    matrix, pivots = matrix % modulo if modulo else matrix.copy(), []
    for column in range(matrix.shape[1]):
        top = len(pivots)
        candidates = np.abs(matrix[top:, column])
        if not candidates.size or candidates.max() < 1e-9:
            continue
        best = top + int(np.argmax(candidates))
        matrix[[top, best]] = matrix[[best, top]]
        matrix[top] /= matrix[top, column]
        factors = matrix[:, column].copy()
        factors[top] = 0
        matrix -= np.outer(factors, matrix[top])
        if modulo:
            matrix %= modulo
        pivots.append(column)
    return matrix[: len(pivots)], pivots


def _whole(row: np.ndarray) -> np.ndarray:
    """Scales a row of simple fractions to whole numbers, any other to at most 1."""
    fractions = [Fraction(value).limit_denominator(360) for value in row]
    whole = row * math.lcm(*(fraction.denominator for fraction in fractions))
    simple = np.allclose(whole, np.round(whole), rtol=0, atol=1e-9)
    largest = np.abs(whole).max(initial=0)
    return np.round(whole) if simple and largest <= _LARGEST else whole / largest
