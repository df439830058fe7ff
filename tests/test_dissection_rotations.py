"""Powers of rotations against SciPy and stored ones, and the laws of such powers."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.linalg

from symjax_lib.dissection import random_rotation, rotation_power

SIZES = (1, 2, 3, 4, 7, 16, 33, 65)


@pytest.mark.parametrize("n", SIZES)
def test_random_rotations_are_rotations(n):
    for key in jax.random.split(jax.random.key(n), 4):
        q = np.asarray(random_rotation(key, n), float)
        np.testing.assert_allclose(q.T @ q, np.eye(n), atol=2e-6)
        assert np.linalg.det(q) > 0


def test_random_rotations_are_uniform():
    """Of SO(3) the trace has mean 0 and variance 1, as that of every row's entries."""
    q = jax.vmap(lambda key: random_rotation(key, 3))(
        jax.random.split(jax.random.key(0), 4000)
    )
    traces = jnp.trace(q, axis1=1, axis2=2)
    assert abs(traces.mean()) < 4 / 4000**0.5
    assert abs((traces**2).mean() - 1) < 0.1
    np.testing.assert_allclose((q**2).mean(axis=0), np.full((3, 3), 1 / 3), atol=0.02)
    # One entry of a rotation of the plane's normal is uniform between -1 and 1.
    quantiles = jnp.quantile(q[:, 0, 0], jnp.array([0.25, 0.5, 0.75]))
    np.testing.assert_allclose(quantiles, [-0.5, 0, 0.5], atol=0.06)


@pytest.mark.parametrize("n", SIZES)
def test_laws(n):
    q = random_rotation(jax.random.key(n), n)
    alpha = jnp.array([0, 0.3, 0.5, 0.8, 1])
    powers = np.asarray(rotation_power(q, alpha), float)
    assert powers.shape == (5, n, n)
    assert (powers[0] == np.eye(n)).all()
    np.testing.assert_allclose(powers[4], q, atol=1e-6)
    np.testing.assert_allclose(powers[1] @ powers[2], powers[3], atol=1e-6)
    products = np.swapaxes(powers, 1, 2) @ powers
    np.testing.assert_allclose(
        products, np.broadcast_to(np.eye(n), products.shape), atol=1e-6
    )
    # No plane turns by more than half a circle, so that no path is shorter.
    angles = np.abs(np.angle(np.linalg.eigvals(powers[2]))).max()
    assert angles <= np.pi / 2 + 1e-6


@pytest.mark.parametrize("n", [2, 3, 7, 16, 33])
def test_powers_are_those_of_scipy_and_stored_ones(n):
    stored = oracles.load("rotation_powers")[f"n{n}"]
    q = stored["Q"]
    for alpha in (0.1, 0.25, 0.5, 0.75, 1):
        found = np.asarray(rotation_power(q, alpha))
        np.testing.assert_allclose(found, stored[f"alpha{alpha:g}"], atol=2e-6)
        expected = np.real(scipy.linalg.fractional_matrix_power(q, alpha))
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("ones", [0, 1, 3])
@pytest.mark.parametrize("turned", [2, 4])
def test_half_turns(ones, turned):
    """Where -1 is an eigenvalue there are many shortest paths; ours is one of them."""
    basis = random_rotation(jax.random.key(5), ones + turned)
    diagonal = jnp.concatenate([jnp.ones(ones), -jnp.ones(turned)])
    q = (basis * diagonal) @ basis.T
    half = np.asarray(rotation_power(q, 0.5), float)
    np.testing.assert_allclose(half @ half, q, atol=2e-6)
    np.testing.assert_allclose(half.T @ half, np.eye(len(half)), atol=2e-6)
    third = np.asarray(rotation_power(q, 1 / 3), float)
    # Each plane turns by a third of a half turn, so the trace tells the length.
    np.testing.assert_allclose(np.trace(third), ones + turned * 0.5, atol=1e-5)


def test_close_and_equal_angles():
    """Planes that turn equally have no basis of their own, and need none."""
    basis = random_rotation(jax.random.key(6), 6)
    angles = jnp.array([0.7, 0.7, 0.7 + 1e-5])
    blocks = [
        jnp.array([[jnp.cos(a), -jnp.sin(a)], [jnp.sin(a), jnp.cos(a)]]) for a in angles
    ]
    q = basis @ jax.scipy.linalg.block_diag(*blocks) @ basis.T
    half = np.asarray(rotation_power(q, 0.5), float)
    np.testing.assert_allclose(half @ half, q, atol=2e-6)
    np.testing.assert_allclose(np.trace(half), 2 * np.cos(angles / 2).sum(), atol=1e-5)


def test_errors():
    with pytest.raises(ValueError, match=r"q must be square, got \(2, 3\)"):
        rotation_power(np.ones((2, 3)), 0.5)
    with pytest.raises(ValueError, match="orthogonal; Q'Q differs from I by 3"):
        rotation_power(2 * np.eye(3), 0.5)
    with pytest.raises(ValueError, match="determinant -1"):
        rotation_power(np.diag([1.0, -1.0]), 0.5)


@pytest.mark.slow
def test_a_rotation_of_2048_units():
    q = random_rotation(jax.random.key(0), 2048)
    half = np.asarray(rotation_power(q, 0.5), float)
    np.testing.assert_allclose(half @ half, q, atol=1e-6)
    np.testing.assert_allclose(half.T @ half, np.eye(2048), atol=1e-6)
