"""The group that each measure claims, what is outside it, and what is refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thinned import some

from symjax_lib import groups, similarity

SHAPE = (24, 3, 4, 6)


def shifted(x, key):
    return x + jax.random.normal(key, x.shape[-1:])


def acted(kind):
    return lambda x, key: groups.act(groups.sample(key, kind, x.shape[-1]), x)


def scaled(x, key):
    return x * jnp.exp(jax.random.normal(key))


ACTIONS = {
    "permutation": acted("permutation"),
    "signed_permutation": acted("signed_permutation"),
    "positive_monomial": acted("positive_monomial"),
    "monomial": acted("monomial"),
    "orthogonal": acted("orthogonal"),
    "general_linear": acted("general_linear"),
    "shift": shifted,
    "common scale": scaled,
}

# The kinds of groups that each contains.
WITHIN = {
    "permutation": {"permutation"},
    "signed_permutation": {"permutation", "signed_permutation"},
    "positive_monomial": {"permutation", "positive_monomial"},
    "monomial": {"permutation", "signed_permutation", "positive_monomial", "monomial"},
    "orthogonal": {"permutation", "signed_permutation", "orthogonal"},
}


def passing(measure):
    """Returns the actions that a measure says it does not see."""
    others = {"common scale": measure.scale, "shift": measure.shift}
    return WITHIN[measure.kind] | {name for name, yes in others.items() if yes}


MEASURES = {
    name: (measure.fn, passing(measure))
    for name, measure in similarity.MEASURES.items()
}


def pair(seed=0):
    """Features that are related, of channels of unequal scale and mean."""
    keys = jax.random.split(jax.random.key(seed), 4)
    x = jax.random.normal(keys[0], SHAPE)
    y = x + 0.5 * jax.random.normal(keys[1], SHAPE)
    scale = jnp.exp(jax.random.normal(keys[2], (2, SHAPE[-1])))
    shift = jax.random.normal(keys[3], (2, SHAPE[-1]))
    return x * scale[0] + shift[0], y * scale[1] + shift[1]


@pytest.mark.parametrize("name", MEASURES)
def test_invariance_group(name):
    measure, group = MEASURES[name]
    x, y = pair()
    before = float(measure(x, y))
    assert before < 0.99
    for action, act in ACTIONS.items():
        keys = jax.random.split(jax.random.key(len(action)), 2)
        for side, (a, b) in {
            "left": (act(x, keys[0]), y),
            "right": (x, act(y, keys[1])),
            "both": (act(x, keys[0]), act(y, keys[1])),
        }.items():
            change = abs(float(measure(a, b)) - before)
            message = f"{action} on {side} changes {name} by {change}"
            if action in group:
                assert change < 1e-5, message
            else:
                assert change > 1e-4, message
        # The same on the two sides of an exact match.
        exact = float(measure(x, act(x, keys[0])))
        assert (abs(exact - 1) < 1e-5) == (action in group), (action, exact)


@pytest.mark.parametrize("name", MEASURES)
def test_equal_features_have_similarity_one_and_order_does_not_matter(name):
    measure, _ = MEASURES[name]
    x, y = pair(1)
    assert abs(float(measure(x, x)) - 1) <= 1e-6
    assert abs(float(measure(x, y)) - float(measure(y, x))) < 2e-6


@pytest.mark.parametrize("name", some(MEASURES, every=2))
def test_jit_and_vmap(name):
    measure, _ = MEASURES[name]
    pairs = [pair(seed) for seed in range(3)]
    xs, ys = (jnp.stack(side) for side in zip(*pairs, strict=True))
    batched = jax.jit(jax.vmap(measure))(xs, ys)
    np.testing.assert_allclose(batched, [measure(x, y) for x, y in pairs], atol=2e-6)


def test_planted_elements_are_found():
    x, _ = pair(2)
    g = groups.sample(jax.random.key(5), "positive_monomial", 6)
    found = similarity.g_relu_procrustes(x, groups.act(g, x)).element
    undo = groups.inverse(g).permutation
    np.testing.assert_array_equal(found.indices, undo.indices)
    q = groups.sample(jax.random.key(6), "orthogonal", 6)
    found = similarity.orthogonal_procrustes(x, groups.act(q, x)).element
    np.testing.assert_allclose(found.matrix, q.matrix.T, atol=1e-5)


def test_the_element_attains_the_distance():
    """It brings y, as normalised, as close to x as the distance says."""
    x, y = pair(3)
    out = similarity.g_relu_procrustes(x, y)
    unit = [similarity.unit_channels(z) for z in (x, y)]
    moved = groups.act(out.element, unit[1])
    np.testing.assert_allclose(jnp.linalg.norm(unit[0] - moved), out.distance, 1e-5)
    out = similarity.orthogonal_procrustes(x, y)
    unit = [z / jnp.linalg.norm(z) for z in (x, y)]
    moved = groups.act(out.element, unit[1])
    np.testing.assert_allclose(jnp.linalg.norm(unit[0] - moved), out.distance, 1e-5)


def test_no_permutation_is_closer():
    """Against all of S_4."""
    x, y = (z[..., :4] for z in pair(4))
    a, b = (np.asarray(similarity.unit_channels(z)).reshape(-1, 4) for z in (x, y))
    least = min(
        np.linalg.norm(a - b[:, list(p)]) for p in itertools.permutations(range(4))
    )
    out = similarity.g_relu_procrustes(x, y)
    np.testing.assert_allclose(out.distance, least, rtol=1e-6)
    np.testing.assert_allclose(out.similarity, 1 - least / 4, rtol=1e-6)


def test_dead_channels():
    """The paper's value rises with them; the live one is that of the live channels."""
    x, y = map(jax.nn.relu, pair(5))
    dead = jnp.zeros((*SHAPE[:-1], 18))
    out = similarity.g_relu_procrustes(x, y)
    padded = similarity.g_relu_procrustes(
        jnp.concatenate([x, dead], -1), jnp.concatenate([dead, y], -1)
    )
    assert padded.dead_channels.tolist() == [18, 18]
    assert out.dead_channels.tolist() == [0, 0]
    assert float(padded.similarity) > float(out.similarity) + 0.1
    np.testing.assert_allclose(padded.live_similarity, out.similarity, atol=1e-6)
    widened = jnp.concatenate([x, dead], -1)
    cka = similarity.linear_cka
    np.testing.assert_allclose(cka(widened, y), cka(x, y), atol=1e-6)
    # In the max kernel they are a floor at zero.
    gram = lambda z: similarity.max_gram(similarity.unit_channels(z, center=True))
    np.testing.assert_allclose(gram(widened), jnp.maximum(gram(x), 0), atol=1e-6)
    assert float(gram(x).min()) < 0


def test_constant_features_have_no_cka():
    x, _ = pair(6)
    for measure in (similarity.g_relu_cka, similarity.linear_cka):
        assert jnp.isnan(measure(x, jnp.ones(SHAPE)))


def test_independent_features_are_near_zero_and_may_be_negative():
    keys = jax.random.split(jax.random.key(0), (40, 2))
    draw = lambda key: jax.random.normal(key, (30, 12))
    both = jax.vmap(lambda k: similarity.linear_cka(draw(k[0]), draw(k[1])))
    values = np.asarray(jax.jit(both)(keys))
    assert values.min() < 0
    assert abs(values.mean()) < 3 * values.std() / 40**0.5


@pytest.mark.parametrize("name", MEASURES)
def test_bad_features_are_refused(name):
    measure, _ = MEASURES[name]
    x, y = pair()
    with pytest.raises(ValueError, match="24 samples and y has 23"):
        measure(x, y[:23])
    with pytest.raises(ValueError, match="y has values that are not finite"):
        measure(x, y.at[0, 0, 0, 0].set(jnp.nan))
    with pytest.raises(ValueError, match=r"at least one sample.*got shape \(6,\)"):
        measure(x[0, 0, 0], y)
    with pytest.raises(ValueError, match="24 samples and y has 23"):
        jax.jit(measure)(x, y[:23])


def test_too_few_samples_are_refused():
    x, y = pair()
    for measure in (similarity.g_relu_cka, similarity.linear_cka):
        assert jnp.isfinite(measure(x[:4], y[:4]))
        with pytest.raises(ValueError, match="at least 4 samples, got 3"):
            measure(x[:3], y[:3])
    biased = similarity.linear_cka(x[:3], y[:3], debiased=False)
    assert 0 <= float(biased) <= 1


def test_resolutions_that_do_not_fit_are_refused():
    x, y = pair()
    for measure in (similarity.g_relu_procrustes, similarity.orthogonal_procrustes):
        with pytest.raises(ValueError, match="not whole multiples"):
            measure(x, y[:, :2])
        with pytest.raises(ValueError, match="same number of axes"):
            measure(x, y[:, 0])


SCALES = [1e-30, 1e-20, 1e20, 3e18, 1e30]
SCALED = [name for name, measure in similarity.MEASURES.items() if measure.scale]


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("scale", SCALES)
def test_a_common_scale_of_any_size_changes_nothing(name, scale):
    measure, _ = MEASURES[name]
    x, y = pair(7)
    expected = float(measure(x, y))
    np.testing.assert_allclose(measure(x * scale, y), expected, atol=2e-5)
    np.testing.assert_allclose(measure(x, x * scale), 1, atol=2e-6)


def test_grams_of_any_size_give_the_same_cka():
    k, l = (similarity.linear_gram(z) for z in pair(8))
    expected = similarity.cka_from_grams(k, l)
    for scale in (2.0**-120, 2.0**60, 2.0**115):
        found = similarity.cka_from_grams(k * scale, l)
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_large_mean_costs_no_digits():
    """Against float64; without centring first, float32 would keep none of them."""
    x, y = (np.asarray(z, np.float64) for z in pair(9))
    found = similarity.linear_gram(jnp.asarray(x + 1e4, jnp.float32))
    rounded = np.asarray(x + 1e4, np.float32).astype(np.float64).reshape(24, -1)
    centered = rounded - rounded.mean(axis=0)
    np.testing.assert_allclose(found, centered @ centered.T, rtol=0, atol=1e-2)
    assert y.shape == SHAPE


def test_constant_channels_are_exactly_zero_when_centred():
    x = jnp.full((1000, 3), 0.1)
    assert (similarity.unit_channels(x, center=True) == 0).all()


def test_rounding_alone_has_no_cka():
    noise = 1 + 1e-7 * jax.random.normal(jax.random.key(0), (30, 30))
    flat = (noise + noise.T) / 2
    k = similarity.linear_gram(jax.random.normal(jax.random.key(1), (30, 4)))
    assert jnp.isnan(similarity.cka_from_grams(flat, k))


def test_orthogonal_procrustes_of_features_of_very_unequal_channels():
    """One decomposition in float32 would leave 3e-4."""
    x = jax.random.normal(jax.random.key(0), (200, 64)) * jnp.geomspace(1, 1e-6, 64)
    assert float(similarity.orthogonal_procrustes(x, x).distance) < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "uint8", "int32"])
def test_other_dtypes_are_computed_in_float32(dtype):
    x, y = (jnp.abs(10 * z).astype(dtype) for z in pair(10))
    for measure, _ in MEASURES.values():
        exact = measure(x.astype(jnp.float32), y.astype(jnp.float32))
        assert measure(x, y).dtype == jnp.float32
        np.testing.assert_allclose(measure(x, y), exact, atol=1e-6)
    for gram in (similarity.linear_gram, similarity.max_gram):
        np.testing.assert_array_equal(gram(x), gram(x.astype(jnp.float32)))


def test_kernels_refuse_what_the_measures_refuse():
    for gram in (similarity.linear_gram, similarity.max_gram):
        with pytest.raises(ValueError, match=r"got shape \(5,\)"):
            gram(jnp.ones(5))
        with pytest.raises(ValueError, match="not finite"):
            gram(jnp.full((5, 2), jnp.nan))
        with pytest.raises(ValueError, match="is complex"):
            gram(jnp.ones((5, 2), complex))
