"""What every doctest may take for granted."""

import jax
import jax.numpy as jnp
import pytest


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict) -> None:
    doctest_namespace.update(jax=jax, jnp=jnp)
