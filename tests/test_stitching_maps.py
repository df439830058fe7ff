"""The classes of stitch, without networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax_lib import assignment, groups, stitching
from symjax_lib.stitching.polytopes import RELAXATIONS

N = 6
KEY = jax.random.key(0)
WITH_PERMUTATION = {
    **{f"g_relu, {r}": stitching.g_relu(N, relaxation=r) for r in RELAXATIONS},
    **{
        f"permutation, {r}": stitching.permutation(N, relaxation=r) for r in RELAXATIONS
    },
    "signed": stitching.signed_permutation(N),
    "signed, euclidean": stitching.signed_permutation(N, relaxation="euclidean"),
    "monomial": stitching.monomial(N),
    "softsort": stitching.softsort(N, tau=0.1),
}
LINEAR = {
    "full": stitching.full(N),
    "low rank": stitching.low_rank(N, 2),
    "lasso": stitching.lasso(N),
    "orthogonal": stitching.orthogonal(N),
    **WITH_PERMUTATION,
}


def matrix_of(stitch, params):
    return np.asarray(stitching.as_matrix(stitch, params, N))


def moved(stitch, seed=1):
    """Parameters after a large random step."""
    params = stitch.init(KEY)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    noise = [
        leaf + 0.3 * jax.random.normal(key, leaf.shape) if leaf.ndim else leaf
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return stitch.project(jax.tree.unflatten(tree, noise))


@pytest.mark.parametrize("name", LINEAR)
def test_a_stitch_is_its_matrix_on_the_last_axis(name):
    stitch = LINEAR[name]
    x = jax.random.normal(KEY, (2, 3, 3, N))
    for params in (stitch.init(KEY), moved(stitch), stitch.finalize(moved(stitch))):
        expected = np.einsum("mn,...n->...m", matrix_of(stitch, params), x)
        np.testing.assert_allclose(stitch.apply(params, x), expected, atol=1e-5)
        assert np.shape(stitch.penalty(params)) == ()


@pytest.mark.parametrize("name", WITH_PERMUTATION)
def test_final_maps_are_in_their_group(name):
    stitch = WITH_PERMUTATION[name]
    for seed in range(3):
        params = moved(stitch, seed)
        final = matrix_of(stitch, stitch.finalize(params))
        nonzero = final != 0
        if "softsort" not in name:
            zero = np.asarray(params.get("scale", jnp.ones(N))) == 0
            np.testing.assert_array_equal(nonzero.sum(axis=0), 1 - zero)
        assert (nonzero.sum(axis=1) <= 1).all()
        sizes = np.abs(final[nonzero])
        if "permutation" in name or "signed" in name:
            np.testing.assert_allclose(sizes, 1, rtol=1e-6)
        if "signed" not in name and "monomial" not in name:
            assert (final >= 0).all()
        again = matrix_of(stitch, stitch.finalize(stitch.finalize(params)))
        np.testing.assert_allclose(again, final, atol=1e-6)


@pytest.mark.parametrize("name", RELAXATIONS)
def test_relaxed_matrices_are_doubly_stochastic(name):
    stitch = stitching.permutation(N, relaxation=name)
    for params in (stitch.init(KEY), moved(stitch)):
        matrix = matrix_of(stitch, params)
        np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-4)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=0.05)
        assert matrix.min() >= -1e-6


def test_projections_are_those_of_assignment():
    raw = jax.random.normal(KEY, (N, N))
    project = lambda name: stitching.permutation(N, relaxation=name).project(
        {"matrix": raw}
    )["matrix"]
    scaled = assignment.sinkhorn(jax.nn.relu(raw), iterations=16)
    np.testing.assert_array_equal(project("sinkhorn"), scaled)
    np.testing.assert_allclose(
        project("euclidean"), assignment.birkhoff_projection(raw), atol=1e-6
    )
    entropic = stitching.permutation(N, relaxation="entropic")
    np.testing.assert_allclose(
        matrix_of(entropic, {"matrix": raw}),
        jnp.exp(assignment.log_sinkhorn(raw)),
        atol=1e-6,
    )
    # The step back keeps what is applied, and only takes constants off the logarithms.
    np.testing.assert_allclose(
        matrix_of(entropic, {"matrix": project("entropic")}),
        matrix_of(entropic, {"matrix": assignment.log_sinkhorn(raw, iterations=32)}),
        atol=2e-3,
    )


def test_straight_through_applies_a_permutation_and_has_a_gradient():
    stitch = stitching.permutation(N, relaxation="straight_through", alpha=0.0)
    params, x = moved(stitch), jax.random.normal(KEY, (4, N))
    best = groups.Permutation(assignment.hungarian(params["matrix"]))
    np.testing.assert_allclose(stitch.apply(params, x), groups.act(best, x), atol=1e-5)
    gradient = jax.grad(lambda p: (stitch.apply(p, x) ** 3).sum())(params)["matrix"]
    dense = lambda m: ((x @ m.T) ** 3).sum()
    expected = jax.grad(dense)(groups.as_matrix(best))
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-3)


def test_low_rank_orthogonal_and_lasso():
    low = stitching.low_rank(N, 2)
    assert np.linalg.matrix_rank(matrix_of(low, moved(low)), tol=1e-5) == 2
    rotation = stitching.orthogonal(N)
    start, after = (
        matrix_of(rotation, p) for p in (rotation.init(KEY), moved(rotation))
    )
    np.testing.assert_allclose(after @ after.T, np.eye(N), atol=1e-5)
    same = rotation.project({"matrix": jnp.asarray(start)})["matrix"]
    np.testing.assert_allclose(same, start, atol=1e-5)
    near = rotation.project({"matrix": jnp.asarray(start) + 1e-3})["matrix"]
    assert np.linalg.det(near) == pytest.approx(np.linalg.det(start), abs=1e-4)
    params = {"matrix": jnp.array([[1.0, -2.0], [0.0, 5e-4]])}
    assert float(stitching.lasso(2, 0.1).penalty(params)) == pytest.approx(0.30005)
    assert float(stitching.sparsity(params["matrix"])) == 0.5
    assert float(stitching.full(2, decay=0.5).penalty(params)) == pytest.approx(1.25)


def test_maps_between_different_widths():
    x = jax.random.normal(KEY, (2, 4, 4, N))
    for stitch in (
        stitching.full(N, 9),
        stitching.affine(N, 9),
        stitching.low_rank(N, 2, 9),
        stitching.lasso(N, 1e-2, 9),
    ):
        assert stitch.apply(stitch.init(KEY), x).shape == (2, 4, 4, 9)


def test_the_class_of_an_activation():
    expected = {
        jax.nn.relu: stitching.g_relu,
        jax.nn.gelu: stitching.permutation,
        jax.nn.sigmoid: stitching.permutation,
        jnp.tanh: stitching.signed_permutation,
        jnp.cos: stitching.permutation,  # even: signs are lost behind it
        jnp.square: stitching.g_relu,  # phi(D) is D squared
        lambda x: x**3: stitching.monomial,
    }
    for sigma, make in expected.items():
        assert stitching.of_activation(sigma, N) is make(N)
    with pytest.raises(ValueError, match="this activation is linear"):
        stitching.of_activation(lambda x: 2 * x, N)


@pytest.mark.parametrize(
    "kind", ["permutation", "positive_monomial", "signed_permutation", "monomial"]
)
def test_matching_finds_a_planted_element(kind):
    x = jax.nn.relu(jax.random.normal(KEY, (50, 3, 3, N)) + 0.3)
    g = groups.sample(jax.random.key(5), kind, N)
    found = stitching.matching(x, groups.act(g, x), kind=kind)
    np.testing.assert_allclose(groups.as_matrix(found), groups.as_matrix(g), rtol=1e-4)
    start = stitching.of_element(found)
    stitch = {
        "permutation": stitching.permutation,
        "positive_monomial": stitching.g_relu,
        "signed_permutation": stitching.signed_permutation,
        "monomial": stitching.monomial,
    }[kind](N)
    params = {k: v for k, v in start.items() if k in stitch.init(KEY)}
    np.testing.assert_allclose(
        stitch.apply(stitch.finalize(params), x), groups.act(g, x), rtol=1e-4, atol=1e-4
    )


def test_matching_leaves_dead_channels_alone():
    x = jnp.array([[1.0, 0.0, 2.0], [0.0, 0.0, 5.0], [3.0, 0.0, 1.0]])
    found = stitching.matching(x, x[:, jnp.array([2, 1, 0])])
    assert isinstance(found, groups.Monomial)
    assert found.permutation.indices.tolist() == [2, 1, 0]
    np.testing.assert_allclose(found.scale, 1, rtol=1e-6)


def test_least_squares_is_that_of_numpy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(70_000, N)) + 5.0
    y = x @ rng.normal(size=(N, 4)) + 3.0 + rng.normal(size=(70_000, 4))
    expected = np.linalg.lstsq(x, y)[0].T
    found = stitching.least_squares(x.astype(np.float32), y.astype(np.float32))
    np.testing.assert_allclose(found["matrix"], expected, atol=1e-4)
    with_one = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    expected = np.linalg.lstsq(with_one, y)[0].T
    found = stitching.least_squares(
        x.astype(np.float32), y.astype(np.float32), bias=True
    )
    np.testing.assert_allclose(found["matrix"], expected[:, :-1], atol=1e-4)
    np.testing.assert_allclose(found["bias"], expected[:, -1], atol=1e-3)
    stitch = stitching.affine(N, 4)
    residual = stitch.apply(found, jnp.asarray(x, jnp.float32)) - y
    assert float(jnp.abs(residual.mean())) < 1e-3


def test_least_squares_of_dead_and_equal_channels_is_the_smallest():
    x = np.random.default_rng(0).normal(size=(40, 4))
    x[:, 1], x[:, 3] = 0.0, x[:, 2]
    found = stitching.least_squares(x, x[:, :1] + 2 * x[:, 2:3])["matrix"]
    np.testing.assert_allclose(found, [[1.0, 0.0, 1.0, 1.0]], atol=1e-4)


def test_errors():
    with pytest.raises(ValueError, match="the rank must be from 1 to 6"):
        stitching.low_rank(N, 7)
    with pytest.raises(ValueError, match="no relaxation 'simplex' here; there are"):
        stitching.g_relu(N, relaxation="simplex")
    with pytest.raises(ValueError, match="there are sinkhorn, euclidean"):
        stitching.monomial(N, relaxation="entropic")
    with pytest.raises(ValueError, match="the penalty must not be negative"):
        stitching.lasso(N, -1.0)
    x = jnp.ones((5, N))
    with pytest.raises(ValueError, match="x has 6 channels and y 5"):
        stitching.matching(x, x[:, 1:])
    with pytest.raises(ValueError, match="no kind 'full'; there are permutation"):
        stitching.matching(x, x, kind="full")
    with pytest.raises(ValueError, match="may differ in the last axis only"):
        stitching.least_squares(x, x[1:])
    with pytest.raises(ValueError, match="the features are not finite"):
        stitching.least_squares(x, x * jnp.nan)
    with pytest.raises(ValueError, match="there are no features"):
        stitching.least_squares(x[:0], x[:0])
