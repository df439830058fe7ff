"""Networks that run on without some principal components of one layer."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib import stitching, tracing


class Basis(NamedTuple):
    """The mean `[C]` of the channels and a projection `[C, C]` about it."""

    mean: jax.Array
    projection: jax.Array


def bases(x: jax.Array, parts: Sequence[float]) -> list[Basis]:
    """Returns projections on the components of most variance.

    Args:
      x: `[N, ..., C]` features; samples and space are observations.
      parts: of the components, which each projection removes.
    """
    flat = np.asarray(x, float).reshape(-1, x.shape[-1])
    mean = flat.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(flat.T))  # in the order of rising variance
    kept = [vectors[:, round(part * len(mean)) :] for part in parts]
    as_array = lambda a: jnp.asarray(a, jnp.float32)
    return [Basis(as_array(mean), as_array(v @ v.T)) for v in kept]


def removed(x: jax.Array, basis: Basis) -> jax.Array:
    """Returns features `[N, ..., C]` without the components that a basis removes.

    Args:
      x: `[N, ..., C]`.
      basis: of the same channels.
    """
    centred = x - basis.mean
    return basis.mean + jnp.matmul(centred, basis.projection, precision="highest")


def outputs(
    network: stitching.Network, layer: str, images: jax.Array, bases: list[Basis]
) -> np.ndarray:
    """Returns `[1 + R, N, classes]`: of the network as it is, and with each basis.

    Args:
      network: any.
      layer: name of its tap at which components are removed.
      images: `[N, ...]`.
      bases: R of them.
    """
    run = functools.partial(_run, network.predict, layer, network.variables)
    parts = [run(images[i : i + 250], bases) for i in range(0, len(images), 250)]
    return np.concatenate(parts, axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(
    predict: Callable,
    layer: str,
    variables: Any,
    images: jax.Array,
    bases: list[Basis],
) -> jax.Array:
    front, back = tracing.split(predict, layer)
    value, rest = front(variables, images)
    values = jnp.stack([value, *(removed(value, basis) for basis in bases)])
    return jax.vmap(lambda value: back(value, rest, variables, images))(values)
