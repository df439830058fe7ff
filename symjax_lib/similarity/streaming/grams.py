"""The second pass: tiles of the Gram matrices of all layers, and their sums."""

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib.similarity.streaming import sums, tiles
from symjax_lib.similarity.streaming.source import Blocks, Source, Span


def widths(
    source: Source, kernels: Sequence[str], *, fraction: float, sigma: float | None
) -> list[dict[str, tiles.Widths]]:
    """Returns the widths of the kernels, for each network and layer.

    Args:
      source: of features; the median distance is that in its first block.
      kernels: for which they are.
      fraction: of the median distance.
      sigma: the width itself, in place of it.
    """
    found: list[dict[str, tiles.Widths]] = [{} for _ in source.networks]
    for s, known in enumerate(source.first.channels):
        needed = sigma is None and {"rbf", "laplace"} & {*kernels}
        first = source.block(s, source.spans[0]) if needed else {}
        for name, channels in known.items():
            if needed:
                medians = tiles.median_distances(first[name], kernels)
                found[s][name] = tiles.Widths(*(fraction * x for x in medians))
            else:
                largest = np.sqrt(channels.squared_norms(center=True).max())
                width = sigma or 1.0
                found[s][name] = tiles.Widths(width / (largest or 1.0), width)
    return found


def hsic_sums(
    source: Source,
    *,
    kernels: tuple[str, ...],
    widths: Sequence[dict[str, tiles.Widths]],
    memory: float,
    progress: Callable[[str], None],
) -> dict[str, sums.Sums]:
    """Computes the tiles of all Gram matrices, and keeps the sums that HSIC needs.

    Args:
      source: of features.
      kernels: some of `tiles.KERNELS`.
      widths: for each network and layer.
      memory: in bytes, of features and tiles that are held at a time.
      progress: called with what is being done.

    Returns:
      For each kernel the sums over all layers, in the order of `first.layers()`.
    """
    layers, n = source.first.layers(), source.first.samples
    found = {kernel: sums.zeros(len(layers), n) for kernel in kernels}
    for strip in _strips(source, len(kernels), memory):
        progress(f"rows of batches {strip[0][0] + 1} to {strip[-1][1]}")
        for span, j, parts in _tiles_of(strip, source, kernels, widths):
            here = source.samples(*span), source.samples(j, j + 1)
            for k, kernel in enumerate(kernels):
                sums.add(found[kernel], jnp.stack([x[k] for x in parts]), *here)
    return found


def _tiles_of(
    strip: Sequence[Span],
    source: Source,
    kernels: tuple[str, ...],
    widths: Sequence[dict[str, tiles.Widths]],
) -> Iterator[tuple[Span, int, list[jax.Array]]]:
    """Yields for each tile on and below the diagonal `[K, B, B']` of all layers."""
    networks = range(len(source.networks))
    rows = [{span: source.block(s, span) for span in strip} for s in networks]
    for j in range(strip[-1][1]):
        below = [span for span in strip if j < span[1]]
        found: dict[Span, list[jax.Array]] = {span: [] for span in below}
        for s in networks:
            columns = _held(source, rows[s], j) or source.batch(s, j)
            for span in below:
                found[span] += _tiles(rows[s][span], columns, kernels, widths[s])
        for span, parts in found.items():
            yield span, j, parts


def _tiles(
    rows: Blocks,
    columns: Blocks,
    kernels: tuple[str, ...],
    widths: dict[str, tiles.Widths],
) -> list[jax.Array]:
    """Returns for each layer `[K, B, B']`."""
    return [
        tiles.tile(block, columns[name], kernels=kernels, widths=widths[name])
        for name, block in rows.items()
    ]


def _held(source: Source, rows: dict[Span, Blocks], j: int) -> Blocks | None:
    for span, blocks in rows.items():
        if span[0] <= j < span[1]:
            start = source.samples(*span).start
            where = source.samples(j, j + 1)
            part = slice(where.start - start, where.stop - start)
            return {n: b._replace(values=b.values[:, part]) for n, b in blocks.items()}
    return None


def _strips(source: Source, kernels: int, memory: float) -> Iterator[tuple[Span, ...]]:
    """Yields blocks whose features in all networks fit into the memory together."""
    first = source.first
    features = [
        sum(4 * known.observations * len(known.sum) for known in layers.values())
        / first.samples
        for layers in first.channels
    ]
    columns = max(first.counts)
    tiles_of_row = 4 * kernels * len(first.layers()) * columns
    block = max(sum(first.counts[slice(*span)]) for span in source.spans)
    # The columns of one network are there twice: as it gives them, and normalised.
    room = memory - 2 * columns * max(features)
    blocks = max(1, int(room // (block * (sum(features) + tiles_of_row))))
    # Strips of one size rather than a small rest: fewer features are computed again.
    strips = -(-len(source.spans) // blocks)
    for part in np.array_split(np.array(source.spans), strips):
        yield tuple((start, stop) for start, stop in part.tolist())
