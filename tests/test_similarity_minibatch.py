"""CKA from batches against NumPy in float64, exact averages, and simulation."""

import functools
import itertools
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax_lib import similarity
from symjax_lib.similarity import minibatch

LINEAR = similarity.linear_gram
FIXED_RBF = functools.partial(similarity.rbf_gram, sigma=2.0)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def planted(n, seed=0, noise=1.0):
    """Returns features that share some directions, far from the origin."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, 3))
    maps = np.random.default_rng(99).normal(size=(2, 3, 5))
    return [common @ m + noise * rng.normal(size=(n, 5)) + 2 for m in maps]


def split(x, y, *sizes):
    stops = np.cumsum([0, *sizes])
    assert stops[-1] == len(x)
    return [(x[a:b], y[a:b]) for a, b in itertools.pairwise(stops)]


def hsic(k, l):
    """The formula of Song et al., as it is written."""
    n = len(k)
    k, l = (z - np.diag(np.diag(z)) for z in (k, l))
    one = np.ones(n)
    mixed = 2 * (one @ k @ l @ one) / (n - 2)
    product = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return ((k * l.T).sum() + product - mixed) / (n * (n - 3))


def linear(x):
    return x @ x.T


def gaussian(x):
    return np.exp(-((x[:, None] - x) ** 2).sum(-1) / (2 * 2.0**2))


def expected(batches, gram=linear):
    """Every batch counts as often as it has samples."""
    total = np.zeros(3)
    for x, y in batches:
        k, l = gram(x), gram(y)
        total += len(x) * np.array([hsic(k, l), hsic(k, k), hsic(l, l)])
    return total[0] / np.sqrt(total[1] * total[2])


@pytest.mark.parametrize("sizes", [(60,), (20, 20, 20), (4, 30, 5, 21)])
@pytest.mark.parametrize(
    ("kernel", "gram"), [(LINEAR, linear), (FIXED_RBF, gaussian)], ids=["linear", "rbf"]
)
@pytest.mark.usefixtures("x64")
def test_formula(sizes, kernel, gram):
    batches = split(*planted(60), *sizes)
    found = minibatch.cka(iter(batches), kernel=kernel)
    np.testing.assert_allclose(found.similarity, expected(batches, gram), rtol=1e-10)
    assert (found.batches, found.samples) == (len(sizes), 60)
    assert np.isnan(found.standard_error) == (len(sizes) == 1)
    assert [z.shape for z in found] == [()] * 4


def test_single_precision():
    """The default; sums are float64, so that sizes of features do not matter."""
    batches = split(*planted(60), 20, 20, 20)
    for scale in (1.0, 1e-12, 1e12):
        scaled = [(scale * x, scale * y) for x, y in batches]
        found = minibatch.cka(scaled, kernel=LINEAR)
        assert found.similarity.dtype == np.float64
        np.testing.assert_allclose(found.similarity, expected(batches), atol=2e-6)
        assert found.standard_error > 0


@pytest.mark.usefixtures("x64")
def test_space_and_the_max_kernel():
    """Channels scaled by statistics of all samples; widths and spaces differ."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 2, 3, 4)), rng.normal(size=(24, 5, 3))
    x, y = (z.reshape(24, -1, z.shape[-1]) for z in (x, y))
    x, y = (z - z.mean((0, 1)) for z in (x, y))
    x, y = (z / np.sqrt((z**2).sum((0, 1))) for z in (x, y))
    batches = split(x.reshape(24, 2, 3, 4), y, 12, 12)
    found = minibatch.cka(batches, kernel=similarity.max_gram)
    gram = lambda z: np.einsum("ipc,jpc->ijc", z, z).max(-1)
    reference = expected(split(x, y, 12, 12), gram)
    np.testing.assert_allclose(found.similarity, reference, rtol=1e-10)


@pytest.mark.parametrize("sizes", [(4,), (5,), (4, 6)])
@pytest.mark.usefixtures("x64")
def test_average_over_all_subsets_is_the_whole(sizes):
    """Unbiased: U-statistics of all subsets average to that of all samples."""
    x, y = planted(7)
    subsets = [list(s) for n in sizes for s in itertools.combinations(range(7), n)]
    found = minibatch.cka([(x[s], y[s]) for s in subsets], kernel=LINEAR)
    np.testing.assert_allclose(found.similarity, expected([(x, y)]), rtol=1e-12)
    if len(sizes) == 1:
        mean = np.mean([hsic(linear(x[s]), linear(y[s])) for s in subsets])
        np.testing.assert_allclose(mean, hsic(linear(x), linear(y)), rtol=1e-12)


@pytest.mark.parametrize(
    ("sizes", "merged"),
    [
        ((8, 8, 1), (8, 9)),
        ((8, 8, 2), (8, 10)),
        ((8, 8, 3), (8, 11)),
        ((8, 1, 2), (11,)),
        ((3, 8, 8), (11, 8)),
        ((1, 1, 8), (10,)),
        ((8, 2, 8), (8, 10)),
        ((1,) * 18, (4, 4, 4, 6)),
        ((2, 2), (4,)),
    ],
)
@pytest.mark.usefixtures("x64")
def test_short_batches_are_merged(sizes, merged):
    x, y = planted(sum(sizes))
    found = minibatch.cka(split(x, y, *sizes), kernel=LINEAR)
    whole = minibatch.cka(split(x, y, *merged), kernel=LINEAR)
    np.testing.assert_array_equal(found, whole)
    assert found.batches == len(merged)
    reference = expected(split(x, y, *merged))
    np.testing.assert_allclose(found.similarity, reference, rtol=1e-10)


@pytest.mark.parametrize(("size", "most"), [(1, 12), (16, 3)])
def test_batches_are_forgotten(size, most):
    """Also when all of them are short: then three times 4 samples are held."""
    arrays, alive = [], []

    def produce():
        for seed in range(40):
            x, y = (jnp.asarray(z, jnp.float32) for z in planted(size, seed))
            arrays.append(weakref.ref(x))
            alive.append(sum(ref() is not None for ref in arrays))
            yield x, y

    minibatch.cka(produce(), kernel=LINEAR)
    assert max(alive) <= most


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_agrees_with_all_samples(noise):
    x, y = planted(2000, noise=noise)
    found = minibatch.cka(split(x, y, *[128] * 15, 80), kernel=LINEAR)
    whole = expected([(x, y)])
    assert abs(found.similarity - whole) < 3 * found.standard_error
    assert 0 < found.standard_error < 0.05


def leave_one_out(batches):
    """The delete-m jackknife of Busing et al., in a loop; for equal m the usual one."""
    n, groups = sum(len(x) for x, _ in batches), len(batches)
    whole = expected(batches)
    without = [expected(batches[:j] + batches[j + 1 :]) for j in range(groups)]
    h = [n / len(x) for x, _ in batches]
    pseudo = [h[j] * whole - (h[j] - 1) * without[j] for j in range(groups)]
    center = sum(without[j] / h[j] + whole - without[j] for j in range(groups))
    terms = [(pseudo[j] - center) ** 2 / (h[j] - 1) for j in range(groups)]
    return np.sqrt(np.mean(terms)), without


@pytest.mark.usefixtures("x64")
def test_jackknife():
    x, y = planted(60)
    for sizes in ((20,) * 3, (4, 30, 5, 21), (20, 40)):
        batches = split(x, y, *sizes)
        error, without = leave_one_out(batches)
        found = minibatch.cka(batches, kernel=LINEAR)
        np.testing.assert_allclose(found.standard_error, error, rtol=1e-9)
        if len(set(sizes)) == 1:
            textbook = np.sqrt(2 * np.var(without))
            np.testing.assert_allclose(found.standard_error, textbook, rtol=1e-9)


@pytest.mark.parametrize("sizes", [(20,) * 10, (20,) * 9 + (10,)])
def test_standard_error_is_the_spread_over_data_sets(sizes):
    found = [
        minibatch.cka(split(*planted(sum(sizes), seed), *sizes), kernel=LINEAR)
        for seed in range(120)
    ]
    spread = np.std([f.similarity for f in found], ddof=1)
    error = np.sqrt(np.mean([f.standard_error**2 for f in found]))
    np.testing.assert_allclose(error, spread, rtol=0.25)


def test_unrelated_features_are_as_often_below_zero():
    values = []
    for seed in range(40):
        x, y = np.random.default_rng(seed).normal(size=(2, 60, 4))
        values.append(minibatch.cka(split(x, y, 20, 20, 20), kernel=LINEAR).similarity)
    assert 8 < sum(value < 0 for value in values) < 32
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


@pytest.mark.parametrize("kernel", [LINEAR, FIXED_RBF])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_constant_features_have_no_similarity(kernel, value):
    x, y = planted(60)
    for pair in ((x, np.full_like(x, value)), (np.full_like(x, value), y)):
        found = minibatch.cka(split(*pair, 20, 20, 20), kernel=kernel)
        assert np.isnan(found.similarity)
        assert np.isnan(found.standard_error)


def test_one_constant_batch_counts_as_zero():
    batches = split(*planted(60), 20, 20, 20)
    batches[1] = (np.full_like(batches[1][0], 0.1), batches[1][1])
    found = minibatch.cka(batches, kernel=LINEAR)
    np.testing.assert_allclose(found.similarity, expected(batches), atol=2e-6)
    # All that is left is constant if the first of these two is left out.
    found = minibatch.cka(batches[:2], kernel=LINEAR)
    assert np.isfinite(found.similarity)
    assert np.isnan(found.standard_error)


def test_a_kernel_that_is_undefined_makes_nan():
    """The median distance is zero."""
    x, y = planted(20)
    x[3:] = x[3]
    found = minibatch.cka([(x, y)], kernel=similarity.rbf_gram)
    assert np.isnan(found.similarity)


def test_errors():
    x, y = planted(30)
    batches = split(x, y, 10, 10, 10)
    cka = functools.partial(minibatch.cka, kernel=LINEAR)
    with pytest.raises(ValueError, match="batch 1: x has 10 samples and y has 9"):
        cka([batches[0], (x[:10], y[:9])])
    bad = x[:10].copy()
    bad[0, 0] = np.inf
    with pytest.raises(ValueError, match="batch 2: y has values that are not finite"):
        cka([*batches[:2], (x[:10], bad)])
    with pytest.raises(ValueError, match="batch 1: samples have shapes"):
        cka([batches[0], (x[:10, :3], y[:10])])
    with pytest.raises(ValueError, match="batch 1: x must be features"):
        cka([batches[0], (x[:0], y[:0])])
    with pytest.raises(ValueError, match=r"Gram matrices \(10, 10\), got \(5, 5\)"):
        minibatch.cka(batches, kernel=lambda z: z.T @ z)
    for n, few in (
        (0, []),
        (3, split(x[:3], y[:3], 3)),
        (3, split(x[:3], y[:3], 2, 1)),
    ):
        with pytest.raises(ValueError, match=f"at least 4 samples, got {n} "):
            cka(few)
