"""How many seeds a device can train at once: memory grows by the same for each."""

import os
from typing import Any

import jax

# Of a device's memory; the rest is left to the data, the evaluation and fragments.
_USABLE = 0.8


def needed(step: Any, state: Any, *args: Any) -> int:
    """Returns the memory that a group of seeds takes in training, in bytes.

    A step's temporaries, its state, and the variables of the best epoch twice, while
    the better ones are chosen. Data are not counted. Compiles the step.

    Args:
      step: jitted.
      state: `TrainState` of the group, or its shapes.
      args: the other arguments of the step, or their shapes.
    """
    used = step.lower(state, *args).compile().memory_analysis()
    return used.temp_size_in_bytes + _bytes(state) + 2 * _bytes(state.variables)


def available() -> int:
    """Returns the memory of a device in bytes, of a CPU its share of the machine's."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if limit := stats.get("bytes_limit"):
        return limit
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return pages // jax.local_device_count()


def seeds_at_once(bytes_per_seed: int, bytes_per_device: int, devices: int) -> int:
    """Returns the most seeds that devices can train together, at least one each.

    Args:
      bytes_per_seed: from `needed`.
      bytes_per_device: from `available`.
      devices: their number.

    Example:
      >>> seeds_at_once(2**30, 16 * 2**30, devices=2)
      24
    """
    return devices * max(1, int(_USABLE * bytes_per_device) // bytes_per_seed)


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
