import flax.linen as nn
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
@pytest.mark.parametrize("n", [1, 2, 5])
def test_equation_holds_inside_the_group(name, n):
    row = ROWS[name]
    for seed in range(5):
        g = groups.sample(jax.random.key(seed), row.kind, n)
        image = groups.as_matrix(row.phi(g))
        assert residual(row, groups.as_matrix(g), image, points(n)) < 1e-13


@pytest.mark.parametrize("name", [name for name in ROWS if name != "identity"])
@pytest.mark.parametrize("n", [2, 5])
def test_equation_fails_outside_the_group(name, n):
    """For orthogonal matrices, and for scales that the kind excludes, whatever B is."""
    row = ROWS[name]
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
@pytest.mark.parametrize("n", [2, 5])
def test_lemma_3_1_gives_phi(name, n):
    row = ROWS[name]
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
    g, h = (groups.sample(jax.random.key(i), row.kind, 4) for i in range(2))
    left = row.phi(groups.compose(g, h))
    right = groups.compose(row.phi(g), row.phi(h))
    np.testing.assert_allclose(
        groups.as_matrix(left), groups.as_matrix(right), rtol=1e-12, atol=1e-14
    )


def test_phi_of_a_tracer():
    g = groups.sample(jax.random.key(0), "positive_monomial", 3)
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


def test_phi_of_a_classification_refuses_what_is_outside():
    negative = groups.Monomial(groups.identity("permutation", 2), jnp.array([-1.0, 2]))
    relu = intertwiners.classify(jax.nn.relu)
    with pytest.raises(ValueError, match="whose scales are positive; got -1"):
        relu.phi(negative)
    with pytest.raises(TypeError, match="got General"):
        relu.phi(groups.General(jnp.eye(2)))
    with pytest.raises(TypeError, match="group is permutation, got Monomial"):
        intertwiners.classify(jax.nn.sigmoid).phi(negative)


def test_classify_looks_at_zero():
    step = lambda x: jnp.where(x >= 0, 1.0, -1.0)
    found = intertwiners.classify(step)
    assert (found.kind, found.exponent, found.parity) == ("positive_monomial", 0, None)
    assert found.evidence["odd"].witness == 0
    hole = intertwiners.classify(lambda x: jnp.where(x == 0, 5.0, jnp.abs(x)))
    assert (hole.kind, hole.parity) == ("signed_permutation", "even")
    assert intertwiners.classify(jnp.sign).kind == "monomial"
    with pytest.raises(ValueError, match="complex"):
        intertwiners.classify(lambda x: x * 1j)
    with pytest.raises(ValueError, match="returned float32 for float64"):
        intertwiners.classify(lambda x: jax.nn.relu(x).astype(jnp.float32))
    with pytest.raises(ValueError, match="not elementwise"):
        intertwiners.classify(jax.nn.softmax)


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


# Expected by the theorem: homogeneous or not, odd or even or neither.
CLASSES = {
    "relu": (jax.nn.relu, "positive_monomial", 1, None),
    "leaky_relu": (jax.nn.leaky_relu, "positive_monomial", 1, None),
    "almost linear": (
        lambda x: jax.nn.leaky_relu(x, 0.999),
        "positive_monomial",
        1,
        None,
    ),
    "squared relu": (lambda x: jax.nn.relu(x) ** 2, "positive_monomial", 2, None),
    "square": (jnp.square, "monomial", 2, "even"),
    "cube": (lambda x: x**3, "monomial", 3, "odd"),
    "abs": (jnp.abs, "monomial", 1, "even"),
    "cbrt": (jnp.cbrt, "monomial", 1 / 3, "odd"),
    "tanh": (jnp.tanh, "signed_permutation", None, "odd"),
    "cos": (jnp.cos, "signed_permutation", None, "even"),
    "gaussian": (TABLE["gaussian_rbf"].sigma, "signed_permutation", None, "even"),
    "linear": (lambda x: -3 * x, "general_linear", 1, "odd"),
    "affine": (lambda x: x + 2, "permutation", None, None),
    "sigmoid": (jax.nn.sigmoid, "permutation", None, None),
    "gelu": (nn.gelu, "permutation", None, None),
    "relu6": (jax.nn.relu6, "permutation", None, None),
    "steep softplus": (
        lambda x: jax.nn.softplus(1e6 * x) / 1e6,
        "permutation",
        None,
        None,
    ),
    "nearly relu": (lambda x: jax.nn.elu(x, 1e-9), "permutation", None, None),
    "shifted relu": (lambda x: jax.nn.relu(x - 1), "permutation", None, None),
}


@pytest.mark.parametrize("name", CLASSES)
def test_classifier(name):
    sigma, kind, exponent, parity = CLASSES[name]
    found = intertwiners.classify(sigma)
    assert (found.kind, found.parity) == (kind, parity)
    assert found.exponent == pytest.approx(exponent)
    if kind != "permutation":
        g = groups.sample(jax.random.key(0), kind, 3)
        matrix, image = groups.as_matrix(g), groups.as_matrix(found.phi(g))
        x = points(3)
        np.testing.assert_allclose(sigma(matrix @ x), image @ sigma(x), atol=1e-12)


def test_classifier_refuses_constants():
    with pytest.raises(ValueError, match="the function is constant, 2"):
        intertwiners.classify(lambda x: 0 * x + 2)
    with pytest.raises(ValueError, match="finite at no point"):
        intertwiners.classify(lambda x: x / 0)
