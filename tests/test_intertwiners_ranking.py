"""The relative defect, which is the sine of an angle, and the ranking by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax_lib import intertwiners


def test_relative_defect_is_an_angle():
    """Of sin: E[sin(l X) sin X] = (exp(-(l-1)^2 / 2) - exp(-(l+1)^2 / 2)) / 2."""
    l = np.array([0.2, 1.0, 3.0, 8.0])
    cross = lambda s, t: (np.exp(-((s - t) ** 2) / 2) - np.exp(-((s + t) ** 2) / 2)) / 2
    cosine = cross(l, 1) / np.sqrt(cross(l, l) * cross(1, 1))
    found = intertwiners.relative_defect(jnp.sin, l)
    np.testing.assert_allclose(found**2, 1 - cosine**2, atol=1e-12)
    np.testing.assert_allclose(
        intertwiners.relative_defect(lambda x: -5 * jnp.sin(x), l), found, atol=1e-14
    )
    # The best factor, so no other does better.
    size = np.sqrt((1 - np.exp(-18)) / 2)
    for exponent in (-1, 0, 0.5, 1, 2):
        other = intertwiners.defect(jnp.sin, 3.0, exponent=exponent)
        assert other > found[2] * size


@pytest.fixture(scope="module")
def ranks():
    return {rank.name: rank for rank in intertwiners.ranking()}


def test_ranking_has_zero_for_the_homogeneous_alone(ranks):
    assert set(ranks) == set(intertwiners.ACTIVATIONS)
    for name, rank in ranks.items():
        homogeneous = intertwiners.classify(intertwiners.ACTIVATIONS[name]).exponent
        assert (rank.worst < 1e-12) == (homogeneous is not None)
        assert 0 <= rank.mean <= rank.worst <= 1
    worst = [rank.worst for rank in ranks.values()]
    assert (np.diff(worst) > -1e-12).all()


def test_ranking_agrees_with_symmetries_of_the_numbers(ranks):
    """-softplus(-x) is log_sigmoid, and X is symmetric; celu is elu at alpha = 1."""
    for one, other in [("softplus", "log_sigmoid"), ("celu", "elu")]:
        np.testing.assert_allclose(ranks[one][2:], ranks[other][2:], rtol=1e-11)
    worst = max(
        intertwiners.relative_defect(jnp.tanh, l)
        for l in (1 / 8, 1 / 4, 1 / 2, 2, 4, 8)
    )
    assert ranks["tanh"].worst == pytest.approx(worst, rel=1e-13)


def test_ranking_of_some_at_other_scales():
    some = {"b": jax.nn.relu, "a": jnp.square, "sigmoid": jax.nn.sigmoid}
    found = intertwiners.ranking(some, scales=[3.0])
    assert [rank.name for rank in found] == ["a", "b", "sigmoid"]
    assert str(found[1]).split() == ["b", "positive_monomial", "0.000000", "0.000000"]
    expected = intertwiners.relative_defect(jax.nn.sigmoid, 3.0)
    assert found[2].worst == found[2].mean == expected


def test_refusals():
    with pytest.raises(ValueError, match="^relative_defect: a scale is 0"):
        intertwiners.relative_defect(jnp.abs, np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="^relative_defect: the function is 0 almost"):
        intertwiners.relative_defect(lambda x: 0 * x, 2.0)
