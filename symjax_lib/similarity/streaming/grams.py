"""The second pass: tiles of the Gram matrices of all layers, and their sums."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib.similarity.streaming import reading, sums, tiles
from symjax_lib.similarity.streaming.first_pass import FirstPass

Blocks = dict[str, tiles.Block]
"""Some samples in all layers of one network."""

Span = tuple[int, int]
"""First batch of a block, and the first after it."""


class Source(NamedTuple):
    """Features that can be computed again, batch by batch.

    A batch is the columns of a tile, a block of several batches its rows.

    Attributes:
      networks: readers.
      batches: inputs.
      policy: what becomes of space.
      first: what the first pass found.
      spans: for each block its batches, `(start, stop)`.
    """

    networks: Sequence[reading.Reader]
    batches: Sequence[Any]
    policy: str
    first: FirstPass
    spans: tuple[tuple[int, int], ...]

    def samples(self, start: int, stop: int) -> slice:
        """Returns which samples some batches have."""
        before = sum(self.first.counts[:start])
        return slice(before, before + sum(self.first.counts[start:stop]))

    def batch(self, network: int, index: int) -> Blocks:
        """Computes the features of a batch in all layers of a network.

        Args:
          network: its number.
          index: of the batch.
        """
        known = self.first.channels[network]
        (found,) = reading.read(
            [self.networks[network]], index, self.batches[index], self.policy
        )
        return {name: tiles.block(x, known[name]) for name, x in found.items()}

    def block(self, network: int, span: tuple[int, int]) -> Blocks:
        """Computes the features of some batches in all layers of a network.

        Args:
          network: its number.
          span: of the batches.
        """
        parts = [self.batch(network, index) for index in range(*span)]
        # One layer after the other, so that only one is there twice.
        return {
            name: _joined([part.pop(name) for part in parts]) for name in [*parts[0]]
        }


def _joined(parts: list[tiles.Block]) -> tiles.Block:
    values = [part.values for part in parts]
    whole = values[0] if len(values) == 1 else jnp.concatenate(values, axis=1)
    return parts[0]._replace(values=whole)


def source(
    networks: Sequence[reading.Reader],
    batches: Sequence[Any],
    policy: str,
    first: FirstPass,
    *,
    tile: int,
) -> Source:
    """Groups batches into blocks of at least `tile` samples, but for the last.

    Args:
      networks: readers.
      batches: inputs.
      policy: what becomes of space.
      first: what the first pass found.
      tile: samples.
    """
    spans, start = [], 0
    for stop in range(1, len(batches) + 1):
        if sum(first.counts[start:stop]) >= tile or stop == len(batches):
            spans.append((start, stop))
            start = stop
    return Source(networks, batches, policy, first, tuple(spans))


def widths(
    source: Source, kernels: Sequence[str], *, fraction: float, sigma: float | None
) -> dict[tuple[int, str], tiles.Widths]:
    """Returns the widths of the kernels of every layer.

    Args:
      source: of features; the median distance is that in its first block.
      kernels: for which they are.
      fraction: of the median distance.
      sigma: the width itself, in place of it.
    """
    found = {}
    for s, known in enumerate(source.first.channels):
        needed = sigma is None and {"rbf", "laplace"} & {*kernels}
        first = source.block(s, source.spans[0]) if needed else {}
        for name, channels in known.items():
            if needed:
                medians = tiles.median_distances(first[name], kernels)
                found[s, name] = tiles.Widths(*(fraction * x for x in medians))
            else:
                largest = np.sqrt(channels.squared_norms(center=True).max())
                width = sigma or 1.0
                found[s, name] = tiles.Widths(width / (largest or 1.0), width)
    return found


def hsic_sums(
    source: Source,
    *,
    kernels: tuple[str, ...],
    widths: dict[tuple[int, str], tiles.Widths],
    memory: float,
    progress: Callable[[str], None],
) -> dict[str, sums.Sums]:
    """Computes the tiles of all Gram matrices, and keeps the sums that HSIC needs.

    Args:
      source: of features.
      kernels: some of `tiles.KERNELS`.
      widths: for each layer.
      memory: in bytes, of features and tiles that are held at a time.
      progress: called with what is being done.

    Returns:
      For each kernel the sums over all layers, in the order of `first.layers()`.
    """
    layers, n = source.first.layers(), source.first.samples
    found = {kernel: sums.zeros(len(layers), n) for kernel in kernels}
    for strip in _strips(source, len(kernels), memory):
        held: dict[tuple[Span, int], list[jax.Array]] = {}
        for s in range(len(source.networks)):
            progress(
                f"network {s + 1}, rows of batches {strip[0][0]} to {strip[-1][1]}"
            )
            for place, tile in _tiles(source, s, strip, kernels, widths):
                held.setdefault(place, []).append(tile)
        for (span, j), parts in held.items():
            rows, columns = source.samples(*span), source.samples(j, j + 1)
            for k, kernel in enumerate(kernels):
                stacked = jnp.concatenate([part[:, k] for part in parts])
                sums.add(found[kernel], stacked, rows, columns)
    return found


def _tiles(
    source: Source,
    s: int,
    strip: Sequence[Span],
    kernels: tuple[str, ...],
    widths: dict[tuple[int, str], tiles.Widths],
) -> Iterator[tuple[tuple[Span, int], jax.Array]]:
    """Yields `[L, K, B, B']` of one network, on and below the diagonal."""
    rows = {span: source.block(s, span) for span in strip}
    for j in range(strip[-1][1]):
        columns = _held(source, rows, j) or source.batch(s, j)
        for span in strip:
            if j >= span[1]:
                continue
            layers = [
                tiles.tile(here, columns[name], kernels=kernels, widths=widths[s, name])
                for name, here in rows[span].items()
            ]
            # Waiting bounds the memory of what would be computed ahead.
            yield (span, j), jax.block_until_ready(jnp.stack(layers))


def _held(source: Source, rows: dict[Span, Blocks], j: int) -> Blocks | None:
    for span, blocks in rows.items():
        if span[0] <= j < span[1]:
            start = source.samples(*span).start
            where = source.samples(j, j + 1)
            part = slice(where.start - start, where.stop - start)
            return {n: b._replace(values=b.values[:, part]) for n, b in blocks.items()}
    return None


def _strips(source: Source, kernels: int, memory: float) -> Iterator[tuple[Span, ...]]:
    """Yields blocks whose features and tiles fit into the memory together."""
    first = source.first
    features = (
        max(
            sum(4 * known.observations * len(known.sum) for known in layers.values())
            for layers in first.channels
        )
        / first.samples
    )
    tiles_of_row = 4 * kernels * len(first.layers()) * first.samples
    columns = max(first.counts)
    block = max(sum(first.counts[slice(*span)]) for span in source.spans)
    # The columns are there twice: as the network gives them, and normalised.
    room = memory - 2 * columns * features
    blocks = max(1, int(room // (block * (features + tiles_of_row))))
    for start in range(0, len(source.spans), blocks):
        yield source.spans[start : start + blocks]
