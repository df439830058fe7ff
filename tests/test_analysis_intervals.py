"""Intervals against brute force, closed forms, and simulations with a known answer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis import intervals, permutation, statistics
from symjax_lib import similarity


def symmetric(rng, *shape):
    x = rng.normal(size=(*shape, shape[-1]))
    return x + x.swapaxes(-1, -2)


def test_models_interval_is_the_jackknife_written_out():
    values = symmetric(np.random.default_rng(0), 3, 7)
    found = intervals.models_interval(values)
    for v, mean, se in zip(values, found.mean, found.se, strict=True):
        pairs = lambda keep, v=v: v[np.ix_(keep, keep)][np.triu_indices(len(keep), 1)]
        everyone = list(range(7))
        assert mean == pytest.approx(pairs(everyone).mean())
        rest = [[j for j in everyone if j != i] for i in everyone]
        without = np.array([pairs(keep).mean() for keep in rest])
        assert se**2 == pytest.approx(6 / 7 * ((without - without.mean()) ** 2).sum())


def test_additive_effects_have_the_variance_of_a_mean():
    a = np.random.default_rng(1).normal(size=9)
    found = intervals.models_interval(a[:, None] + a)
    assert found.mean == pytest.approx(2 * a.mean())
    assert found.se**2 == pytest.approx(4 * a.var(ddof=1) / 9)
    # The naive one is narrower, and a diagonal of any values changes nothing.
    assert intervals.pairs_interval(a[:, None] + a).se < 0.7 * found.se
    again = intervals.models_interval(a[:, None] + a + np.diag(np.arange(9.0)))
    assert again.se == pytest.approx(found.se)


def test_paired_intervals_do_not_see_what_both_share():
    rng = np.random.default_rng(2)
    shared, noise = symmetric(rng, 8), symmetric(rng, 8)
    found = intervals.paired_models_interval(shared + 0.1 * noise, shared)
    assert found.se == pytest.approx(0.1 * intervals.models_interval(noise).se)
    with pytest.raises(ValueError, match="same networks"):
        intervals.paired_models_interval(shared, shared[:7, :7])


def test_variances_of_networks_and_inputs_add():
    models = intervals.models_interval(symmetric(np.random.default_rng(3), 6))
    inputs = intervals.inputs_interval(np.random.default_rng(4).normal(size=5))
    both = intervals.both_interval(models, inputs)
    assert both.se**2 == pytest.approx(models.se**2 + inputs.se**2)
    assert min(5, 4) <= both.df <= 9
    nothing = inputs._replace(se=np.zeros(()))
    same = intervals.both_interval(models, nothing)
    np.testing.assert_allclose([same.df, same.low], [models.df, models.low])


def test_permutations_find_what_is_there_and_no_more():
    x = jax.random.normal(jax.random.key(0), (24, 4))
    null = lambda y: permutation.permutation_null(
        jax.random.key(1), similarity.linear_cka, x, y, draws=99
    )
    assert null(x[:, ::-1]).p_value == 0.01
    others = jax.random.normal(jax.random.key(2), (20, 24, 4))
    p_values = [null(y).p_value for y in others]
    # Uniform: 20 values below 0.05 twice at most with probability 0.92, and spread out.
    assert sum(p <= 0.05 for p in p_values) <= 3
    assert 0.3 < np.mean(p_values) < 0.7
    assert null(jnp.ones((24, 4)) * x[:, :1]).p_value < 0.05


def test_what_is_refused():
    ones = np.ones((4, 4))
    for values, message in (
        (ones[:2, :2], "at least 3 networks"),
        (ones[:3], "at least 3 networks"),
        (np.triu(ones), "symmetric"),
    ):
        for interval in (intervals.models_interval, intervals.pairs_interval):
            with pytest.raises(ValueError, match=message):
                interval(values)
    with pytest.raises(ValueError, match="at least 2 groups"):
        intervals.inputs_interval([1.0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        intervals.models_interval(ones, level=95)
    ones[1, 2] = ones[2, 1] = np.nan
    assert np.isnan(intervals.models_interval(ones).low)


def additive(rng, networks, own, pair, repetitions):
    """v_ij = a_i + a_j + b_ij, whose mean is 0."""
    a = own * rng.normal(size=(repetitions, networks))
    b = np.triu(pair * rng.normal(size=(repetitions, networks, networks)), 1)
    return a[..., None] + a[..., None, :] + b + b.swapaxes(-1, -2)


def dot_products(rng, networks, own, pair, repetitions):
    """v_ij = u_i . u_j with means of 1 each, as similarities of directions are."""
    u = 1 + own * rng.normal(size=(repetitions, networks, 10))
    return (u @ u.swapaxes(-1, -2)) / 10 - 1 + 0 * pair


def coverage(interval, values):
    found = interval(values)
    return ((found.low <= 0) & (found.high >= 0)).mean()


@pytest.mark.slow
@pytest.mark.parametrize("networks", [6, 12, 32])
@pytest.mark.parametrize(
    ("draw", "own", "pair"),
    [(additive, 1, 0), (additive, 1, 0.3), (additive, 1, 1), (dot_products, 0.3, 0)],
)
def test_coverage_by_simulation(draw, own, pair, networks):
    rng = np.random.default_rng([networks, int(10 * pair)])
    values = np.concatenate([draw(rng, networks, own, pair, 1000) for _ in range(10)])
    models = coverage(intervals.models_interval, values)
    naive = coverage(intervals.pairs_interval, values)
    print(f"\n{draw.__name__} {own} {pair}, {networks}: {models:.3f}, {naive:.3f}")  # noqa: T201
    assert 0.93 <= models <= 0.97
    # Pairs taken for independent miss far more often.
    assert naive < (0.91 if networks == 6 else 0.85)


@pytest.mark.slow
@pytest.mark.parametrize("networks", [6, 12, 32])
@pytest.mark.parametrize("pair", [0, 0.3, 1])
def test_coverage_of_an_interval_of_some_pairs(networks, pair):
    """Each network in four pairs: a little too wide, never too narrow."""
    rng = np.random.default_rng([networks, int(10 * pair), 4])
    values = additive(rng, networks, 1, pair, 5000)
    pairs = statistics.unordered_pairs(networks, 2 * networks)
    found = coverage(functools.partial(intervals.models_interval, pairs=pairs), values)
    print(f"\nfour pairs each, {pair}, {networks}: {found:.3f}")  # noqa: T201
    assert 0.93 <= found <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("networks", [6, 12, 32])
@pytest.mark.parametrize("of_inputs", [0.1, 1, 3])
def test_coverage_of_intervals_for_other_inputs(networks, of_inputs):
    """Eight groups of inputs, each with an error of its own that all pairs share."""
    rng = np.random.default_rng([networks, int(10 * of_inputs)])
    values = additive(rng, networks, 1, 0.3, 10_000)
    groups = of_inputs * rng.normal(size=(len(values), 8))
    inputs = coverage(intervals.inputs_interval, groups)
    shifted = values + groups.mean(axis=1)[:, None, None]
    both = coverage(
        lambda v: intervals.both_interval(
            intervals.models_interval(v), intervals.inputs_interval(groups)
        ),
        shifted,
    )
    # As if inputs were not drawn at random too.
    models = coverage(intervals.models_interval, shifted)
    print(  # noqa: T201
        f"\ninputs {of_inputs}, {networks}: {inputs:.3f}, {both:.3f}, {models:.3f}"
    )
    assert 0.94 <= inputs <= 0.96
    assert 0.93 <= both <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("networks", [6, 12, 32])
def test_coverage_where_networks_have_no_effect_of_their_own(networks):
    """Then the jackknife is too wide, never too narrow."""
    values = additive(np.random.default_rng(networks), networks, 0, 1, 5000)
    found = coverage(intervals.models_interval, values)
    print(f"\nno own effect, {networks}: {found:.3f}")  # noqa: T201
    assert found >= 0.93


def test_an_interval_of_some_pairs():
    rng = np.random.default_rng(0)
    values = symmetric(rng, 3, 6)
    everyone = np.stack(np.triu_indices(6, 1), axis=1)
    whole = intervals.models_interval(values)
    listed = intervals.models_interval(values, pairs=everyone)
    np.testing.assert_allclose(listed.low, whole.low)
    # A ring, by leaving out each network by hand; the last network is in no pair.
    ring = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [0, 4]])
    found = intervals.models_interval(values, pairs=ring)
    left_out = np.stack(
        [
            np.mean([values[:, i, j] for i, j in ring if s not in (i, j)], axis=0)
            for s in range(5)
        ]
    )
    se = np.sqrt(4 / 5 * ((left_out - left_out.mean(0)) ** 2).sum(0))
    np.testing.assert_allclose(found.se, se)
    assert (found.df == 4).all()
    with pytest.raises(ValueError, match="network 0 is in all 2 pairs"):
        intervals.models_interval(values, pairs=[[0, 1], [0, 2]])
