"""Kernels and measures beside the paper's two, against NumPy, SciPy and brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from thinned import some

from symjax_lib import groups, similarity

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 12, 2, 3, 5)) + 3
FLAT = X.reshape(12, -1)


@pytest.fixture(autouse=True)
def _precise():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_median_kernel(channels):
    """One pair after the other, the lower of two middle ones."""
    x = X[..., :channels]
    expected = [
        [sorted((a * b).sum((0, 1)))[(channels - 1) // 2] for a in x] for b in x
    ]
    np.testing.assert_allclose(similarity.median_gram(x), expected, rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"fraction": 0.3}, {"sigma": 4.0}])
def test_gaussian_kernel(options):
    squares = cdist(FLAT, FLAT, "sqeuclidean")
    width = options.get("fraction", 1) ** 2 * np.median(squares)
    width = options.get("sigma", width**0.5) ** 2
    expected = np.exp(-squares / (2 * width))
    found = similarity.rbf_gram(X, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("options", [{}, {"fraction": 0.3}, {"sigma": 9.0}])
def test_laplace_kernel(options):
    distances = cdist(FLAT, FLAT, "cityblock")
    width = options.get("fraction", 1) * np.median(distances)
    expected = np.exp(-distances / options.get("sigma", width))
    found = similarity.laplace_gram(X, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_laplace_kernel_is_positive_definite_and_the_max_kernel_is_not():
    """Remark 5.5, and its three vectors."""
    laplace = similarity.laplace_gram(X, sigma=1.0)
    assert float(jnp.linalg.eigvalsh(laplace).min()) > 0
    vectors = jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert float(jnp.linalg.eigvalsh(similarity.max_gram(vectors)).min()) < -0.1


@pytest.mark.parametrize("kernel", [similarity.rbf_gram, similarity.laplace_gram])
def test_widths(kernel):
    for name in ("fraction", "sigma"):
        with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
            kernel(X, **{name: 0.0})
    # Most samples are equal: there is no median distance, and so no kernel.
    same = X[[0] * 9 + [1, 2, 3]]
    assert jnp.isnan(kernel(same)).any()
    assert jnp.isfinite(kernel(same, sigma=1.0)).all()


def test_samples_that_are_equal_have_similarity_1():
    """Exactly, and in float32 with a mean that is large against the differences."""
    twice = jnp.asarray(np.concatenate([X, X]) + 1e3, jnp.float32)
    for kernel in (similarity.rbf_gram, similarity.laplace_gram):
        gram = kernel(twice)
        assert (jnp.diagonal(gram) == 1).all()
        np.testing.assert_allclose(jnp.diagonal(gram, 12), 1, atol=1e-5)
        exact = kernel(jnp.asarray(twice, jnp.float64))
        np.testing.assert_allclose(gram, exact, atol=1e-4)


@pytest.mark.parametrize(
    "x64", some([True, False], every=2), ids=["float64", "float32"]
)
def test_gaussian_cka_of_other_implementations(x64):
    """Widths as fractions of the median distance, and given."""
    atol = 1e-9 if x64 else 1e-5
    dtype = jnp.float64 if x64 else jnp.float32
    for name, case in oracles.load("cka_dense").items():
        x, y = (jnp.asarray(case[side], dtype) for side in "xy")
        for debiased in (False, True):
            end = "debiased" if debiased else "biased"
            for field, options in {
                **{f"rbf_thr{t}": {"fraction": float(t)} for t in ("0.2", "0.5", "1")},
                **{f"rbf_sigma{s}": {"sigma": float(s)} for s in (1, 3)},
            }.items():
                found = similarity.rbf_cka(x, y, debiased=debiased, **options)
                expected = case[f"{field}_{end}"]
                message = f"{name} {field} {end}"
                np.testing.assert_allclose(found, expected, atol=atol, err_msg=message)


def normalised(z):
    flat = z.reshape(-1, z.shape[-1])
    return flat / np.linalg.norm(flat)


@pytest.mark.parametrize("signs", [False, True])
def test_permutations_by_brute_force(signs):
    """Against all orders, and signs, of 4 channels."""
    x, y = (normalised(z[..., :4]) for z in (X, -Y))
    fn = similarity.permutation_procrustes
    if signs:
        fn = similarity.signed_permutation_procrustes
    choices = list(itertools.product([1, -1], repeat=4)) if signs else [(1,) * 4]
    least = min(
        np.linalg.norm(x - y[:, order] * choice)
        for order in itertools.permutations(range(4))
        for choice in choices
    )
    out = fn(X[..., :4], -Y[..., :4])
    np.testing.assert_allclose(out.distance, least, rtol=1e-12)
    np.testing.assert_allclose(out.similarity, 1 - least / 2, rtol=1e-12)
    moved = groups.act(out.element, jnp.asarray(y))
    np.testing.assert_allclose(np.linalg.norm(x - moved), least, rtol=1e-12)


def test_signed_permutations_by_scipy():
    """On 5 channels: the assignment of absolute values, and planted elements."""
    x, y = normalised(X), normalised(Y)
    score = np.abs(x.T @ y)
    total = score[linear_sum_assignment(score, maximize=True)].sum()
    out = similarity.signed_permutation_procrustes(X, Y)
    np.testing.assert_allclose(out.distance, np.sqrt(2 - 2 * total), rtol=1e-10)
    g = groups.sample(jax.random.key(0), "signed_permutation", 5)
    element = similarity.signed_permutation_procrustes(X, groups.act(g, X)).element
    undone = groups.as_matrix(groups.compose(element, g))
    np.testing.assert_array_equal(undone, np.eye(5))


def test_a_larger_group_comes_closer():
    """Orthogonal maps contain signs, which contain orders."""
    distances = [
        float(fn(X, Y).distance)
        for fn in (
            similarity.orthogonal_procrustes,
            similarity.signed_permutation_procrustes,
            similarity.permutation_procrustes,
        )
    ]
    assert distances == sorted(distances)
    assert distances[0] < distances[-1]


@pytest.mark.parametrize("samples", [256, 300, 700])
def test_the_max_kernel_in_tiles_is_the_maximum_over_channels(samples):
    """256 is one tile; 300 and 700 have more, the last ones smaller."""
    x = jax.random.normal(jax.random.key(samples), (samples, 2, 3))
    gram = np.asarray(similarity.max_gram(x))
    expected = np.einsum("ipc,jpc->ijc", np.float64(x), np.float64(x)).max(axis=-1)
    np.testing.assert_allclose(gram, expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(gram, gram.T)


@pytest.mark.parametrize("shape", [(300, 2, 2, 5), (270, 3, 6), (40, 7)])
def test_max_gram_of_unit_channels_by_itself(shape):
    """Large, small and constant ones, a far offset, and one that moves by an ulp."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    x[..., 0] = 1e6 + x[..., 0]
    x[..., 1] = 7.0
    x[..., 2] *= 1e-30
    x[..., 3] *= 1e34
    x[..., 4] = 0.1
    x[-1, ..., 4] = np.nextafter(np.float32(0.1), np.float32(1))
    x = jnp.asarray(x, jnp.float32)
    unit = similarity.unit_channels(x, center=True)
    flat = np.asarray(x, np.longdouble).reshape(-1, shape[-1])
    flat = flat - flat.mean(0)
    norms = np.sqrt((flat**2).sum(0))
    flat = flat / np.where(norms > 0, norms, 1)
    largest = np.abs(flat).max(0) + (norms == 0)
    error = np.abs(np.asarray(unit).reshape(flat.shape) - flat)
    assert (error <= 1e-6 * largest).all()
    got = similarity.max_gram(x, unit=True)
    np.testing.assert_allclose(got, similarity.max_gram(unit), atol=1e-6)
    parts = np.float64(flat.reshape(shape[0], -1, shape[-1]))
    expected = np.einsum("ipc,jpc->ijc", parts, parts).max(-1)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_unit_channels_at_the_ends_of_float32():
    x = jnp.array([[3e38, 2e-38, 0.0], [-3e38, 2e-38, 0.0]], jnp.float32)
    root = 0.5**0.5
    expected = [[root, root, 0], [-root, root, 0]]
    np.testing.assert_allclose(similarity.unit_channels(x), expected, rtol=1e-6)


def test_max_gram_of_many_samples():
    """More than strips of 256 rows are used for."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4200, 2, 2)), jnp.float32)
    got = similarity.max_gram(x)
    expected = np.maximum(*(np.asarray(x[..., c] @ x[..., c].T) for c in range(2)))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_what_is_finite_in_spite_of_an_infinite_sum():
    big = jnp.full((3000, 2), 6e4, jnp.float16)
    assert jnp.isfinite(similarity.unit_channels(big)).all()
    with pytest.raises(ValueError, match="values that are not finite"):
        similarity.unit_channels(jnp.array([[jnp.inf], [-jnp.inf]]))


def test_a_fixed_reference_inside_of_jit():
    """Closed over it is an array, and what is made of it there is traced."""
    x, y = (jnp.asarray(z) for z in (X, Y))
    expected = similarity.g_relu_cka(x, y)
    got = jax.jit(lambda y: similarity.g_relu_cka(x, y))(y)
    np.testing.assert_allclose(got, expected, atol=1e-12)
    each = jax.lax.map(lambda y: similarity.linear_cka(x, y), jnp.stack([x, y]))
    np.testing.assert_allclose(each[0], 1)
    with pytest.raises(ValueError, match="g_relu_cka: y has values that are not"):
        jax.grad(lambda y: similarity.g_relu_cka(x, y))(y * jnp.nan)
