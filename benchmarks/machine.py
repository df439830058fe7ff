"""What the figures depend on, and how they are taken."""

import functools
import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def seconds(fn: Callable[[], Any], *, repeats: int = 1) -> list[float]:
    """Returns the wall times of calls, with their results waited for.

    Args:
      fn: without arguments; called once before, to compile.
      repeats: timed calls.
    """
    jax.block_until_ready(fn())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(fn())
        times.append(time.perf_counter() - start)
    return times


def peak_gflops(n: int = 2048) -> float:
    """Returns the highest speed of a float32 matrix product, in GF/s.

    Args:
      n: rows and columns of both factors.
    """
    a = jnp.ones((n, n))
    product = functools.partial(jax.jit(jnp.matmul), a, a)
    return 2 * n**3 / min(seconds(product, repeats=5)) / 1e9


def peak_memory_gib() -> float:
    """Returns the largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
