"""What every doctest may take for granted, and what makes tests compile faster."""

import os

import jax
import jax.numpy as jnp
import pytest

# XLA's older way to compile loops on a CPU, with few optimisations: thousands of
# small programs take half the time. (With none, level 0, a training step gives nan.)
# Processes that the tests start have these flags as well.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false "
    "--xla_backend_optimization_level=1"
)


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict) -> None:
    doctest_namespace.update(jax=jax, jnp=jnp)
