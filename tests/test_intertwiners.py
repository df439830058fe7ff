import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax_lib import groups, intertwiners

TABLE = intertwiners.TABLE
ROWS = {
    **TABLE,
    "quadratic": intertwiners.polynomial(2),
    "leaky_0.5": intertwiners.leaky_relu(0.5),
    "leaky_-0.3": intertwiners.leaky_relu(-0.3),
}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def residual(row, matrix, image, x):
    """Largest error of sigma(A x) = phi(A) sigma(x), relative to its size."""
    left, right = row.sigma(matrix @ x), image @ row.sigma(x)
    return float(jnp.abs(left - right).max() / jnp.abs(left).max())


def points(n):
    return jax.random.normal(jax.random.key(1), (n, 40))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("n", [1, 5])
def test_equation_holds_inside_the_group(name, n):
    row = ROWS[name]
    for seed in range(5):
        g = groups.sample(jax.random.key(seed), row.kind, n)
        image = groups.as_matrix(row.phi(g))
        assert residual(row, groups.as_matrix(g), image, points(n)) < 1e-13


@pytest.mark.parametrize("name", [name for name in ROWS if name != "identity"])
def test_equation_fails_outside_the_group(name):
    """For orthogonal matrices, and for scales that the kind excludes, whatever B is."""
    row, n = ROWS[name], 5
    outside = [groups.sample(jax.random.key(0), "orthogonal", n)]
    if row.kind in ("permutation", "signed_permutation"):
        outside.append(groups.sample(jax.random.key(0), "positive_monomial", n))
    if row.kind in ("permutation", "positive_monomial"):
        outside.append(groups.Monomial(groups.identity("permutation", n), -jnp.ones(n)))
    for g in outside:
        matrix, x = groups.as_matrix(g), points(n)
        # The best B of all, by least squares.
        left, right = row.sigma(matrix @ x), row.sigma(x)
        best = jnp.linalg.lstsq(right.T, left.T)[0].T
        assert residual(row, matrix, best, x) > 1e-2
        image = intertwiners.phi(row.sigma, matrix)
        assert residual(row, matrix, image, x) > 1e-2


@pytest.mark.parametrize("name", ROWS)
def test_lemma_3_1_gives_phi(name):
    row, n = ROWS[name], 5
    g = groups.sample(jax.random.key(2), row.kind, n)
    matrix = intertwiners.phi(row.sigma, groups.as_matrix(g))
    np.testing.assert_allclose(matrix, groups.as_matrix(row.phi(g)), atol=1e-12)


@pytest.mark.parametrize("n", [2, 5])
def test_lemma_3_1_is_the_dense_formula(n):
    a = jax.random.normal(jax.random.key(0), (n, n))
    for row in ROWS.values():
        dense = row.sigma(a) @ np.linalg.inv(row.sigma(jnp.eye(n)))
        np.testing.assert_allclose(intertwiners.phi(row.sigma, a), dense, atol=1e-11)


@pytest.mark.parametrize("name", ROWS)
def test_phi_is_a_homomorphism(name):
    row = ROWS[name]
    g, h = (groups.sample(jax.random.key(i), row.kind, 5) for i in range(2))
    left = row.phi(groups.compose(g, h))
    right = groups.compose(row.phi(g), row.phi(h))
    np.testing.assert_allclose(
        groups.as_matrix(left), groups.as_matrix(right), rtol=1e-12, atol=1e-14
    )


def test_phi_of_a_tracer():
    g = groups.sample(jax.random.key(0), "positive_monomial", 5)
    image = jax.jit(TABLE["relu"].phi)(g)
    np.testing.assert_allclose(image.scale, g.scale)


def test_outside_elements_are_refused():
    negative = groups.Monomial(groups.identity("permutation", 2), jnp.array([1.0, -2]))
    with pytest.raises(ValueError, match="whose scales are positive; got -2"):
        TABLE["relu"].phi(negative)
    with pytest.raises(ValueError, match="1 or -1; got -2"):
        TABLE["gaussian_rbf"].phi(negative)
    with pytest.raises(TypeError, match="group is permutation, got Monomial"):
        TABLE["sigmoid"].phi(negative)
    with pytest.raises(TypeError, match="got General"):
        TABLE["relu"].phi(groups.General(jnp.eye(2)))
    with pytest.raises(ValueError, match="slope 1 is the identity"):
        intertwiners.leaky_relu(1)
    with pytest.raises(ValueError, match="at least 2, got 1"):
        intertwiners.polynomial(1)


def test_phi_of_one_channel_and_of_whole_numbers():
    """I_1 has no zero in it, so sigma(0) does not matter."""
    one = jnp.array([[3.0]])
    assert intertwiners.phi(lambda x: x**2 - x + 1, one).tolist() == [[7.0]]
    with pytest.raises(ValueError, match="singular for n = 1"):
        intertwiners.phi(lambda x: x - 1, one)
    whole = intertwiners.phi(jax.nn.relu, jnp.array([[0, 3], [2, 0]]))
    assert whole.tolist() == [[0.0, 3.0], [2.0, 0.0]]


def test_singular_sigma_of_identity():
    """By (E.8): sigma(1) = sigma(0), or sigma(1) = -(n - 1) sigma(0)."""
    with pytest.raises(ValueError, match="singular for n = 3"):
        intertwiners.phi(lambda x: x * (1 - x) + 1, jnp.eye(3))
    minus = lambda x: 1 - 3 * x  # sigma(0) = 1, sigma(1) = -2: singular for n = 3 only
    with pytest.raises(ValueError, match="singular for n = 3"):
        intertwiners.phi(minus, jnp.eye(3))
    intertwiners.phi(minus, jnp.eye(2))
    with pytest.raises(ValueError, match=r"square matrix, got shape \(2, 3\)"):
        intertwiners.phi(jax.nn.relu, jnp.ones((2, 3)))
