"""Seeds on devices: every device has an equal part of a group of seeds.

Where there are more devices than seeds, several may share the batches of each.

On a CPU the cores are the devices: XLA's programs have long stretches for one core, so
one seed on each core is faster than one seed after the other on all of them.
"""

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train.configs import UserError

_SEED, _DATA = "seed", "data"
_SEEDS, _ALL, _BATCH = PartitionSpec(_SEED), PartitionSpec(), PartitionSpec(_DATA)


def use_cores() -> None:
    """Makes every core of a CPU a device, and keeps freed memory; call it first.

    Raises:
      RuntimeError: JAX has looked for devices before.
    """
    jax.config.update("jax_num_cpu_devices", cores())
    keep_freed_memory()


def cores() -> int:
    """Returns the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Tells glibc to keep what is freed: a step would pay for new pages every time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_threshold, 2**31 - 1)
    # Whatever the thresholds, arenas of threads give large blocks back; the first not.
    mallopt(arena_max, 1)


def mesh(seeds: int, per_seed: int = 1) -> Mesh:
    """Returns the devices that can have equal parts of so many seeds, as many as do.

    Args:
      seeds: in the group.
      per_seed: devices that share the batches of a seed.

    Returns:
      A mesh with the axes `seed` and `data`.

    Raises:
      UserError: there are fewer devices than one seed has.
    """
    devices = jax.devices()
    most = len(devices) // per_seed
    if not most:
        raise UserError(
            f"train: devices_per_seed is {per_seed}, and there are {len(devices)}."
        )
    count = max(n for n in range(1, most + 1) if seeds % n == 0)
    grid = np.array(devices[: count * per_seed]).reshape(count, per_seed)
    return Mesh(grid, (_SEED, _DATA))


def shard(stacked: Any, on: Mesh) -> Any:
    """Gives every device its seeds' part of arrays that are stacked over seeds."""
    return jax.tree.map(functools.partial(_put, NamedSharding(on, _SEEDS)), stacked)


def _put(sharding: NamedSharding, leaf: jax.Array) -> jax.Array:
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.device_put(leaf, sharding)
    # Keys themselves are not put on devices of another process.
    numbers = jax.device_put(jax.random.key_data(leaf), sharding)
    return jax.random.wrap_key_data(numbers)


def gather(tree: Any) -> Any:
    """Returns arrays in the memory of every process, as NumPy's."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return jax.tree.map(_gather, tree)


def _gather(leaf: Any) -> Any:
    if getattr(leaf, "is_fully_addressable", True):
        return jax.device_get(leaf)
    return multihost_utils.process_allgather(leaf, tiled=True)


def replicate(shared: Any, on: Mesh) -> Any:
    """Gives the devices of a mesh a copy each of what its seeds share."""
    return jax.device_put(shared, NamedSharding(on, _ALL))


def share_batch(array: jax.Array, per_seed: int) -> jax.Array:
    """Divides the first axis among the devices of a seed, inside of `on_each`.

    Args:
      array: `[N, ...]`.
      per_seed: devices that share the batches of a seed; must divide `N`.

    Returns:
      The same numbers.
    """
    if per_seed == 1:
        return array
    return jax.lax.with_sharding_constraint(array, _BATCH)


def on_each(fn: Callable, in_axes: Sequence[int | None], per_seed: int = 1) -> Callable:
    """Runs a function of stacked seeds on each device with the seeds that it has.

    Args:
      fn: its results are stacked over seeds.
      in_axes: for each argument 0 if it is stacked, None if all seeds share it.
      per_seed: devices that share the batches of a seed.

    Returns:
      A function of the same arguments, for use under `jit`.
    """
    specs = tuple(_ALL if axis is None else _SEEDS for axis in in_axes)

    def run(*args: Any) -> Any:
        stacked = [arg for arg, axis in zip(args, in_axes, strict=True) if axis == 0]
        devices = mesh(len(jax.tree.leaves(stacked)[0]), per_seed)
        if devices.size == 1:
            return fn(*args)
        # The axis `data` is left to the compiler, which adds the sums over a batch.
        # Loops inside of steps start from constants, which no device varies.
        return jax.shard_map(
            fn,
            mesh=devices,
            in_specs=specs,
            out_specs=_SEEDS,
            axis_names={_SEED} if per_seed > 1 else {_SEED, _DATA},
            check_vma=False,
        )(*args)

    return run


def one_at_a_time(result: Any, per_seed: int) -> Any:
    """Waits for a result where devices of a CPU add sums over the batches they share.

    With many such programs under way in several processes XLA's CPU client locks up.
    """
    if per_seed > 1 and jax.default_backend() == "cpu":
        jax.block_until_ready(result)
    return result


def compiler_options() -> dict[str, Any] | None:
    """Returns the options of XLA for programs that run on several devices at once."""
    if jax.default_backend() == "cpu" and jax.device_count() > 1:
        return {"xla_cpu_multi_thread_eigen": False}  # the other cores have seeds too
    return None
