"""Which seeds are trained together, and whether in a loop or vmapped."""

from collections.abc import Callable, Sequence

import jax

from train import memory
from train.configs import Config


def resolve(strategy: str) -> str:
    """Returns `loop` or `vmap`; `auto` is `loop` on a CPU.

    There `vmap` over kernels becomes a grouped convolution, which XLA runs several
    times slower than one seed after the other; on accelerators it is the faster one.

    Args:
      strategy: `auto`, `loop` or `vmap`.

    Returns:
      The strategy to use on this backend.
    """
    if strategy != "auto":
        return strategy
    return "loop" if jax.default_backend() == "cpu" else "vmap"


def groups(
    seeds: Sequence[int], strategy: str, *, devices: int = 1, at_once: int = 0
) -> list[list[int]]:
    """Divides seeds into the groups that are trained together.

    Args:
      seeds: any.
      strategy: `loop` gives groups of one for each device, `vmap` a single group.
      devices: their number.
      at_once: the most seeds of a group of `vmap`, which bounds memory; 0 for all.

    Returns:
      The groups, in order.

    Example:
      >>> groups([0, 1, 2], "loop", devices=2), groups([0, 1, 2], "vmap")
      ([[0, 1], [2]], [[0, 1, 2]])
    """
    size = (at_once or len(seeds)) if strategy == "vmap" else devices
    return [list(seeds[i : i + size]) for i in range(0, len(seeds), size or 1)]


def plan(
    config: Config, seeds: Sequence[int], needed: Callable[[int], int]
) -> list[list[int]]:
    """Divides seeds into groups, by a config and what the devices hold.

    Args:
      config: has the strategy, the devices for each seed and `seeds_per_chunk`.
      seeds: any.
      needed: the bytes that so many seeds need; called only if there is a choice.

    Returns:
      The groups, in order.
    """
    strategy = resolve(config.strategy)
    places = jax.device_count() // config.devices_per_seed
    at_once = config.seeds_per_chunk
    if strategy == "vmap" and not at_once and len(seeds) > places:
        at_once = memory.seeds_at_once(needed(1), memory.available(), places)
    return groups(seeds, strategy, devices=places, at_once=at_once)
