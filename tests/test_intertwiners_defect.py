"""The defect of (E.22), its relative form and the ranking, against other integrals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from symjax_lib import intertwiners

SCALES = np.array([0.01, 0.3, 0.9, 1.0, 1.1, 2.5, 7.0, 40.0, 1e4])
exact_gelu = lambda x: jax.nn.gelu(x, approximate=False)


def closeness(actual, expected, tolerance, *, scale=1.0):
    """Relative; near 0, to the rounding of the activation's values."""
    atol = 1e-15 * np.maximum(scale, 1.0)
    assert (np.abs(actual - np.asarray(expected)) <= tolerance * actual + atol).all()


def gelu_moment(a, b):
    """E[X^2 Phi(a X) Phi(b X)], by Stein's lemma and the arc sine of an orthant."""
    root = np.sqrt(1 + a**2 + b**2)
    orthant = 0.25 + np.arcsin(a * b / np.sqrt((1 + a**2) * (1 + b**2))) / (2 * np.pi)
    tails = a**3 * b / (1 + a**2) + a * b**3 / (1 + b**2) - 2 * a * b
    return orthant - tails / (2 * np.pi * root)


def gelu_defect(scale):
    square = gelu_moment(scale, scale) - 2 * gelu_moment(scale, 1) + gelu_moment(1, 1)
    return scale * np.sqrt(np.maximum(square, 0))


def wave(sign):
    """Of sin (-1) and cos (1): E[f(s X) f(t X)] in closed form."""
    cross = lambda s, t: (
        (np.exp(-((s - t) ** 2) / 2) + sign * np.exp(-((s + t) ** 2) / 2)) / 2
    )
    return lambda l: np.sqrt(cross(l, l) - 2 * l * cross(l, 1) + l**2 * cross(1, 1))


def exponential(l):
    return np.sqrt(np.exp(2 * l**2) - 2 * l * np.exp((1 + l) ** 2 / 2) + l**2 * np.e**2)


CLOSED = {
    "relu": (jax.nn.relu, lambda l: 0 * l, SCALES),
    "leaky relu": (jax.nn.leaky_relu, lambda l: 0 * l, SCALES),
    "relu + 1": (lambda x: jax.nn.relu(x) + 1, lambda l: abs(1 - l), SCALES),
    "affine": (lambda x: 3 * x - 2, lambda l: 2 * abs(1 - l), SCALES),
    "square": (jnp.square, lambda l: np.sqrt(3) * abs(l**2 - l), SCALES),
    "cube": (lambda x: x**3, lambda l: np.sqrt(15) * abs(l**3 - l), SCALES),
    "step": (
        lambda x: jnp.where(x > 0, 1.0, 0.0),
        lambda l: abs(1 - l) / np.sqrt(2),
        SCALES,
    ),
    "sin": (jnp.sin, wave(-1), np.array([0.3, 2.5, 7.0, 40.0])),
    "cos": (jnp.cos, wave(1), np.array([0.01, 0.3, 2.5, 7.0, 40.0])),
    "exp": (jnp.exp, exponential, np.array([0.3, 2.5, 7.0])),
    "gelu": (exact_gelu, gelu_defect, np.array([0.01, 0.3, 2.5, 7.0, 40.0])),
    "log": (
        lambda x: jnp.log(jnp.abs(x)),
        # The variance of log |X| is pi^2 / 8, its mean -(gamma + log 2) / 2.
        lambda l: np.hypot(
            np.log(l) - (1 - l) * (np.euler_gamma + np.log(2)) / 2,
            (1 - l) * np.pi / np.sqrt(8),
        ),
        np.array([0.3, 2.5, 7.0]),
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name):
    sigma, expected, scales = CLOSED[name]
    found = intertwiners.defect(sigma, scales)
    closeness(found, expected(scales), 1e-12, scale=scales)


def test_gelu_limit_slope():
    """The number of section E.2.1, and the rate at which it is reached."""
    limit = 0.12675385389961
    scales = np.array([1e3, 1e6, 1e9])
    slopes = intertwiners.defect(exact_gelu, scales) / scales
    assert abs(slopes[0] - limit) < 1e-9
    np.testing.assert_allclose(slopes[1:], limit, rtol=0, atol=2e-14)
    # E[X^2 (1[X > 0] - Phi)^2] = 1/2 - 2 E[X^2 1[X > 0] Phi] + E[X^2 Phi^2].
    half = gelu_moment(1e9, 1)
    assert np.sqrt(0.5 - 2 * half + gelu_moment(1, 1)) == pytest.approx(
        limit, abs=1e-14
    )
    # The default of JAX is another function, with another slope.
    tanh_form = intertwiners.defect(jax.nn.gelu, 1e6) / 1e6
    assert 1e-6 < abs(tanh_form - limit) < 1e-3


def test_figure_17():
    """Its right half: xi from 0 to 2, which is (E.23); 0 at 0 and 1, and a hump."""
    scales = np.linspace(1e-9, 2, 41)
    found = intertwiners.defect(exact_gelu, scales)

    def simplified(l):  # (E.23)
        f = lambda x: (x * (special.ndtr(l * x) - special.ndtr(x))) ** 2
        total = integrate.quad(
            lambda x: f(x) * stats.norm.pdf(x), -12, 12, epsabs=1e-16, limit=200
        )
        return l * np.sqrt(total[0])

    np.testing.assert_allclose(found, [simplified(l) for l in scales], atol=1e-9)
    np.testing.assert_allclose(found, gelu_defect(scales), atol=1e-8)
    assert found[0] < 1e-9
    assert found[20] == pytest.approx(0, abs=1e-9)  # scale 1
    top = scales[:20][found[:20].argmax()]
    assert 0.4 < top < 0.6
    assert found[:20].max() < found[-1] / 2
    assert (np.diff(found[20:]) > 0).all()


def test_exponent():
    scales = np.array([0.2, 1.0, 3.0])
    root = lambda x: jnp.sqrt(jnp.abs(x))
    for sigma, power in [(jnp.square, 2), (lambda x: x**3, 3), (root, 0.5)]:
        assert intertwiners.classify(sigma).exponent == power
        assert (intertwiners.defect(sigma, scales, exponent=power) < 1e-12).all()
        assert (intertwiners.defect(sigma, scales)[[0, 2]] > 0.1).all()


def test_laws_of_the_defect():
    """Homogeneous in sigma, 0 at 1, and at -1 the distance from odd."""
    scales = np.array([[0.5, 1.0], [2.0, 5.0]])
    once = intertwiners.defect(jnp.tanh, scales)
    assert once.shape == (2, 2)
    assert once.dtype == np.float64
    assert once[0, 1] == 0
    eight = intertwiners.defect(lambda x: -8 * jnp.tanh(x), scales)
    np.testing.assert_allclose(eight, 8 * once, rtol=1e-13)
    assert intertwiners.defect(jnp.tanh, []).shape == (0,)
    one = intertwiners.defect(jnp.tanh, 5.0)
    assert one.shape == ()
    assert one == once[1, 1]
    assert intertwiners.defect(jnp.tanh, -1) == 0
    assert intertwiners.defect(jnp.cos, -1) == pytest.approx(
        np.sqrt(2 + 2 * np.exp(-2)), rel=1e-12
    )


@pytest.mark.parametrize(
    ("sigma", "scale", "message"),
    [
        (jnp.sqrt, 2.0, "the function is not finite at x = -"),
        (jnp.exp, 17.0, "the function grows too fast at this scale"),
        (lambda x: 1 / x, 2.0, "the integral did not settle near x = "),
        (jnp.sin, 1e7, "the integral did not settle near x = "),
        (jnp.tanh, np.inf, r"the factor inf \*\* 1 is not a finite number"),
    ],
)
def test_refusals(sigma, scale, message):
    with pytest.raises(ValueError, match=f"^defect: {message}"):
        intertwiners.defect(sigma, scale)


def test_refusals_of_options():
    with pytest.raises(ValueError, match=r"^defect: the factor -2 \*\* 0.5"):
        intertwiners.defect(jnp.abs, -2.0, exponent=0.5)
    with pytest.raises(ValueError, match=r"^defect: the factor 0 \*\* -1"):
        intertwiners.defect(jnp.abs, 0.0, exponent=-1)
    with pytest.raises(ValueError, match="^defect: the function is not elementwise"):
        intertwiners.defect(jnp.sum, 2.0)
