"""Many stitches on the devices of this process, all of which work at the same time.

A device of an accelerator has its stitches at once. A device of a CPU, which is a core
or all of them, has one after the other: what belongs to one fits into the cache.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Name = TypeVar("Name")
Result = TypeVar("Result")


class Place(NamedTuple):
    """What a device has to do.

    Attributes:
      parts: names of stitches that it has at once, one part after the other.
      alive: to be called now and then; raises if another device failed, or the user
        stopped.
      sharing: how many devices share the memory.
    """

    parts: list[list[Any]]
    alive: Callable[[], None]
    sharing: int


ALONE = Place([], lambda: None, 1)


def everywhere(
    run: Callable[..., dict[Name, Result]], names: Sequence[Name], *trees: Any
) -> dict[Name, Result]:
    """Calls a function for parts of some names, on all devices at the same time.

    Where a default device is set, that one has all.

    Args:
      run: `(place, *trees) -> results`; all arrays that it reads must be in the trees.
      names: of stitches.
      trees: each device gets arrays of its own; whatever else is in them stays.

    Returns:
      The results of all names, as given; their arrays are where others would be.

    Raises:
      Exception: what `run` raises.
    """
    (home,) = jnp.zeros(()).devices()
    chosen = jax.config.jax_default_device is not None  # pyright: ignore
    devices = [home] if chosen else jax.local_devices()[: len(names)]
    cpu = home.platform == "cpu"
    if len(devices) < 2:
        return run(ALONE._replace(parts=_parts(names, cpu)), *trees)
    stop = threading.Event()

    def alive() -> None:
        if stop.is_set():
            raise CancelledError

    def at(number: int) -> dict[Name, Result]:
        share = names[number :: len(devices)]
        place = Place(_parts(share, cpu), alive, len(devices) if cpu else 1)
        with jax.default_device(devices[number]):
            return run(place, *jax.tree.map(_to(devices[number]), trees))

    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            done = as_completed([pool.submit(at, i) for i in range(len(devices))])
            results = [future.result() for future in done]
        except BaseException:
            stop.set()
            raise
    found = {name: result for part in results for name, result in part.items()}
    return {name: jax.tree.map(_free, found[name]) for name in names}


def _parts(names: Sequence[Name], cpu: bool) -> list[list[Name]]:
    return [[name] for name in names] if cpu else [list(names)]


def _to(device: Any) -> Callable[[Any], Any]:
    def put(leaf: Any) -> Any:
        array = isinstance(leaf, (jax.Array, np.ndarray))
        return jax.device_put(leaf, device) if array else leaf

    return put


def _free(leaf: Any) -> Any:
    """Returns an array that is bound to no device."""
    return jnp.asarray(jax.device_get(leaf)) if isinstance(leaf, jax.Array) else leaf
