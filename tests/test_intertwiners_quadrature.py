"""Kinks and steps at unknown places: the quadrature of the defect against others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from symjax_lib import intertwiners
from symjax_lib.intertwiners import quadrature

exact_gelu = lambda x: jax.nn.gelu(x, approximate=False)


def closeness(actual, expected, tolerance):
    atol = 1e-15  # of the activation's values
    assert (np.abs(actual - np.asarray(expected)) <= tolerance * actual + atol).all()


def by_quad(sigma, scale, kinks, *, exponent=1.0):
    """The same by QUADPACK, between all places where it is told that kinks are."""
    gap = lambda x: sigma(scale * x) - scale**exponent * sigma(x)
    density = lambda x: gap(x) ** 2 * stats.norm.pdf(x)
    moved = [k / scale for k in kinks]
    graded = [0.03, 0.1, 0.3, 0.6, 1, 2, 3, 5, 8, 12]
    cuts = np.unique([*kinks, *moved, *graded, *(-np.array(graded)), 0.0])
    cuts = cuts[np.abs(cuts) <= 12]
    pieces = zip(cuts, cuts[1:], strict=False)
    options = {"epsabs": 1e-18, "epsrel": 1e-13, "limit": 200}
    return np.sqrt(sum(integrate.quad(density, *ab, **options)[0] for ab in pieces))


# With the same function in NumPy and SciPy, and where its kinks are.
PIECEWISE = {
    "relu(x - 1)": (lambda x: jax.nn.relu(x - 1), lambda x: max(x - 1, 0), [1]),
    "relu6": (jax.nn.relu6, lambda x: min(max(x, 0), 6), [0, 6]),
    "hard_tanh": (jax.nn.hard_tanh, lambda x: min(max(x, -1), 1), [-1, 1]),
    "hard_sigmoid": (
        jax.nn.hard_sigmoid,
        lambda x: min(max(x / 6 + 0.5, 0), 1),
        [-3, 3],
    ),
    "sparse_plus": (
        jax.nn.sparse_plus,
        lambda x: x if x > 1 else max(x + 1, 0) ** 2 / 4,
        [-1, 1],
    ),
    "elu": (jax.nn.elu, lambda x: x if x > 0 else np.expm1(x), [0]),
    "step": (lambda x: jnp.where(x > 0.3, 1.0, 0.0), lambda x: float(x > 0.3), [0.3]),
}
SMOOTH = {
    "gelu": (exact_gelu, lambda x: x * special.ndtr(x)),
    "tanh": (jnp.tanh, np.tanh),
    "sigmoid": (jax.nn.sigmoid, special.expit),
    "silu": (jax.nn.silu, lambda x: x * special.expit(x)),
    "softplus": (jax.nn.softplus, lambda x: np.logaddexp(x, 0.0)),
    "rbf": (intertwiners.TABLE["gaussian_rbf"].sigma, stats.norm.pdf),
}


@pytest.mark.parametrize("name", [*PIECEWISE, *SMOOTH])
def test_quadpack_told_of_the_kinks(name):
    sigma, plain, kinks = {**SMOOTH, **PIECEWISE}[name][:2] + (
        PIECEWISE[name][2] if name in PIECEWISE else [],
    )
    scales = np.array([0.11, 0.9, 2.5, 13.0])
    expected = [by_quad(plain, scale, kinks) for scale in scales]
    closeness(intertwiners.defect(sigma, scales), expected, 1e-11)


def by_moments(plain, places, scale):
    """Exact for a piecewise linear function: normal moments of each of its pieces."""
    cuts = np.unique([*places, *(places / scale)])
    gap = lambda x: plain(scale * x) - scale * plain(x)
    total = 0.0
    for a, b in zip([-40, *cuts], [*cuts, 40], strict=True):
        first, second = a + (b - a) / 3, b - (b - a) / 3
        slope = (gap(second) - gap(first)) / (second - first)
        offset = gap(first) - slope * first
        mass = special.ndtr(b) - special.ndtr(a)
        at_a, at_b = stats.norm.pdf([a, b])
        moments = mass, at_a - at_b, mass + a * at_a - b * at_b
        total += np.dot([offset**2, 2 * offset * slope, slope**2], moments)
    return np.sqrt(total)


@pytest.mark.parametrize("seed", range(12))
def test_kinks_and_steps_at_random_places(seed):
    """Nothing is known of the places, and the tolerance is that of smooth functions."""
    rng = np.random.default_rng(seed)
    places, slopes, jumps = 2 * rng.normal(size=5), *rng.normal(size=(2, 5))
    jumps *= seed % 2
    pieces = list(zip(places, slopes, jumps, strict=True))

    def sigma(x):
        y = x[..., None] - places
        return jnp.sum(slopes * jnp.maximum(y, 0) + jumps * (y > 0), axis=-1)

    plain = lambda x: sum(s * max(x - k, 0) + j * (x > k) for k, s, j in pieces)
    scales = np.array([0.037, 0.93, 3.1, 4321.0])
    expected = [by_moments(plain, places, scale) for scale in scales]
    closeness(intertwiners.defect(sigma, scales), expected, 2e-12)


@pytest.mark.parametrize("place", [1e-3, 1 / 7, 0.25, 0.25 + 1e-9, 0.374999, 1, 3.999])
def test_steps_beside_the_ends_of_panels(place):
    """One that lies between an end and the first node inside must not be missed."""
    sigma = lambda x: jnp.where(x > place, 1.0, 0.0)
    plain = lambda x: 1.0 if x > place else 0.0
    scales = np.array([0.5, 3.0, 100.0])
    expected = [by_moments(plain, np.array([place]), scale) for scale in scales]
    closeness(intertwiners.defect(sigma, scales), expected, 2e-12)


def test_quadpack_with_an_exponent():
    plain = lambda x: max(x - 1, 0)
    found = intertwiners.defect(lambda x: jax.nn.relu(x - 1), 3.0, exponent=1.7)
    closeness(found, by_quad(plain, 3.0, [1], exponent=1.7), 1e-11)


def test_small_defects_keep_their_digits():
    """As much as the differences have of them."""
    tiny = 1e-9
    below = lambda x: np.expm1(min(x, 0.0))
    expected = [tiny * by_quad(below, scale, [0]) for scale in (0.5, 2.0)]
    found = intertwiners.defect(lambda x: jax.nn.elu(x, tiny), np.array([0.5, 2.0]))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_integrals_of_several_functions():
    """exp(-|x - m|) has a kink at m and the integral 2, to the ends at 38."""
    places = np.array([-1.3, 0.0, 0.7, 1 / 3])

    def function(x, which):
        values = np.exp(-2 * np.abs(x - places[which]))
        return values * (which + 1), np.zeros_like(x)

    found = quadrature.integrate(function, 4, caller="test")
    np.testing.assert_allclose(found, [1, 2, 3, 4], rtol=1e-12)
