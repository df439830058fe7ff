"""What every doctest may take for granted, and what makes tests compile faster."""

import os
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest

# XLA's older way to compile loops on a CPU: the tests compile tens of thousands of
# small programs, in two thirds of the time. Processes that they start have it as well.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"
)


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict) -> None:
    doctest_namespace.update(jax=jax, jnp=jnp)


@pytest.fixture
def quick_to_compile() -> Iterator[None]:
    """For tests that spend their time on compiling many small programs."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
