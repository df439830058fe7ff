import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy.optimize import linear_sum_assignment

from symjax_lib import assignment


def total(score, columns):
    score = np.asarray(score, np.float64)
    assert sorted(np.asarray(columns).tolist()) == list(range(len(score)))
    return score[np.arange(len(score)), columns].sum()


def best(score, maximize=True):
    rows, columns = linear_sum_assignment(np.asarray(score), maximize=maximize)
    return np.asarray(score, np.float64)[rows, columns].sum()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 8, 17, 64, 256])
@pytest.mark.parametrize("maximize", [True, False])
def test_hungarian_has_the_cost_of_scipy(n, maximize):
    """Integers and ties too; the rows that the solver returns are not in order."""
    keys = jax.random.split(jax.random.key(n), 2)
    for score in (
        jax.random.normal(keys[0], (n, n)),
        jax.random.randint(keys[1], (n, n), 0, 4),
    ):
        found = assignment.hungarian(score, maximize=maximize)
        np.testing.assert_allclose(
            total(score, found), best(score, maximize), rtol=1e-6, atol=1e-5
        )


@pytest.mark.slow
def test_hungarian_has_the_cost_of_scipy_for_every_n_to_64():
    for n in range(65):
        score = np.random.default_rng(n).normal(size=(n, n)).astype(np.float32)
        found = assignment.hungarian(score)
        np.testing.assert_allclose(total(score, found), best(score), atol=1e-4)


def test_hungarian_against_all_permutations():
    for seed in range(20):
        score = jax.random.normal(jax.random.key(seed), (4, 4))
        everything = itertools.permutations(range(4))
        most = max(total(score, list(p)) for p in everything)
        found = total(score, assignment.hungarian(score))
        np.testing.assert_allclose(found, most, rtol=1e-6)


def test_hungarian_inside_jit_and_vmap():
    scores = jax.random.normal(jax.random.key(0), (30, 7, 7))
    solve = jax.jit(jax.vmap(chex.assert_max_traces(assignment.hungarian, n=1)))
    for batch in (scores, scores + 1):
        for score, found in zip(batch, solve(batch), strict=True):
            np.testing.assert_allclose(total(score, found), best(score), atol=1e-5)


def test_hungarian_refuses():
    with pytest.raises(ValueError, match=r"square matrix, got shape \(2, 3\)"):
        assignment.hungarian(jnp.ones((2, 3)))
    bad = jnp.ones((3, 3)).at[1, 1].set(jnp.nan)
    with pytest.raises(ValueError, match="not finite"):
        assignment.hungarian(bad)
    assert jax.jit(assignment.hungarian)(bad).tolist() == [3, 3, 3]


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
def test_sinkhorn_against_other_implementations(x64):
    with jax.enable_x64(x64):
        for name, case in oracles.load("sinkhorn").items():
            a = jnp.asarray(case["a"])
            for iterations in (1, 16, 100):
                found = assignment.sinkhorn(a, iterations=iterations)
                np.testing.assert_allclose(
                    found,
                    case[f"it{iterations}"],
                    atol=1e-12 if x64 else 1e-6,
                    err_msg=f"{name} {iterations}",
                )
            if x64 and name != "s3_zero_row8":  # there it is not unique
                rounded = assignment.hungarian(assignment.sinkhorn(a))
                np.testing.assert_array_equal(rounded, case["hungarian_of_it16"])


def test_sinkhorn_fixes_doubly_stochastic_matrices_and_ignores_diagonal_scalings():
    key, left, right = jax.random.split(jax.random.key(0), 3)
    a = jax.random.uniform(key, (6, 6)) + 0.1
    limit = assignment.sinkhorn(a, iterations=200)
    for axis in (0, 1):
        np.testing.assert_allclose(limit.sum(axis), 1, atol=1e-5)
    np.testing.assert_allclose(assignment.sinkhorn(limit), limit, atol=1e-5)
    scaled = a * jnp.exp(jax.random.normal(left, (6, 1)))
    scaled *= jnp.exp(jax.random.normal(right, (6,)))
    again = assignment.sinkhorn(scaled, iterations=200)
    np.testing.assert_allclose(again, limit, atol=1e-5)
    assert float(jnp.abs(assignment.sinkhorn(a.T, iterations=200) - limit).max()) > 0.01


def test_sinkhorn_has_finite_gradients_at_zeros():
    a = jnp.array([[0.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])
    gradient = jax.grad(lambda a: (assignment.sinkhorn(a) ** 2).sum())(a)
    assert jnp.isfinite(gradient).all()
    assert float(jnp.abs(gradient).max()) > 0


def test_sinkhorn_refuses():
    with pytest.raises(ValueError, match=r"square, got shape \(2, 3\)"):
        assignment.sinkhorn(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="negative or not finite"):
        assignment.sinkhorn(-jnp.eye(3))
    with pytest.raises(ValueError, match="0 or more, got -1"):
        assignment.sinkhorn(jnp.eye(3), iterations=-1)
