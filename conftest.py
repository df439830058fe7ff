"""What every doctest may take for granted, and a fixture of tests that compile much."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict) -> None:
    doctest_namespace.update(jax=jax, jnp=jnp)


@pytest.fixture
def quick_to_compile() -> Iterator[None]:
    """For tests that spend their time on compiling many small programs."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
