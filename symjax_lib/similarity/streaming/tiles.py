"""Kernels between two blocks of samples: tiles of a Gram matrix that is never whole.

A block of one layer is `[C, B, P]`: channels, samples, positions. Each channel gives
one matrix product, and the running maximum and the sums over channels share it: a tile
of a few hundred samples stays in the cache, so this runs near the speed of products.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib.similarity import max_kernel
from symjax_lib.similarity.streaming.channels import Channels

KERNELS = ("max", "linear", "linear, channel_norm", "rbf", "laplace", "median")
"""Names of the kernels; all but "linear" and "rbf" see channels at unit norm."""


class Block(NamedTuple):
    """Some samples of one layer.

    Attributes:
      values: `[C, B, P]`, centred, every channel at unit norm.
      weights: `[C]`, the squared norm of each channel, the largest 1.
    """

    values: jax.Array
    weights: jax.Array


class Widths(NamedTuple):
    """Widths of the kernels that have one, in the units of a `Block`."""

    rbf: float = 1.0
    laplace: float = 1.0


def block(x: jax.Array, known: Channels) -> Block:
    """Centres and normalises some samples of a layer by what is known of all.

    Args:
      x: `[B, ..., C]`.
      known: of the whole layer.
    """
    norms = np.sqrt(known.squared_norms(center=True))
    with jax.enable_x64(True):
        mean = jnp.asarray(known.mean)
        scale = jnp.asarray(np.where(norms > 0, norms, np.inf))
        values = _block(x, mean, scale)
    return kept(values, known)


def kept(values: jax.Array, known: Channels) -> Block:
    """Makes a block again of its values.

    Args:
      values: of a `Block`.
      known: of the whole layer.
    """
    squared = known.squared_norms(center=True)
    return Block(values, jnp.asarray(squared / (squared.max() or 1), values.dtype))


@jax.jit
def _block(x: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
    # The difference in float64: an offset has digits that float32 loses.
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    return ((x - mean) / scale).astype(dtype).transpose(2, 0, 1)


def tile(
    rows: Block, columns: Block, *, kernels: tuple[str, ...], widths: Widths
) -> jax.Array:
    """Returns `[K, B, B']` kernels between two blocks.

    Args:
      rows: of B samples.
      columns: of B' samples of the same layer.
      kernels: K of `KERNELS`.
      widths: of the kernels "rbf" and "laplace".
    """
    return _tile(rows, columns, Widths(*map(float, widths)), kernels)


@functools.partial(jax.jit, static_argnums=3)
def _tile(rows: Block, columns: Block, widths: Widths, kernels: tuple) -> jax.Array:
    sums = _sums_of_products(rows, columns, kernels)
    if "rbf" in kernels:
        sizes = [
            jnp.einsum("cbp,c->b", b.values**2, b.weights) for b in (rows, columns)
        ]
        squared = sizes[0][:, None] + sizes[1] - 2 * sums["linear"]
        sums["rbf"] = jnp.exp(-jnp.maximum(squared, 0) / (2 * widths.rbf**2))
    if "laplace" in kernels:
        distances = _by_rows(_distances, rows.values, columns.values)
        sums["laplace"] = jnp.exp(-distances / widths.laplace)
    if "median" in kernels:
        sums["median"] = _by_rows(_medians, rows.values, columns.values)
    return jnp.stack([sums[kernel] for kernel in kernels])


def _sums_of_products(rows: Block, columns: Block, kernels: tuple[str, ...]) -> dict:
    zero = jnp.zeros((rows.values.shape[1], columns.values.shape[1]), rows.values.dtype)
    start = {}
    if "max" in kernels:
        start["max"] = zero - jnp.inf
    if "linear" in kernels or "rbf" in kernels:
        start["linear"] = zero
    if "linear, channel_norm" in kernels:
        start["linear, channel_norm"] = zero

    update = {
        "max": lambda total, product, weight: jnp.maximum(total, product),
        "linear": lambda total, product, weight: total + weight * product,
        "linear, channel_norm": lambda total, product, weight: total + product,
    }

    def add(sums: dict, channels: tuple) -> tuple[dict, None]:
        x, y, weights = channels
        products = jnp.einsum("cip,cjp->cij", x, y, precision="highest")
        for product, weight in zip(products, weights, strict=True):
            sums = {name: update[name](sums[name], product, weight) for name in sums}
        return sums, None

    if not start:
        return start
    channels = max_kernel.in_pairs((rows.values, columns.values, rows.weights))
    # Unrolled, the sums of some channels overlap with the products of the next.
    return jax.lax.scan(add, start, channels, unroll=4)[0]


def _by_rows(fn: Callable, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Applies `fn([C, P], [C, B', P]) -> [B']` to every row."""
    return jax.lax.map(lambda row: fn(row, columns), rows.swapaxes(0, 1))


def _distances(row: jax.Array, columns: jax.Array) -> jax.Array:
    return jnp.abs(columns - row[:, None]).sum(axis=(0, 2))


def _medians(row: jax.Array, columns: jax.Array) -> jax.Array:
    products = jnp.einsum("cbp,cp->bc", columns, row, precision="highest")
    return jnp.sort(products, axis=-1)[:, (row.shape[0] - 1) // 2]


def median_distances(first: Block, kernels: Sequence[str]) -> Widths:
    """Returns the median distances between the samples of a block.

    Args:
      first: some samples; the more, the closer to the median of all.
      kernels: those whose widths are wanted; that of others is 1.
    """
    found = Widths()
    if "rbf" in kernels:
        found = found._replace(rbf=float(_median_euclidean(first)))
    if "laplace" in kernels:
        found = found._replace(laplace=float(_median_absolute(first)))
    return found


@jax.jit
def _median_euclidean(first: Block) -> jax.Array:
    flat = (first.values * jnp.sqrt(first.weights)[:, None, None]).swapaxes(0, 1)
    flat = flat.reshape(flat.shape[0], -1)
    gram = jnp.matmul(flat, flat.T, precision="highest")
    sizes = jnp.diagonal(gram)
    return jnp.sqrt(jnp.median(jnp.maximum(sizes[:, None] + sizes - 2 * gram, 0)))


@jax.jit
def _median_absolute(first: Block) -> jax.Array:
    return jnp.median(_by_rows(_distances, first.values, first.values))
