"""The second pass: tiles of the Gram matrices of all layers, and their sums."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib.similarity.streaming import reading, sums, tiles
from symjax_lib.similarity.streaming.first_pass import FirstPass

Blocks = dict[str, tiles.Block]
"""The samples of one block in all layers of one network."""


class Source(NamedTuple):
    """Features that can be computed again, block by block.

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

    def samples(self, block: int) -> slice:
        """Returns which samples a block has."""
        start, stop = self.spans[block]
        before = sum(self.first.counts[:start])
        return slice(before, before + sum(self.first.counts[start:stop]))

    def block(self, network: int, block: int) -> Blocks:
        """Computes the features of a block in all layers of a network.

        Args:
          network: its number.
          block: its number.
        """
        known, parts = self.first.channels[network], []
        for index in range(*self.spans[block]):
            if not self.first.counts[index]:
                continue
            (found,) = reading.read(
                [self.networks[network]], index, self.batches[index], self.policy
            )
            parts.append({n: tiles.block(x, known[n]) for n, x in found.items()})
        return {name: _joined([part[name] for part in parts]) for name in known}


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
    """Groups batches into blocks of at least `tile` samples, but for the last."""
    spans, start = [], 0
    for stop in range(1, len(batches) + 1):
        rest = sum(first.counts[stop:])
        if sum(first.counts[start:stop]) >= tile and rest or stop == len(batches):
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
        first = source.block(s, 0) if needed else {}
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
        held: dict[tuple[int, int], list[jax.Array]] = {}
        for s in range(len(source.networks)):
            progress(f"rows {strip.start + 1}-{strip.stop} of {len(source.spans)}")
            for place, tile in _tiles(source, s, strip, kernels, widths):
                held.setdefault(place, []).append(tile)
        for (i, j), parts in held.items():
            for k, kernel in enumerate(kernels):
                stacked = jnp.concatenate([part[:, k] for part in parts])
                where = source.samples(i), source.samples(j)
                sums.add(found[kernel], stacked, *where)
    return found


def _tiles(
    source: Source,
    s: int,
    strip: range,
    kernels: tuple[str, ...],
    widths: dict[tuple[int, str], tiles.Widths],
) -> Iterator[tuple[tuple[int, int], jax.Array]]:
    """Yields `[L, K, B, B']` of one network, on and below the diagonal."""
    rows = {i: source.block(s, i) for i in strip}
    for j in range(strip.stop):
        columns = rows[j] if j in rows else source.block(s, j)
        for i in strip:
            if i < j:
                continue
            layers = [
                tiles.tile(rows[i][name], columns[name], kernels=kernels, widths=width)
                for name in columns
                if (width := widths[s, name])
            ]
            # Waiting bounds the memory of what would be computed ahead.
            yield (i, j), jax.block_until_ready(jnp.stack(layers))


def _strips(source: Source, kernels: int, memory: float) -> Iterator[range]:
    """Yields rows of blocks whose features and tiles fit into the memory."""
    first = source.first
    features = [
        sum(
            4 * known.observations // first.samples * len(known.sum) for known in layers
        )
        for layers in (found.values() for found in first.channels)
    ]
    blocks = len(source.spans)
    samples = max(
        source.samples(b).stop - source.samples(b).start for b in range(blocks)
    )
    tiles_of_row = 4 * kernels * len(first.layers()) * first.samples
    # The columns, and the same before they are normalised and joined.
    room = memory - 2 * samples * max(features)
    rows = max(1, int(room // (samples * (max(features) + tiles_of_row))))
    for start in range(0, blocks, rows):
        yield range(start, min(start + rows, blocks))
