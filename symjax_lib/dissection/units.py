"""What units of layers detect, from two kinds of passes over labelled images."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib.dissection import overlap, thresholds
from symjax_lib.dissection.concepts import Concepts, stack
from symjax_lib.dissection.thresholds import Bracket

_PAD = 8  # numbers of concepts are multiples of it, so that few programs are compiled


class Tally(NamedTuple):
    """Counts of a layer in R bases of its C units, over L concepts of G categories.

    Attributes:
      thresholds: `[R, C]` float32.
      above: `[R, C]` activations that exceed them, of `activations`.
      activations: of every unit.
      both: `[R, C, L]` places where the unit is above its threshold and the concept is.
      area: `[R, C, G]` places where the unit is, in images with labels of a category.
      labels: `[L]` places where the concept is.
    """

    thresholds: np.ndarray
    above: np.ndarray
    activations: int
    both: np.ndarray
    area: np.ndarray
    labels: np.ndarray


class State(NamedTuple):
    """What dissection knows after some passes; a pytree of arrays, to be kept.

    Attributes:
      done: passes.
      brackets: of the thresholds, for each layer.
    """

    done: int
    brackets: dict[str, Bracket]


def dissect(
    features: Callable[[np.ndarray], Mapping[str, jax.Array]],
    data: Concepts,
    bases: Mapping[str, Any],
    *,
    fraction: float = 0.005,
    passes: int = 3,
    exact: bool = False,
    batch_size: int = 8,
    state: State | None = None,
    keep: Callable[[State], None] = lambda state: None,
    progress: Callable[[str], None] = lambda what: None,
) -> dict[str, Tally]:
    r"""Counts where units and concepts are together, in all bases at once.

    A unit of a basis A is :math:`u = A z` at every place, and it is where it exceeds
    its threshold, which a part `fraction` of all its activations does. All bases share
    the forward passes, and memory does not grow with the number of images.

    Args:
      features: images `[B, H, W, 3]` uint8 to the feature maps `[B, h, w, C]` of
        layers, by name; jitted.
      data: labelled images, all of one size.
      bases: for each layer matrices `[R, C, C]`, of which rows are units.
      fraction: of the activations that exceed a threshold.
      passes: over the images to find the thresholds, after one for their extremes; each
        makes the interval 17 times narrower. How many activations then exceed them is
        known, and returned.
      exact: whether to go on until no number is left between; at most 8 more passes.
      batch_size: images of a forward pass.
      state: of a run that was stopped.
      keep: called after each pass.
      progress: called with a description after each batch.

    Returns:
      For each layer a `Tally`.

    Raises:
      ValueError: there is no such layer, its matrices have another size, features are
        not finite or no maps, or there are no images.

    References:
      Bau et al., `Network Dissection <https://arxiv.org/abs/1704.05796>`_, 2017;
      Godfrey et al. 2022, sections 6 and F.
    """
    _check(features, data, bases, fraction)
    bases = {name: jnp.asarray(basis, jnp.float32) for name, basis in bases.items()}
    run = _Run(features, data, bases, batch_size, progress)
    if state is None:
        state = State(1, run.extremes())
        keep(state)
    sizes = run.activations()
    while state.done <= passes or (exact and not _all_exact(state)):
        by_value = state.done <= passes
        found = run.narrowed(state, sizes, fraction, by_value)
        state = State(state.done + 1, found)
        keep(state)
    return run.tallies(state.brackets, sizes)


def _all_exact(state: State) -> bool:
    return all(map(thresholds.is_exact, state.brackets.values()))


class _Run(NamedTuple):
    features: Callable[[np.ndarray], Mapping[str, jax.Array]]
    data: Concepts
    bases: dict[str, jax.Array]
    batch_size: int
    progress: Callable[[str], None]

    def batches(self, what: str) -> Iterator[tuple[Any, ...]]:
        """Yields the maps of all layers, concepts and masks of all batches."""
        count = self.data.length
        for first in range(0, count, self.batch_size):
            some = range(first, min(first + self.batch_size, count))
            images, *labels = stack([self.data.read(i) for i in some], _PAD)
            maps = self.features(images)
            yield {name: maps[name] for name in self.bases}, *labels
            self.progress(f"{what}, {some[-1] + 1} of {count} images")

    def activations(self) -> dict[str, int]:
        """Returns how many activations a unit of each layer has."""
        image = self.data.read(0).image[None]
        maps = jax.eval_shape(self.features, image)
        return {
            name: self.data.length * maps[name].shape[1] * maps[name].shape[2]
            for name in self.bases
        }

    def extremes(self) -> dict[str, Bracket]:
        """Returns the thresholds' enclosures by least and largest activations."""
        found: dict[str, Any] = {}
        for maps, *_ in self.batches("extremes"):
            for name, z in maps.items():
                new = jax.device_get(_extremes(z, self.bases[name]))
                if not np.isfinite(new).all():
                    raise ValueError(
                        f"dissect: {name} has values that are not finite; check the "
                        "network and how images are normalised."
                    )
                old = found.get(name, new)
                found[name] = np.minimum(old[0], new[0]), np.maximum(old[1], new[1])
        return {name: thresholds.start(*ends) for name, ends in found.items()}

    def narrowed(
        self, state: State, sizes: dict[str, int], fraction: float, by_value: bool
    ) -> dict[str, Bracket]:
        """Returns narrower enclosures, from one pass."""
        numbers = {
            name: thresholds.levels(bracket, by_value=by_value)
            for name, bracket in state.brackets.items()
        }
        above = {n: np.zeros(x.shape, np.int64) for n, x in numbers.items()}
        on_device = {name: jnp.asarray(x) for name, x in numbers.items()}
        for maps, *_ in self.batches(f"thresholds, pass {state.done}"):
            for name, z in maps.items():
                counts = _count_above(z, self.bases[name], on_device[name])
                above[name] += np.asarray(counts)
        return {
            name: thresholds.narrow(
                bracket, numbers[name], above[name], int(fraction * sizes[name])
            )
            for name, bracket in state.brackets.items()
        }

    def tallies(
        self, brackets: dict[str, Bracket], sizes: dict[str, int]
    ) -> dict[str, Tally]:
        """Returns counts of units and concepts, from one pass."""
        concepts, groups = len(self.data.names), len(self.data.categories)
        labels = np.zeros(concepts, np.int64)
        both, area = {}, {}
        for name, bracket in brackets.items():
            shape = bracket.high.shape
            both[name] = np.zeros((*shape, concepts), np.int64)
            area[name] = np.zeros((*shape, groups), np.int64)
        limits = {name: jnp.asarray(x.high) for name, x in brackets.items()}
        for maps, numbers, masks in self.batches("overlaps"):
            for i, (every, mask) in enumerate(zip(numbers, masks, strict=True)):
                there = every[every >= 0]
                with_label = np.unique(self.data.category[there])
                labels[there] += mask[: len(there)].sum(axis=(1, 2))
                for name, z in maps.items():
                    new = _overlaps(z[i], self.bases[name], limits[name], mask)
                    in_both, in_all = jax.device_get(new)
                    both[name][:, :, there] += in_both[:, :, : len(there)]
                    area[name][:, :, with_label] += in_all[:, :, None]
        return {
            name: Tally(
                bracket.high, bracket.above_high, sizes[name], both[name], area[name],
                labels,
            )
            for name, bracket in brackets.items()
        }  # fmt: skip


@jax.jit
def _extremes(z: jax.Array, bases: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the least and largest values `[R, C]` of maps `[B, h, w, C]`."""

    def one(basis: jax.Array) -> tuple[jax.Array, jax.Array]:
        units = z.reshape(-1, z.shape[-1]) @ basis.T
        return units.min(axis=0), units.max(axis=0)

    return jax.lax.map(one, bases)


@jax.jit
def _count_above(z: jax.Array, bases: jax.Array, numbers: jax.Array) -> jax.Array:
    """Returns how many values `[T, R, C]` exceed numbers `[T, R, C]`."""

    def one(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        basis, levels = args
        return thresholds.count_above(z.reshape(-1, z.shape[-1]) @ basis.T, levels)

    found = jax.lax.map(one, (bases, jnp.moveaxis(numbers, 1, 0)))
    return jnp.moveaxis(found, 0, 1)


@jax.jit
def _overlaps(
    z: jax.Array, bases: jax.Array, limits: jax.Array, masks: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns places in both `[R, C, K]` and of units `[R, C]` for maps `[h, w, C]`."""
    height, width, channels = z.shape
    units = jnp.einsum("rdc,pc->rdp", bases, z.reshape(-1, channels))
    flat = units.reshape(-1, height, width)
    both, area = overlap.overlaps(flat, limits.ravel(), masks)
    return both.reshape(*limits.shape, -1), area.reshape(limits.shape)


def _check(
    features: Callable, data: Concepts, bases: Mapping[str, Any], fraction: float
) -> None:
    if data.length < 1 or not bases:
        raise ValueError(
            f"dissect: there are {data.length} images and {len(bases)} layers; there "
            "must be at least one of each."
        )
    if not 0 < fraction < 1:
        raise ValueError(f"dissect: fraction must be between 0 and 1, got {fraction}.")
    maps = jax.eval_shape(features, data.read(0).image[None])
    for name, basis in bases.items():
        if name not in maps:
            raise ValueError(f"dissect: no layer {name!r}; there are {list(maps)}.")
        shape, found = jnp.shape(basis), maps[name].shape
        if len(found) != 4 or len(shape) != 3 or shape[1:] != (found[3], found[3]):
            raise ValueError(
                f"dissect: layer {name!r} is {found}, its bases are {shape}; maps must "
                "be [B, h, w, C] and bases [R, C, C]."
            )
