"""Relaxed permutations: the entropic and the Euclidean projection, and SoftSort."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy import optimize

from symjax_lib import assignment


def test_birkhoff_projection_is_that_of_the_oracles():
    for case in oracles.load("birkhoff_projection").values():
        found = assignment.birkhoff_projection(case["a"])
        np.testing.assert_allclose(found, case["projection"], atol=1e-5)
        with jax.enable_x64(True):
            found = assignment.birkhoff_projection(jnp.asarray(case["a"], jnp.float64))
        np.testing.assert_allclose(found, case["projection"], atol=1e-8)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_birkhoff_projection_is_the_closest_one(scale):
    """Against SciPy, and by the inequality that marks a projection."""
    a = scale * np.random.default_rng(0).normal(size=(5, 5))
    p = np.asarray(assignment.birkhoff_projection(a))
    sums = [np.kron(np.eye(5), np.ones(5)), np.kron(np.ones(5), np.eye(5))]
    best = optimize.lsq_linear(
        np.vstack([np.eye(25), *(1e4 * scale * rows for rows in sums)]),
        np.concatenate([a.ravel(), np.full(10, 1e4 * scale)]),
        bounds=(0, np.inf),
        tol=1e-14,
        max_iter=1000,
    )
    np.testing.assert_allclose(p.ravel(), best.x, atol=1e-4)
    for seed in range(20):
        corner = np.eye(5)[np.random.default_rng(seed).permutation(5)]
        assert np.sum((a - p) * (corner - p)) <= 1e-4 * scale
    scaled = assignment.sinkhorn(np.maximum(a, 0), iterations=1000)
    assert np.linalg.norm(a - p) < np.linalg.norm(a - scaled) - 1e-3 * scale


def test_birkhoff_projection_of_a_stack_and_of_its_own_points():
    stack = jax.random.normal(jax.random.key(0), (4, 6, 6))
    each = jnp.stack([assignment.birkhoff_projection(a) for a in stack])
    together = jax.vmap(assignment.birkhoff_projection)(stack)
    np.testing.assert_allclose(together, each, atol=1e-5)
    again = jax.vmap(assignment.birkhoff_projection)(each)
    np.testing.assert_allclose(again, each, atol=1e-5)
    permutation = jnp.eye(6)[jnp.array([2, 0, 1, 5, 4, 3])]
    found = assignment.birkhoff_projection(3 * permutation)
    np.testing.assert_allclose(found, permutation, atol=1e-5)
    assert assignment.birkhoff_projection(jnp.zeros((0, 0))).shape == (0, 0)


def test_log_sinkhorn_is_sinkhorn_of_the_exponentials():
    logits = jax.random.normal(jax.random.key(0), (8, 8))
    for iterations in (0, 1, 16):
        plain = assignment.sinkhorn(jnp.exp(logits), iterations=iterations)
        found = assignment.log_sinkhorn(logits, iterations=iterations)
        np.testing.assert_allclose(jnp.exp(found), plain, rtol=1e-5)
    sharp = jnp.exp(assignment.log_sinkhorn(1e4 * logits, iterations=2000))
    best = assignment.hungarian(logits)
    np.testing.assert_array_equal(sharp.argmax(axis=1), best)


def test_log_sinkhorn_is_the_entropic_projection():
    """Moves along the polytope do not raise the objective to first order."""
    logits = jax.random.normal(jax.random.key(1), (6, 6))
    log_p = assignment.log_sinkhorn(logits, iterations=500)
    p = jnp.exp(log_p)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    gradient = logits - log_p - 1
    for seed in range(5):
        noise = jax.random.normal(jax.random.key(seed), (6, 6))
        centred = noise - noise.mean(0) - noise.mean(1, keepdims=True) + noise.mean()
        assert abs(float(jnp.sum(gradient * centred))) < 1e-3
        assert abs(float(jnp.sum(gradient * noise))) > 1e-2
    slope = jax.grad(lambda x: jnp.exp(assignment.log_sinkhorn(x))[0, 0])(logits)
    assert np.isfinite(slope).all()
    assert float(jnp.abs(slope).max()) > 0.01


def test_softsort_is_that_of_the_oracles():
    for case in oracles.load("softsort").values():
        s = case["s"]
        for name, tau in {"1": 1.0, "0.1": 0.1, "1_over_n": 1 / len(s)}.items():
            found = assignment.softsort(s, tau=tau)
            np.testing.assert_allclose(found, case[f"tau_{name}"], atol=3e-6)
        order = assignment.softsort(s, tau=1e-3).argmax(axis=1)
        np.testing.assert_array_equal(order, case["argsort_descending"])


def test_softsort_of_equal_scores_chooses_a_column_twice():
    chosen = assignment.softsort(jnp.array([1.0, 2.0, 2.0]), tau=0.1).argmax(axis=1)
    assert sorted(set(chosen.tolist())) == [0, 1]


def test_errors():
    with pytest.raises(ValueError, match="must be square, got shape"):
        assignment.birkhoff_projection(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="log_sinkhorn: the matrix must be square"):
        assignment.log_sinkhorn(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="iterations must be 0 or more"):
        assignment.log_sinkhorn(jnp.zeros((2, 2)), iterations=-1)
    with pytest.raises(ValueError, match=r"scores must be \[n\]"):
        assignment.softsort(jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match="tau must be positive"):
        assignment.softsort(jnp.zeros(2), tau=0.0)
