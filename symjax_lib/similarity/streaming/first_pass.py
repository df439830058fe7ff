"""The first pass: statistics of the channels of layers, and products of pairs."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib.similarity.streaming import channels, reading
from symjax_lib.similarity.streaming.channels import Channels

Layer = tuple[int, str]
"""Number of a network and name of a layer."""


class FirstPass(NamedTuple):
    """What is known after one pass.

    Attributes:
      counts: samples in each batch.
      channels: for each network its layers in order.
      crosses: `[C, C']`, sums of products of the channels of two layers about their
        references, the smaller map repeated to the size of the larger. With lengths
        the last row and column are of the squared length of each observation. Layers
        whose resolutions are no whole multiples of each other are not there.
    """

    counts: tuple[int, ...]
    channels: tuple[dict[str, Channels], ...]
    crosses: dict[tuple[Layer, Layer], np.ndarray]

    @property
    def samples(self) -> int:
        """Number of all samples."""
        return sum(self.counts)

    def layers(self) -> list[Layer]:
        """Returns all layers of all networks, in order."""
        return [(s, name) for s, known in enumerate(self.channels) for name in known]


def run(
    networks: Sequence[reading.Reader],
    batches: Sequence[Any],
    *,
    policy: str,
    pairs: Sequence[tuple[int, int]],
    lengths: bool,
    progress: Callable[[str], None],
) -> FirstPass:
    """Reads everything once.

    Args:
      networks: readers.
      batches: inputs.
      policy: what becomes of space.
      pairs: of networks, the products of whose layers are wanted.
      lengths: also sums of squared lengths, and products of layers with themselves.
      progress: called with what is being done.

    Raises:
      ValueError: as `reading.read`, or there are no batches.
    """
    known: list[dict[str, Channels]] = [{} for _ in networks]
    crosses: dict[tuple[Layer, Layer], np.ndarray] = {}
    wanted: dict[tuple[Layer, Layer], tuple[int, ...]] = {}
    counts = []
    for index, batch in enumerate(batches):
        progress(f"batch {index + 1} of {len(batches)}")
        values = reading.read(networks, index, batch, policy)
        counts.append(len(next(iter(values[0].values()))))
        for s, found in enumerate(values):
            for name, x in found.items():
                known[s][name] = channels.channels(x, known[s].get(name))
        wanted = wanted or _wanted(values, pairs, lengths)
        _add_products(crosses, values, known, wanted, lengths)
    if not counts:
        raise ValueError("compare: there are no batches; give at least one.")
    return FirstPass(tuple(counts), tuple(known), crosses)


def _wanted(
    values: Sequence[dict], pairs: Sequence[tuple[int, int]], own: bool
) -> dict[tuple[Layer, Layer], tuple[int, ...]]:
    """Returns which products are wanted, and at which resolution."""
    layers = [
        ((i, a), (j, b))
        for i, j in pairs
        for a, b in itertools.product(values[i], values[j])
    ]
    if own:
        layers += [((s, a), (s, a)) for s in {*sum(pairs, ())} for a in values[s]]
    wanted = {}
    for first, second in layers:
        x, y = (values[s][name] for s, name in (first, second))
        if _match(x, y):
            wanted[first, second] = channels.shared_space(x.shape[1:-1], y.shape[1:-1])
    return wanted


def _add_products(
    crosses: dict[tuple[Layer, Layer], np.ndarray],
    values: Sequence[dict[str, jax.Array]],
    known: Sequence[dict[str, Channels]],
    wanted: dict[tuple[Layer, Layer], tuple[int, ...]],
    lengths: bool,
) -> None:
    spaces: dict[Layer, dict[tuple[int, ...], None]] = {}
    for pair, space in wanted.items():
        for layer in pair:
            spaces.setdefault(layer, {})[space] = None
    with jax.enable_x64(True):
        ready = {
            (s, name): channels.differences(
                values[s][name],
                jnp.asarray(known[s][name].reference),
                spaces=tuple(sorted(sizes)),
                lengths=lengths,
            )
            for (s, name), sizes in spaces.items()
        }
        for (first, second), space in wanted.items():
            added = channels.products(ready[first][space], ready[second][space])
            crosses[first, second] = crosses.get((first, second), 0) + np.asarray(added)


def _match(x: jax.Array, y: jax.Array) -> bool:
    """Tells whether the smaller map can be repeated to the size of the larger."""
    sizes = zip(x.shape[1:-1], y.shape[1:-1], strict=False)
    return x.ndim == y.ndim and not any(max(pair) % min(pair) for pair in sizes)
