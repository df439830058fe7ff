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
    """Adds a tile of the lower half, and its mirror image, in place.

    Args:
      sums: changed.
      tiles: `[M, B, B']`.
      rows: which samples the tile's rows are.
      columns: likewise; equal to `rows` on the diagonal, else all before them.
    """
    diagonal = rows == columns
    with jax.enable_x64(True):
        products, by_row, by_column, here = map(np.asarray, _sums(tiles, diagonal))
    sums.products[...] += products if diagonal else 2 * products
    sums.rows[:, rows] += by_row
    if diagonal:
        sums.diagonals[:, rows] = here
    else:
        sums.rows[:, columns] += by_column


def _tile_sums(tiles: jax.Array, diagonal: bool) -> tuple[jax.Array, ...]:
    tiles = tiles.astype(jnp.float64)
    here = jnp.zeros(())
    if diagonal:
        here = jnp.diagonal(tiles, axis1=1, axis2=2)
        tiles = jnp.where(jnp.eye(tiles.shape[1], dtype=bool), 0, tiles)
    flat = tiles.reshape(len(tiles), -1)
    products = jnp.matmul(flat, flat.T, precision="highest")
    return products, tiles.sum(axis=2), tiles.sum(axis=1), here


_sums = jax.jit(_tile_sums, static_argnums=1)


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
