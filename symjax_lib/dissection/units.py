"""What units of layers detect, from two kinds of passes over labelled images."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib.dissection import thresholds
from symjax_lib.dissection.concepts import Concepts
from symjax_lib.dissection.passes import Run, Tally
from symjax_lib.dissection.thresholds import Bracket


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
        not finite or no maps, there are no images, or of several sizes, or so few that
        no activation can exceed a threshold.

    References:
      Bau et al., `Network Dissection <https://arxiv.org/abs/1704.05796>`_, 2017;
      Godfrey et al. 2022, sections 6 and F.
    """
    if batch_size < 1 or passes < 1:
        raise ValueError(
            f"dissect: batch_size is {batch_size} and passes {passes}; both must be 1 "
            "or more."
        )
    _check(features, data, bases, fraction)
    bases = {name: jnp.asarray(basis, jnp.float32) for name, basis in bases.items()}
    run = Run(features, data, bases, batch_size, progress, data.read(0))
    sizes = run.activations()
    allowed = _allowed(sizes, fraction)
    if state is None:
        state = State(1, run.extremes())
        keep(state)
    while state.done <= passes or (exact and not _all_exact(state)):
        by_value = state.done <= passes
        found = run.narrowed(state.brackets, state.done, allowed, by_value)
        state = State(state.done + 1, found)
        keep(state)
    return run.tallies(state.brackets, sizes)


def _all_exact(state: State) -> bool:
    return all(map(thresholds.is_exact, state.brackets.values()))


def _allowed(sizes: dict[str, int], fraction: float) -> dict[str, int]:
    """Returns how many activations of a unit may exceed its threshold."""
    allowed = {name: int(fraction * size) for name, size in sizes.items()}
    for name, size in sizes.items():
        if not allowed[name]:
            raise ValueError(
                f"dissect: units of {name!r} have {size} activations in all, and none "
                f"can exceed the threshold of a part of {fraction:g}; take more images "
                "or a larger fraction."
            )
    return allowed


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
