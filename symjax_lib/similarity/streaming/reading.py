"""Reads features batch by batch, and refuses what cannot be compared."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symjax_lib import tracing
from symjax_lib.similarity import features

Reader = Callable[[Any], Mapping[str, jax.Array]]
"""From a batch of inputs the features `[B, ..., C]` of every layer, by name."""


class Taps(NamedTuple):
    """The tapped values of a network, as a reader of features.

    Attributes:
      fn: `fn(variables, batch)`, any function with taps; compiled once for all
        networks that share it.
      variables: of this network.
      names: of the taps that are read, in order; None for all.
    """

    fn: Callable
    variables: Any
    names: tuple[str, ...] | None = None

    def __call__(self, batch: Any) -> dict[str, jax.Array]:
        """Returns the features of a batch."""
        return _run(self.fn, self.names, self.variables, batch)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(fn: Callable, names: tuple | None, variables: Any, batch: Any) -> dict:
    values = tracing.taps(fn)(variables, batch)[1]
    if names is None:
        return values
    if missing := set(names) - set(values):
        raise ValueError(
            f"Taps: the function has no taps {sorted(missing)}, it has {list(values)}."
        )
    return {name: values[name] for name in names}


def read(
    networks: Sequence[Reader], index: int, batch: Any, policy: str
) -> list[dict[str, jax.Array]]:
    """Returns the features of one batch in all networks, checked.

    Args:
      networks: any.
      index: of the batch, to name it in an error.
      batch: inputs.
      policy: one of `features.POLICIES`.

    Raises:
      ValueError: features are not `[B, ..., C]` or not finite, numbers of samples
        differ, or there are none.
    """
    values = [_read(network, s, index, batch) for s, network in enumerate(networks)]
    counts = {len(x) for found in values for x in found.values()}
    if len(counts) != 1:
        raise ValueError(
            f"compare: batch {index} has {sorted(counts)} samples in different layers; "
            "every layer of every network must have a feature of each input."
        )
    if counts == {0}:
        raise ValueError(f"compare: batch {index} is empty; leave it out.")
    act = features.POLICIES[policy]
    return [{name: act(x) for name, x in found.items()} for found in values]


def _read(network: Reader, s: int, index: int, batch: Any) -> dict[str, jax.Array]:
    found = {}
    for name, x in network(batch).items():
        where = f"layer {name!r} of network {s} in batch {index}"
        x = jnp.asarray(x)
        if x.ndim < 2 or x.shape[-1] == 0 or jnp.iscomplexobj(x):
            raise ValueError(
                f"compare: {where} must be real features (B, ..., C), got {x.dtype} "
                f"of shape {x.shape}."
            )
        if not bool(_finite(x)):
            raise ValueError(
                f"compare: {where} has values that are not finite; leave out a network "
                "that diverged, or the samples where it overflows."
            )
        found[name] = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if not found:
        raise ValueError(f"compare: network {s} gives no layers; tap some.")
    return found


@jax.jit
def _finite(x: jax.Array) -> jax.Array:
    return jnp.all(jnp.isfinite(x))
