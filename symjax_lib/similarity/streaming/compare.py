"""All layers of all pairs of networks, from batches of inputs, in bounded memory."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symjax_lib.similarity import features
from symjax_lib.similarity.streaming import finish, first_pass, grams, reading, source
from symjax_lib.similarity.streaming.channels import Channels
from symjax_lib.similarity.streaming.first_pass import FirstPass, Layer
from symjax_lib.similarity.streaming.record import Comparison
from symjax_lib.similarity.streaming.sums import Sums, cka
from symjax_lib.similarity.streaming.tiles import KERNELS

_PROCRUSTES = {
    f"{kind}_procrustes{', centred' if center else ''}": (kind, center)
    for kind in ("g_relu", "orthogonal", "permutation", "signed_permutation")
    for center in (False, True)
}
_CKA = {
    f"{name}{'' if debiased else ', biased'}": (kernel, debiased)
    for name, kernel in zip(
        ("g_relu_cka", "linear_cka", "linear_cka, channel_norm", "rbf_cka")
        + ("laplace_cka", "median_cka"),
        KERNELS,
        strict=True,
    )
    for debiased in (True, False)
}
MEASURES = (*_PROCRUSTES, *_CKA)
"""Names of what `compare` can compute; the same as in `similarity.MEASURES`."""

_USUAL = ("g_relu_procrustes", "orthogonal_procrustes", "g_relu_cka", "linear_cka")


def compare(
    networks: Sequence[reading.Reader],
    batches: Sequence[Any],
    *,
    measures: Sequence[str] = _USUAL,
    policy: str = "channels",
    pairs: Sequence[tuple[int, int]] | None = None,
    fraction: float = 1.0,
    sigma: float | None = None,
    memory: float = 2.0,
    tile: int = 512,
    spill: str | Path | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Comparison:
    r"""Compares every layer with every layer, for pairs of networks, batch by batch.

    Features of all inputs are never in memory together, nor is any Gram matrix. The
    first pass adds up statistics of channels, and for Procrustes the products of
    channels of all pairs of layers, in float64 and with memory that does not grow with
    the number of samples N. For CKA, tiles of the Gram matrices of all layers follow,
    each computed once for all pairs, half of the symmetric matrix only, and the sums
    that HSIC needs are taken from each tile before it is forgotten. Features that are
    needed again are computed again, or read from the folder `spill`.

    Values are those of the functions of the same names in `similarity`, with two
    exceptions: widths of "rbf_cka" and "laplace_cka" come from the median over the
    first `tile` samples, not all; and with the policy "positions" linear CKA counts
    every position as a sample, by products of channels alone.

    Args:
      networks: readers, such as `Taps(fn, variables)`.
      batches: inputs, in an order that may be read several times; some hundred samples
        in each are best, for they are the columns of a tile.
      measures: some of `MEASURES`.
      policy: one of `similarity.POLICIES`, what becomes of space; recorded. With
        "positions" only Procrustes and plain linear CKA are possible.
      pairs: of networks, by number; by default each with each later one, and one
        network alone with itself.
      fraction: widths of "rbf_cka" and "laplace_cka", as in `similarity.rbf_cka`.
      sigma: the width itself.
      memory: GiB for features and tiles; more of it saves passes. What one batch needs
        in the networks comes on top, and what the C library keeps of freed memory:
        glibc gives it back if the environment has `MALLOC_MMAP_THRESHOLD_=1048576`.
      tile: samples in the rows of a tile, at least.
      spill: a folder with room for the features of all networks (24 GB for two Myrtle
        CNNs of width 64 on 10,000 images), which are then read again and not computed
        again; what is written there is removed in the end.
      progress: called with what is being done.

    Returns:
      A `Comparison`. Procrustes is nan between layers whose resolutions are not whole
      multiples of each other.

    Raises:
      ValueError: an option is unknown, there are too few samples, or features are not
        finite or have no common number of samples.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (64, 5))
      >>> w = jax.random.normal(jax.random.key(1), (5, 8))
      >>> reader = lambda batch: {"hidden": jax.nn.relu(batch @ w)}
      >>> moved = lambda batch: {"hidden": 3 * jax.nn.relu(batch @ w[:, ::-1])}
      >>> found = compare([reader, moved], [x[:40], x[40:]])
      >>> round(float(found.values["g_relu_cka"][0][0, 0]), 4)
      1.0
      >>> Comparison.from_json(found.to_json()) == found
      True

    References:
      Godfrey et al., 2022, section 5; Song et al., 2012, for HSIC from sums.
    """
    _check_options(measures, policy, fraction, sigma, memory, tile)
    pairs = _pairs(len(networks), pairs)
    by_products = [n for n in measures if n in _PROCRUSTES or policy == "positions"]
    by_grams = [name for name in measures if name not in by_products]
    # An observation of Procrustes is a position anyway.
    policy_of_batch = "channels" if policy == "positions" else policy
    first = first_pass.run(
        networks,
        batches,
        policy=policy_of_batch,
        pairs=pairs if by_products else (),
        lengths=any(name in _CKA for name in by_products),
        progress=progress,
    )
    values = {name: _from_products(name, first, pairs) for name in by_products}
    if by_grams:
        if first.samples < 4:
            raise ValueError(
                f"compare: CKA needs at least 4 samples, the batches have "
                f"{first.samples}; use more, or Procrustes measures only."
            )
        kernels = tuple(dict.fromkeys(_CKA[name][0] for name in by_grams))
        with source.folder_in(spill) as folder:
            features_of = source.source(
                networks, batches, policy_of_batch, first, tile=tile, folder=folder
            )
            sums = grams.hsic_sums(
                features_of,
                kernels=kernels,
                widths=grams.widths(
                    features_of, kernels, fraction=fraction, sigma=sigma
                ),
                memory=memory * 2**30,
                progress=progress,
            )
        values |= {name: _from_sums(name, sums, first, pairs) for name in by_grams}
    return Comparison(
        layers=tuple(tuple(known) for known in first.channels),
        pairs=pairs,
        values={name: values[name] for name in measures},
        dead_channels=tuple(
            tuple(_dead(known) for known in found.values()) for found in first.channels
        ),
        settings={
            "samples": first.samples,
            "policy": policy,
            "unequal shapes": "the smaller map repeated, zeros for missing channels",
            "width of rbf and laplace": f"sigma {sigma}"
            if sigma is not None
            else f"{fraction} of the median distance of the first samples",
            "first samples": min(tile, first.samples),
        },
    )


def _dead(known: Channels) -> int:
    return int((known.squared_norms(center=False) == 0).sum())


def _from_products(
    name: str, first: FirstPass, pairs: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, ...]:
    def value(a: Layer, b: Layer) -> float:
        x, y = (first.channels[s][layer] for s, layer in (a, b))
        if (a, b) not in first.crosses:
            return math.nan
        cross = first.crosses[a, b]
        if name in _PROCRUSTES:
            kind, center = _PROCRUSTES[name]
            cross = cross[: len(x.sum), : len(y.sum)]
            return finish.procrustes(kind, x, y, cross, center=center)
        own = first.crosses[a, a], first.crosses[b, b]
        debiased = _CKA[name][1]
        return finish.linear_cka((x, own[0]), (y, own[1]), cross, debiased=debiased)

    return tuple(
        np.array(
            [
                [value((i, a), (j, b)) for b in first.channels[j]]
                for a in first.channels[i]
            ]
        )
        for i, j in pairs
    )


def _from_sums(
    name: str, sums: dict[str, Sums], first: FirstPass, pairs: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, ...]:
    kernel, debiased = _CKA[name]
    table = cka(sums[kernel], debiased=debiased)
    stops = np.cumsum([0, *map(len, first.channels)])
    at = [slice(*stops[s : s + 2]) for s in range(len(first.channels))]
    return tuple(table[at[i], at[j]] for i, j in pairs)


def _pairs(
    networks: int, pairs: Sequence[tuple[int, int]] | None
) -> tuple[tuple[int, int], ...]:
    if not networks:
        raise ValueError("compare: no networks were given.")
    if pairs is None:
        later = itertools.combinations(range(networks), 2)
        return tuple(later) if networks > 1 else ((0, 0),)
    found = tuple((int(i), int(j)) for i, j in pairs)
    if not found or not all(0 <= i < networks for pair in found for i in pair):
        raise ValueError(
            f"compare: pairs must be numbers of the {networks} networks, from 0 to "
            f"{networks - 1}, got {found}."
        )
    return found


def _check_options(
    measures: Sequence[str],
    policy: str,
    fraction: float,
    sigma: float | None,
    memory: float,
    tile: int,
) -> None:
    if isinstance(measures, str) or not measures or {*measures} - {*MEASURES}:
        raise ValueError(
            f"compare: measures must be some of {MEASURES}, got {measures}."
        )
    if policy not in features.POLICIES:
        raise ValueError(
            f"compare: no policy {policy!r}; there are {tuple(features.POLICIES)}."
        )
    linear = {"linear_cka", "linear_cka, biased"}
    if policy == "positions" and (other := {*measures} & {*_CKA} - linear):
        raise ValueError(
            f"compare: {sorted(other)} with positions as samples need a kernel between "
            "all positions, which does not fit anywhere; take linear_cka, or another "
            "policy."
        )
    sizes = {"fraction": fraction, "sigma": sigma, "memory": memory, "tile": tile}
    for name, value in sizes.items():
        if value is not None and not value > 0:
            raise ValueError(f"compare: {name} must be positive, got {value}.")
