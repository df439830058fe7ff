"""Seeds on devices: every device has an equal part of a group of seeds.

On a CPU the cores are the devices: XLA's programs have long stretches for one core, so
one seed on each core is faster than one seed after the other on all of them.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_SEEDS, _ALL = PartitionSpec("seed"), PartitionSpec()


def use_cores() -> None:
    """Makes every core of a CPU a device, and keeps freed memory; call it first.

    Raises:
      RuntimeError: JAX has looked for devices before.
    """
    jax.config.update("jax_num_cpu_devices", cores())
    _keep_freed_memory()


def cores() -> int:
    """Returns the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def _keep_freed_memory() -> None:
    """Tells glibc to keep what is freed: a step would pay for new pages every time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_threshold, 2**31 - 1)
    # Whatever the thresholds, arenas of threads give large blocks back; the first not.
    mallopt(arena_max, 1)


def mesh(seeds: int) -> Mesh:
    """Returns the devices that can have equal parts of so many seeds, as many as do.

    Args:
      seeds: in the group.

    Returns:
      A mesh with the axis `seed`.
    """
    devices = jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if seeds % n == 0)
    return Mesh(np.array(devices[:count]), ("seed",))


def shard(stacked: Any, seeds: int) -> Any:
    """Gives every device its seeds' part of arrays that are stacked over seeds."""
    return jax.device_put(stacked, NamedSharding(mesh(seeds), _SEEDS))


def replicate(shared: Any, seeds: int) -> Any:
    """Gives the devices of a group a copy each of what its seeds share."""
    return jax.device_put(shared, NamedSharding(mesh(seeds), _ALL))


def on_each(fn: Callable, in_axes: Sequence[int | None]) -> Callable:
    """Runs a function of stacked seeds on each device with the seeds that it has.

    Args:
      fn: its results are stacked over seeds.
      in_axes: for each argument 0 if it is stacked, None if all seeds share it.

    Returns:
      A function of the same arguments, for use under `jit`.
    """
    specs = tuple(_ALL if axis is None else _SEEDS for axis in in_axes)

    def run(*args: Any) -> Any:
        stacked = [arg for arg, axis in zip(args, in_axes, strict=True) if axis == 0]
        devices = mesh(len(jax.tree.leaves(stacked)[0]))
        if devices.size == 1:
            return fn(*args)
        # Loops inside of steps start from constants, which no device varies.
        return jax.shard_map(
            fn, mesh=devices, in_specs=specs, out_specs=_SEEDS, check_vma=False
        )(*args)

    return run


def compiler_options() -> dict[str, Any] | None:
    """Returns the options of XLA for programs that run on several devices at once."""
    if jax.default_backend() == "cpu" and jax.device_count() > 1:
        return {"xla_cpu_multi_thread_eigen": False}  # the other cores have seeds too
    return None
