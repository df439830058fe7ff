"""One tolerance for each precision, times the size of the numbers that are added up."""

import jax.numpy as jnp
import numpy as np

TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


def assert_close(actual, expected, *, scale=1.0):
    actual = jnp.asarray(actual)
    atol = scale * TOLERANCE[actual.dtype.name]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)
