"""HSIC of many Gram matrices at once, from tiles that are forgotten when added."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Sums(NamedTuple):
    """What HSIC needs of M symmetric matrices `[N, N]`, in float64.

    Attributes:
      products: `[M, M]`, sums of `K_ij L_ij` over i and j that differ.
      rows: `[M, N]`, sums over j that differs from i.
      diagonals: `[M, N]`.
    """

    products: np.ndarray
    rows: np.ndarray
    diagonals: np.ndarray


def zeros(matrices: int, samples: int) -> Sums:
    """Returns the sums before the first tile.

    Args:
      matrices: M.
      samples: N.
    """
    along = (matrices, samples)
    return Sums(np.zeros((matrices, matrices)), np.zeros(along), np.zeros(along))


def add(sums: Sums, tiles: jax.Array, rows: slice, columns: slice) -> None:
    """Adds the part of a tile below the diagonal, its mirror image, and the diagonal.

    Args:
      sums: changed.
      tiles: `[M, B, B']`.
      rows: which samples the tile's rows are.
      columns: likewise; all before the rows, or some of them.
    """
    offset = columns.start - rows.start
    with jax.enable_x64(True):
        parts = _sums(tiles, offset) if offset >= 0 else _sums_of_all(tiles)
        products, by_row, by_column, diagonal = map(np.asarray, parts)
    sums.products[...] += 2 * products
    sums.rows[:, rows] += by_row
    sums.rows[:, columns] += by_column
    sums.diagonals[:, columns] += diagonal


@jax.jit
def _sums(tiles: jax.Array, offset: int) -> tuple[jax.Array, ...]:
    """Returns the sums of a tile whose columns are rows from `offset` on."""
    row = jnp.arange(tiles.shape[1])[:, None]
    column = jnp.arange(tiles.shape[2]) + offset
    diagonal = jnp.where(row == column, tiles, 0).astype(jnp.float64).sum(axis=1)
    products, by_row, by_column, _ = _sums_of_all(jnp.where(row > column, tiles, 0))
    return products, by_row, by_column, diagonal


@jax.jit
def _sums_of_all(tiles: jax.Array) -> tuple[jax.Array, ...]:
    tiles = tiles.astype(jnp.float64)
    flat = tiles.reshape(len(tiles), -1)
    products = jnp.matmul(flat, flat.T, precision="highest")
    return products, tiles.sum(axis=2), tiles.sum(axis=1), jnp.zeros(())


def cka(sums: Sums, *, debiased: bool) -> np.ndarray:
    """Returns CKA `[M, M]` of all pairs; nan where a centred matrix is 0.

    Args:
      sums: of all tiles.
      debiased: as in `similarity.hsic`.
    """
    hsic = _debiased(sums) if debiased else _biased(sums)
    own = np.diagonal(hsic).copy()
    size = np.diagonal(sums.products) + (0 if debiased else (sums.diagonals**2).sum(1))
    # Entries are rounded to float32: what is left of a constant matrix is no kernel.
    rounding = (16 * np.finfo(np.float32).eps) ** 2
    own[own <= rounding * size] = np.nan
    return hsic / np.sqrt(np.outer(own, own))


def _debiased(sums: Sums) -> np.ndarray:
    n = sums.rows.shape[1]
    total = sums.rows.sum(axis=1)
    between = sums.rows @ sums.rows.T
    rest = np.outer(total, total) / ((n - 1) * (n - 2)) - 2 / (n - 2) * between
    return sums.products + rest


def _biased(sums: Sums) -> np.ndarray:
    n = sums.rows.shape[1]
    rows = sums.rows + sums.diagonals
    total = rows.sum(axis=1)
    products = sums.products + sums.diagonals @ sums.diagonals.T
    return products + np.outer(total, total) / n**2 - 2 / n * rows @ rows.T
