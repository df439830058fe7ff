"""CKA of every layer of one network with every layer of another, as the paper's fig. 5.

The Gram matrices of a network are computed once and serve all pairs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from analysis import features, statistics, style
from analysis.subject import Layer, Subject, untrained
from analysis.tables import Rows, by_layer
from symjax_lib import similarity, stitching

TITLE = "Centred kernel alignment"
# The Gram matrix of each measure; the paper calls the second one orthogonal CKA.
KERNELS = {
    "G_ReLU": lambda x: similarity.max_gram(x, unit=True),
    "linear, unit channels": lambda x: similarity.linear_gram(
        similarity.unit_channels(x, center=True)
    ),
    "linear": similarity.linear_gram,
}


class Record(NamedTuple):
    """Debiased CKA of layers, with row i for a layer of the first network of a pair.

    Attributes:
      layers: `L` of them.
      pairs: `[P, 2]` seeds; every seed is in several pairs.
      images: number of samples in each Gram matrix.
      maps: for each of `KERNELS` `[P, L, L]`.
      untrained: likewise, of networks of the same architecture as initialised.
    """

    layers: tuple[Layer, ...]
    pairs: np.ndarray
    images: int
    maps: dict[str, np.ndarray]
    untrained: dict[str, np.ndarray]


def compute(subject: Subject) -> Record:
    """Compares all pairs of networks, every layer with every layer.

    Args:
      subject: the run; needs two networks.

    Raises:
      UserError: there is only one network.
    """
    pairs = statistics.unordered_pairs(len(subject.seeds), subject.most_pairs)
    return Record(
        layers=subject.layers,
        pairs=np.array(subject.seeds)[pairs],
        images=len(subject.measured.images),
        maps=_maps(subject, subject.networks, pairs),
        untrained=_maps(subject, untrained(subject), pairs),
    )


def _maps(
    subject: Subject, networks: Sequence[stitching.Network], pairs: np.ndarray
) -> dict[str, np.ndarray]:
    grams = [_grams(subject, network) for network in networks]
    return {
        name: np.stack([_map(grams[i][name], grams[j][name]) for i, j in pairs])
        for name in KERNELS
    }


def _grams(subject: Subject, network: stitching.Network) -> dict[str, jax.Array]:
    """Returns `[L, N, N]` for each kernel."""
    values = features.taps(network, subject.measured.images)
    return {
        name: jnp.stack([gram(values[layer.name]) for layer in subject.layers])
        for name, gram in _JITTED.items()
    }


_JITTED = {name: jax.jit(gram) for name, gram in KERNELS.items()}


@jax.jit
def _map(rows: jax.Array, columns: jax.Array) -> jax.Array:
    across = jax.vmap(similarity.cka_from_grams, (None, 0))
    return jax.lax.map(lambda row: across(row, columns), rows)


def tables(record: Record) -> dict[str, Rows]:
    """Returns mean and sd over pairs for every two layers and measure, and all values.

    Args:
      record: from `compute`.
    """
    rows, single = [], []
    for name, maps in record.maps.items():
        trained = statistics.summarise(np.moveaxis(maps, 0, -1))
        baseline = statistics.summarise(np.moveaxis(record.untrained[name], 0, -1))
        for i, first in enumerate(record.layers):
            for j, second in enumerate(record.layers):
                rows.append(
                    {
                        "layer_1": first.name,
                        "layer_2": second.name,
                        "measure": name,
                        "mean": trained.mean[i, j],
                        "sd": trained.sd[i, j],
                        "pairs": trained.n,
                        "mean_untrained": baseline.mean[i, j],
                        "sd_untrained": baseline.sd[i, j],
                    }
                )
                single += [
                    {"seed_1": a, "seed_2": b, "measure": name}
                    | {"layer_1": first.name, "layer_2": second.name}
                    | {"similarity": maps[k, i, j]}
                    for k, (a, b) in enumerate(record.pairs)
                ]
    return {"cka": rows, "cka_pairs": single}


def summary(record: Record) -> list[Rows]:
    """Returns the table of the page: each layer with itself, mean ± sd over pairs.

    Args:
      record: from `compute`.
    """
    diagonal = lambda maps: np.diagonal(maps, axis1=1, axis2=2)
    columns = {name: diagonal(maps) for name, maps in record.maps.items()}
    for name, maps in record.untrained.items():
        columns[f"untrained: {name}"] = diagonal(maps)
    return [by_layer(record.layers, columns)]


def plot(record: Record) -> dict[str, Figure]:
    """Draws one heat map for each measure, the mean over pairs.

    Args:
      record: from `compute`.
    """
    labels = [layer.label for layer in record.layers]
    figures = {}
    for i, (name, maps) in enumerate(record.maps.items(), start=1):
        figure, axes = style.figure(width=3.0, height=2.9)
        style.heat_map(axes, maps.mean(axis=0), labels, f"{name} CKA")
        axes.set_xlabel("layer of the second network", fontsize="small")
        axes.set_ylabel("layer of the first network", fontsize="small")
        figures[f"cka_{i}"] = figure
    return figures


def caption(record: Record) -> str:
    """Says what the figure shows.

    Args:
      record: from `compute`.
    """
    return (
        f"Debiased CKA on {record.images} test images; the table has each layer with "
        f"itself. {statistics.describe_pairs(record.pairs)} In the maps, the mean over "
        "pairs: row, layer of the first network, column, of the second. G_ReLU: the "
        "max kernel, which permutations and scalings of channels do not change. "
        "Linear, unit channels: what the paper plots as orthogonal CKA, although "
        "rotations change it. Linear: the textbook's, which rotations do not change. "
        "Values lie between -1 and 1; unrelated features give about 0."
    )
