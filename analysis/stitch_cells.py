"""Stitches between pairs of networks, layer by layer; what is done is kept in a file.

A cell is a pair and a layer: all classes of stitch are fitted at once, and the front
runs once for all. A run that was stopped goes on with the cells that are missing.
"""

import functools
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analysis import stitch_file
from analysis.stitch_classes import CLASSES, OPTIMIZERS
from analysis.stitch_file import Row
from analysis.stitch_protocol import Data, Protocol
from analysis.subject import Images, Layer
from symjax_lib import stitching, tracing
from symjax_lib.stitching import Fitted, Network, Search, Stitch
from train import devices, quick

# Of closed forms, whose features must fit in memory.
_MOST_FOR_CLOSED_FORMS = 1000


class Cell(NamedTuple):
    """Numbers of two networks, the front's first, and the layer of the cut."""

    front: int
    back: int
    layer: Layer


Pair = tuple[Stitch, Fitted]
Between = dict[str, Any]  # front, back and layer


def run(
    networks: Sequence[Network],
    cells: Sequence[Cell],
    data: Data,
    protocol: Protocol,
    key: jax.Array,
    *,
    kept: Path | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> list[Row]:
    """Fits and measures all classes in all cells.

    Args:
      networks: that the cells refer to.
      cells: in any order; those of a layer together compile once.
      data: images.
      protocol: classes, epochs and optimiser.
      key: of all cells; each derives its own.
      kept: folder with a CSV file of finished cells, which is read and grows.
      progress: called with a description before each cell.

    Returns:
      A row with `stitch_file.COLUMNS` for each cell and class: accuracies as fractions,
      `unrounded` that of the relaxed permutation and `distance` how far it was, both
      nan for other classes; `diverged` 1 if the loss was not finite, and then no
      accuracy.
    """
    devices.keep_freed_memory()  # else a third of the time goes into new pages
    file = kept and kept / stitch_file.NAME
    done = stitch_file.read(file)
    networks = [_quick(network) for network in networks]
    rows = []
    for number, cell in enumerate(cells):
        name = (str(cell.front), str(cell.back), cell.layer.name)
        if name not in done:
            where = f"{cell.layer.name}, {cell.front} to {cell.back}"
            progress(f"stitches at {where}, {number + 1} of {len(cells)}")
            cell_key = jax.random.fold_in(key, zlib.crc32("/".join(name).encode()))
            new = _measure(networks, cell, data, protocol, cell_key)
            done[name] = new
            stitch_file.append(file, new)
        rows += done[name]
    return rows


def _quick(network: Network) -> Network:
    """Returns the same network, computed as it is in training."""
    return network._replace(
        predict=quick.quick(network.predict),
        update=quick.quick(network.update),
    )


def _measure(
    networks: Sequence[Network],
    cell: Cell,
    data: Data,
    protocol: Protocol,
    key: jax.Array,
) -> list[Row]:
    between: Between = {
        "front": networks[cell.front],
        "back": networks[cell.back],
        "layer": cell.layer.name,
    }
    n = cell.layer.channels
    fit_key, relaxed_key = jax.random.split(key)
    fitted = _fit(between, n, data.train, protocol, fit_key)
    validation = _accuracies(fitted, between, data.validation)
    chosen = {
        name: max(
            (at for at in fitted if at[0] == name),
            key=lambda at: (not _lost(fitted[at]), validation[at]),
        )
        for name in protocol.classes
    }
    kept = {name: fitted[at] for name, at in chosen.items()}
    loose = {
        name: (pair[0], pair[1]._replace(params=pair[1].relaxed))
        for name, pair in kept.items()
        if _rounded(pair)
    }
    loose = stitching.refreshed(relaxed_key, loose, images=data.train.images, **between)
    test = _accuracies(kept, between, data.test)
    unrounded = _accuracies(loose, between, data.test)
    best = _best_epochs(relaxed_key, kept, between, data) if protocol.path else {}
    return [
        {
            "front": cell.front,
            "back": cell.back,
            "layer": cell.layer.name,
            "stitch": name,
            "variant": at[1],
            "validation": validation[at],
            "test": np.nan if _lost(kept[name]) else test[name],
            "unrounded": unrounded.get(name, np.nan),
            "best_epoch_test": best.get(name, np.nan),
            "distance": stitching.rounding_distance(*kept[name], n)
            if name in loose
            else np.nan,
            "sparsity": _sparsity(kept[name], n),
            "diverged": int(_lost(kept[name])),
        }
        for name, at in chosen.items()
    ]


def _fit(
    between: Between, n: int, train: Images, protocol: Protocol, key: jax.Array
) -> dict[tuple[str, str], Pair]:
    """Fits every variant of every class."""
    searched, closed = {}, {}
    some = train.images[:_MOST_FOR_CLOSED_FORMS]
    front, back, layer = between["front"], between["back"], between["layer"]
    for name in protocol.classes:
        start = CLASSES[name].start
        for variant, make in CLASSES[name].variants.items():
            if start is None:
                optimizer = OPTIMIZERS[protocol.optimizer]
                searched[name, variant] = Search(make(n, n), optimizer)
            else:
                x, y = (_features(network, layer, some) for network in (front, back))
                closed[name, variant] = Search(make(n, n), start=start(x, y))
    fit = functools.partial(stitching.fit_all, key, **between, **train._asdict())
    fitted = fit(searched, epochs=protocol.epochs) | fit(closed, epochs=0)
    return {at: ((searched | closed)[at].stitch, found) for at, found in fitted.items()}


def _accuracies(stitched: dict, between: Between, images: Images) -> dict[Any, float]:
    return stitching.accuracies(stitched, **between, **images._asdict())


def _features(network: Network, layer: str, images: jax.Array) -> jax.Array:
    run = jax.jit(tracing.split(network.predict, layer)[0])
    parts = [
        run(network.variables, images[i : i + 500])[0]
        for i in range(0, len(images), 500)
    ]
    return jnp.concatenate(parts)


def _lost(pair: Pair) -> bool:
    return not np.isfinite(pair[1].losses).all()


def _rounded(pair: Pair) -> bool:
    """Tells whether `finalize` changed anything."""
    fitted = pair[1]
    pairs = zip(*map(jax.tree.leaves, (fitted.params, fitted.relaxed)), strict=True)
    return any(a is not b for a, b in pairs)


def _sparsity(pair: Pair, n: int) -> float:
    stitch, fitted = pair
    return float(stitching.sparsity(stitching.as_matrix(stitch, fitted.params, n)))


def _best_epochs(
    key: jax.Array, kept: dict[str, Pair], between: Between, data: Data
) -> dict[str, float]:
    """Returns the best test accuracy over epochs, as the paper reports it."""
    searched = {name: pair for name, pair in kept.items() if len(pair[1].losses)}
    best = dict.fromkeys(searched, 0.0)
    epochs = max((len(fitted.losses) for _, fitted in searched.values()), default=0)
    for epoch in range(epochs):
        at = {}
        for name, (stitch, fitted) in searched.items():
            params = jax.tree.map(lambda leaf, e=epoch: leaf[e], fitted.path)
            at[name] = stitch, fitted._replace(params=stitch.finalize(params))
        at = stitching.refreshed(key, at, images=data.train.images, **between)
        for name, accuracy in _accuracies(at, between, data.test).items():
            best[name] = max(best[name], accuracy)
    return best
