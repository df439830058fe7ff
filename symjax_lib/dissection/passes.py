"""Passes over labelled images, each of which ends in counts."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib.dissection import overlap, thresholds
from symjax_lib.dissection.concepts import Concepts, Labelled, check_sizes, stack
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


class Run(NamedTuple):
    """Passes over the images.

    Attributes:
      features: see `units.dissect`.
      data: likewise.
      bases: likewise, float32.
      batch_size: likewise.
      progress: likewise.
      first: the first image, whose size the others have.
    """

    features: Callable[[np.ndarray], Mapping[str, jax.Array]]
    data: Concepts
    bases: dict[str, jax.Array]
    batch_size: int
    progress: Callable[[str], None]
    first: Labelled

    def batches(self, what: str) -> Iterator[tuple[Any, ...]]:
        """Yields the maps of all layers, concepts and masks of all batches."""
        count = self.data.length
        for first in range(0, count, self.batch_size):
            some = range(first, min(first + self.batch_size, count))
            items = [self.data.read(i) for i in some]
            check_sizes(self.first, items, some)
            images, *labels = stack(items, _PAD)
            maps = self.features(images)
            yield {name: maps[name] for name in self.bases}, *labels
            self.progress(f"{what}, {some[-1] + 1} of {count} images")

    def activations(self) -> dict[str, int]:
        """Returns how many activations a unit of each layer has."""
        image = self.first.image[None]
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
        self,
        brackets: dict[str, Bracket],
        number: int,
        allowed: dict[str, int],
        by_value: bool,
    ) -> dict[str, Bracket]:
        """Returns narrower enclosures, from one pass."""
        numbers = {
            name: thresholds.levels(bracket, by_value=by_value)
            for name, bracket in brackets.items()
        }
        above = {n: np.zeros(x.shape, np.int64) for n, x in numbers.items()}
        on_device = {name: jnp.asarray(x) for name, x in numbers.items()}
        for maps, *_ in self.batches(f"thresholds, pass {number}"):
            for name, z in maps.items():
                counts = _count_above(z, self.bases[name], on_device[name])
                above[name] += np.asarray(counts)
        return {
            name: thresholds.narrow(bracket, numbers[name], above[name], allowed[name])
            for name, bracket in brackets.items()
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


def _units(z: jax.Array, basis: jax.Array) -> jax.Array:
    """Returns the units `[P, C]` of a basis at all places of maps `[B, h, w, C]`."""
    flat = z.reshape(-1, z.shape[-1])
    return jnp.matmul(flat, basis.T, precision=overlap.HIGHEST)


@jax.jit
def _extremes(z: jax.Array, bases: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the least and largest values `[R, C]` of maps `[B, h, w, C]`."""

    def one(basis: jax.Array) -> tuple[jax.Array, jax.Array]:
        units = _units(z, basis)
        return units.min(axis=0), units.max(axis=0)

    return jax.lax.map(one, bases)


@jax.jit
def _count_above(z: jax.Array, bases: jax.Array, numbers: jax.Array) -> jax.Array:
    """Returns how many values `[T, R, C]` exceed numbers `[T, R, C]`."""

    def one(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        basis, levels = args
        return thresholds.count_above(_units(z, basis), levels)

    found = jax.lax.map(one, (bases, jnp.moveaxis(numbers, 1, 0)))
    return jnp.moveaxis(found, 0, 1)


@jax.jit
def _overlaps(
    z: jax.Array, bases: jax.Array, limits: jax.Array, masks: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns places in both `[R, C, K]` and of units `[R, C]` for maps `[h, w, C]`."""
    height, width, channels = z.shape
    flat = z.reshape(-1, channels)
    units = jnp.einsum("rdc,pc->rdp", bases, flat, precision=overlap.HIGHEST)
    every = units.reshape(-1, height, width)
    both, area = overlap.overlaps(every, limits.ravel(), masks)
    return both.reshape(*limits.shape, -1), area.reshape(limits.shape)
