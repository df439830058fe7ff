"""Where the second pass gets its features from: the networks, or a folder."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from symjax_lib.similarity.streaming import reading, tiles
from symjax_lib.similarity.streaming.first_pass import FirstPass

Blocks = dict[str, tiles.Block]
"""Some samples in all layers of one network."""

Span = tuple[int, int]
"""First batch of a block, and the first after it."""


class Source(NamedTuple):
    """Features, batch by batch, as often as they are needed.

    A batch is the columns of a tile, a block of several batches its rows.

    Attributes:
      networks: readers.
      batches: inputs.
      policy: what becomes of space.
      first: what the first pass found.
      spans: for each block its batches, `(start, stop)`.
      folder: what was computed is kept there; None to compute it again.
    """

    networks: Sequence[reading.Reader]
    batches: Sequence[Any]
    policy: str
    first: FirstPass
    spans: tuple[tuple[int, int], ...]
    folder: Path | None

    def samples(self, start: int, stop: int) -> slice:
        """Returns which samples some batches have."""
        before = sum(self.first.counts[:start])
        return slice(before, before + sum(self.first.counts[start:stop]))

    def batch(self, network: int, index: int) -> Blocks:
        """Returns the features of a batch in all layers of a network.

        Args:
          network: its number.
          index: of the batch.
        """
        if self.folder is None:
            return self._computed(network, index)
        known = self.first.channels[network]
        files = {
            name: self.folder / f"{network}_{index}_{k}.npy"
            for k, name in enumerate(known)
        }
        if not files[[*known][-1]].exists():
            blocks = self._computed(network, index)
            for name, block in blocks.items():
                np.save(files[name], block.values)
            return blocks
        return {
            name: tiles.kept(jnp.asarray(np.load(file)), known[name])
            for name, file in files.items()
        }

    def _computed(self, network: int, index: int) -> Blocks:
        known = self.first.channels[network]
        (found,) = reading.read(
            [self.networks[network]], index, self.batches[index], self.policy
        )
        # One layer after the other, so that only one is there twice.
        return {name: tiles.block(found.pop(name), known[name]) for name in [*found]}

    def block(self, network: int, span: tuple[int, int]) -> Blocks:
        """Returns the features of some batches in all layers of a network.

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


@contextlib.contextmanager
def folder_in(spill: str | Path | None) -> Iterator[Path | None]:
    """Makes a folder that is removed in the end, or none.

    Args:
      spill: where; None for none.
    """
    if spill is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="symjax_lib_", dir=spill) as folder:
        yield Path(folder)


def source(
    networks: Sequence[reading.Reader],
    batches: Sequence[Any],
    policy: str,
    first: FirstPass,
    *,
    tile: int,
    folder: Path | None,
) -> Source:
    """Groups batches into blocks of at least `tile` samples, but for the last.

    Args:
      networks: readers.
      batches: inputs.
      policy: what becomes of space.
      first: what the first pass found.
      tile: samples.
      folder: for features, or None.
    """
    spans, start = [], 0
    for stop in range(1, len(batches) + 1):
        if sum(first.counts[start:stop]) >= tile or stop == len(batches):
            spans.append((start, stop))
            start = stop
    return Source(networks, batches, policy, first, tuple(spans), folder)
