"""The checks that our own tests use, for the tests of users."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib import groups, symmetry


def assert_group_laws(g: Any, h: Any, k: Any, *, tolerance: float = 1e-4) -> None:
    """Asserts that three elements obey the laws of a group and of an action.

    Inverse, associativity, products as products of matrices, and the action of a
    product as one action after the other.

    Args:
      g: an element that the verbs of `groups` know; so a type of your own can be tried.
      h: another one on as many channels.
      k: another one.
      tolerance: absolute, after division by the largest number in the comparison.

    Raises:
      AssertionError: a law fails.

    Example:
      >>> keys = jax.random.split(jax.random.key(0), 3)
      >>> assert_group_laws(*(groups.sample(key, "monomial", 5) for key in keys))
    """
    matrix, n = groups.as_matrix, groups.width(g)
    dense = matrix(g), matrix(h), matrix(k)
    identity = jnp.eye(n)
    left = groups.compose(groups.compose(g, h), k)
    right = groups.compose(g, groups.compose(h, k))
    x = jnp.linspace(-1.0, 2.0, 3 * n).reshape(3, n)
    once = groups.act(groups.compose(g, h), x)
    for law, actual, expected in (
        ("g g^-1 = 1", matrix(groups.compose(g, groups.inverse(g))), identity),
        ("g^-1 g = 1", matrix(groups.compose(groups.inverse(g), g)), identity),
        ("(g h) k = g (h k)", matrix(left), matrix(right)),
        ("matrix of g h", matrix(groups.compose(g, h)), dense[0] @ dense[1]),
        ("action of g", groups.act(g, x), x @ dense[0].T),
        ("action of g h", once, groups.act(g, groups.act(h, x))),
    ):
        _assert_close(law, actual, expected, tolerance)


def assert_preserves_function(
    key: jax.Array,
    fn: Callable,
    variables: Any,
    *inputs: Any,
    tolerance: float | None = None,
) -> symmetry.SymmetrySpec:
    """Asserts that a random symmetry of a function changes no output and all taps.

    It traces the function, acts with a random element on the variables, and compares
    the outputs, and every tap with what the action says that it becomes.

    Args:
      key: consumed.
      fn: any function `fn(variables, *inputs)`.
      variables: a pytree in general position; zeros and ones may hide an error.
      *inputs: real ones.
      tolerance: as in `symmetry.certify`.

    Returns:
      The specification, to look at what was found.

    Raises:
      AssertionError: an output or a tap is not what it should be, or no symmetry was
        found that could have failed.

    Example:
      >>> mlp = lambda v, x: jax.nn.relu(x @ v["in"]) @ v["out"]
      >>> v = {"in": jnp.eye(3, 4), "out": jnp.ones((4, 2))}
      >>> spec = assert_preserves_function(jax.random.key(0), mlp, v, jnp.eye(3))
      >>> spec.dimension
      4
    """
    spec = symmetry.trace(fn, variables, *inputs)
    if not spec.spaces:
        raise AssertionError(
            f"assert_preserves_function: no symmetry was found; fixed: {spec.fixed}."
        )
    g = symmetry.sample(key, spec)
    moved = symmetry.act(spec, g, variables)
    found = symmetry.certify(
        fn, variables, moved, *inputs, tolerance=tolerance, spec=spec, element=g
    )
    if not found.ok:
        raise AssertionError(f"assert_preserves_function: {found}")
    return spec


def _assert_close(
    what: str, actual: jax.Array, expected: jax.Array, tolerance: float
) -> None:
    size = float(jnp.abs(expected).max(initial=1e-30))
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * size, err_msg=what
    )
