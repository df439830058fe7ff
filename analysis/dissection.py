"""Are single units special? Interpretable units against rotation: figures 3, 18, 19."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from analysis import kept_state
from analysis.dissected import Record
from analysis.vision import Features
from symjax_lib import dissection
from symjax_lib.dissection import Concepts
from train.configs import UserError


def compute(
    features: Features,
    data: Concepts,
    layers: Sequence[str],
    *,
    model: str,
    key: jax.Array,
    rotations: int = 3,
    alphas: Sequence[float] = tuple(np.linspace(0, 1, 11)),
    fraction: float = 0.005,
    passes: int = 3,
    exact: bool = False,
    minimum: float = dissection.MINIMUM,
    batch_size: int = 8,
    kept: Path | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Record:
    """Dissects layers in rotated bases.

    Args:
      features: of the network, see `vision.load`.
      data: labelled images.
      layers: names.
      model: name of the network, for the captions.
      key: of the rotations, which every layer has of its own.
      rotations: number of them.
      alphas: their powers; 0 is always there.
      fraction: see `dissection.dissect`.
      passes: likewise.
      exact: likewise.
      minimum: see `dissection.detectors`.
      batch_size: see `dissection.dissect`.
      kept: file of what is known after each pass, from which a run goes on.
      progress: called with a description after each batch.

    Raises:
      UserError: there is no such layer, no rotation, or the images are damaged.
    """
    check(features, data, layers, rotations)
    alphas = (0.0, *sorted({float(a) for a in alphas} - {0.0}))
    try:
        maps = jax.eval_shape(features, data.read(0).image[None])
        bases = {
            name: _bases(
                jax.random.fold_in(key, i), maps[name].shape[-1], rotations, alphas
            )
            for i, name in enumerate(layers)
        }
        tallies = dissection.dissect(
            features, data, bases, fraction=fraction, passes=passes, exact=exact,
            batch_size=batch_size, state=kept_state.read(kept),
            keep=lambda state: kept_state.write(kept, state), progress=progress,
        )  # fmt: skip
    except ValueError as error:
        raise UserError(f"analysis: {error}") from error
    found = {
        name: dissection.detectors(tally, data, minimum=minimum)
        for name, tally in tallies.items()
    }
    return Record(model, data, alphas, rotations, minimum, tallies, found)


def check(
    features: Features, data: Concepts, layers: Sequence[str], rotations: int
) -> None:
    """Refuses what cannot be dissected.

    Args:
      features: see `compute`.
      data: likewise.
      layers: likewise.
      rotations: likewise.

    Raises:
      UserError: see `compute`.
    """
    if rotations < 1:
        raise UserError(f"analysis: --rotations is {rotations}, it must be at least 1.")
    maps = jax.eval_shape(features, data.read(0).image[None])
    if missing := [name for name in layers if name not in maps]:
        raise UserError(
            f"analysis: --layers {missing} are unknown, there are {list(maps)}."
        )


def _bases(
    key: jax.Array, n: int, rotations: int, alphas: tuple[float, ...]
) -> jax.Array:
    keys = jax.random.split(key, rotations)
    powers = [
        dissection.rotation_power(
            dissection.random_rotation(k, n), np.array(alphas[1:])
        )
        for k in keys
    ]
    return jnp.concatenate([jnp.eye(n)[None], *powers])
