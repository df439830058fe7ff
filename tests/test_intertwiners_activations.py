"""Every activation of `jax.nn` and `flax.linen`, and the paper's, derived by hand."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import activation

from symjax_lib import groups, intertwiners

HOMOGENEOUS, BOTH, NEITHER = "positive_monomial", "signed_permutation", "permutation"
prelu = functools.partial(
    nn.PReLU().apply, {"params": {"negative_slope": jnp.float32(0.2)}}
)

exact_gelu = functools.partial(jax.nn.gelu, approximate=False)

# name, function, kind, exponent, parity, why: a homogeneous function is c |x|^p on
# either side of 0; one that is neither odd nor even is so at the values given.
LIBRARIES = [
    ("celu", jax.nn.celu, NEITHER, None, None, "x above 0, bounded below"),
    ("elu", jax.nn.elu, NEITHER, None, None, "x above 0, bounded below"),
    ("gelu", jax.nn.gelu, NEITHER, None, None, "about x at +inf, 0 at -inf, x/2 at 0"),
    ("hard_sigmoid", jax.nn.hard_sigmoid, NEITHER, None, None, "1/2 at 0, 1 at inf"),
    ("hard_silu", jax.nn.hard_silu, NEITHER, None, None, "x/2 at 0, 0 at -3"),
    ("hard_swish", jax.nn.hard_swish, NEITHER, None, None, "as hard_silu"),
    ("hard_tanh", jax.nn.hard_tanh, BOTH, None, "odd", "clips at 1 and -1"),
    ("identity", jax.nn.identity, "general_linear", 1, "odd", "x"),
    ("leaky_relu", jax.nn.leaky_relu, HOMOGENEOUS, 1, None, "slopes 1 and 0.01"),
    ("log1mexp", jax.nn.log1mexp, NEITHER, None, None, "log x at 0, -exp(-x) at +inf"),
    ("log_sigmoid", jax.nn.log_sigmoid, NEITHER, None, None, "-log 2 at 0, x at -inf"),
    ("mish", jax.nn.mish, NEITHER, None, None, "x at +inf, 0 at -inf, 0.6 x about 0"),
    ("relu", jax.nn.relu, HOMOGENEOUS, 1, None, "slopes 1 and 0"),
    ("relu6", jax.nn.relu6, NEITHER, None, None, "x until 6, then 6; 0 below 0"),
    ("selu", jax.nn.selu, NEITHER, None, None, "c x above 0, bounded below"),
    ("sigmoid", jax.nn.sigmoid, NEITHER, None, None, "1/2 at 0, 1 at inf"),
    ("silu", jax.nn.silu, NEITHER, None, None, "x at +inf, x/2 about 0, 0 at -inf"),
    ("soft_sign", jax.nn.soft_sign, BOTH, None, "odd", "x / (1 + |x|)"),
    ("softplus", jax.nn.softplus, NEITHER, None, None, "log 2 at 0, x at +inf"),
    ("sparse_plus", jax.nn.sparse_plus, NEITHER, None, None, "1/4 at 0, 0 below -1"),
    ("sparse_sigmoid", jax.nn.sparse_sigmoid, NEITHER, None, None, "1/2 at 0, 0 below"),
    ("squareplus", jax.nn.squareplus, NEITHER, None, None, "1 at 0, x at +inf"),
    ("swish", jax.nn.swish, NEITHER, None, None, "as silu"),
    ("tanh", jax.nn.tanh, BOTH, None, "odd", "x about 0, bounded"),
    ("PReLU", prelu, HOMOGENEOUS, 1, None, "slopes 1 and 0.2"),
]
OTHERS = [
    ("gelu erf", exact_gelu, NEITHER, None, None, "x and 0 at infinity"),
    ("square", jnp.square, "monomial", 2, "even", "x^2"),
    ("cube", lambda x: x**3, "monomial", 3, "odd", "x^3"),
    ("fourth power", lambda x: x**4, "monomial", 4, "even", "x^4"),
    ("40th power", lambda x: x**40, "monomial", 40, "even", "overflows at 1e8"),
    ("any power", lambda x: jnp.abs(x) ** 0.7123, "monomial", 0.7123, "even", "|x|^p"),
    ("signed root", jnp.cbrt, "monomial", 1 / 3, "odd", "sign(x) |x|^(1/3)"),
    ("root", jnp.sqrt, HOMOGENEOUS, 0.5, None, "x^(1/2), undefined below 0"),
    ("rsqrt", jax.lax.rsqrt, HOMOGENEOUS, -0.5, None, "x^(-1/2), undefined below 0"),
    ("reciprocal", lambda x: 1 / x, "monomial", -1, "odd", "x^-1"),
    ("abs", jnp.abs, "monomial", 1, "even", "|x|"),
    ("sign", jnp.sign, "monomial", 0, "odd", "degree 0"),
    ("step", lambda x: jnp.where(x >= 0, 1.0, -1.0), HOMOGENEOUS, 0, None, "1 at 0"),
    ("squared relu", lambda x: jax.nn.relu(x) ** 2, HOMOGENEOUS, 2, None, "x^2 and 0"),
    ("left relu", lambda x: jax.nn.relu(-x), HOMOGENEOUS, 1, None, "0 at x = 1"),
    ("sin", jnp.sin, BOTH, None, "odd", "bounded"),
    ("sin pi x", lambda x: jnp.sin(jnp.pi * x), BOTH, None, "odd", "about 0 at x = 1"),
    ("cos", jnp.cos, BOTH, None, "even", "1 at 0, not constant"),
    ("erf", jax.scipy.special.erf, BOTH, None, "odd", "bounded"),
    ("arcsin", jnp.arcsin, BOTH, None, "odd", "undefined above 1, and below -1"),
    ("rbf", lambda x: jnp.exp(-(x**2) / 2), BOTH, None, "even", "1 at 0, 0 at inf"),
    ("line", lambda x: -3 * x, "general_linear", 1, "odd", "c x"),
    ("affine", lambda x: x + 2, NEITHER, None, None, "2 at 0, not constant"),
    ("relu + 1", lambda x: jax.nn.relu(x) + 1, NEITHER, None, None, "1 at 0"),
    ("relu(x - 1)", lambda x: jax.nn.relu(x - 1), NEITHER, None, None, "0 until 1"),
    ("shifted", lambda x: jax.nn.sigmoid(x - 1), NEITHER, None, None, "not 0 at 0"),
    ("centred", lambda x: jax.nn.sigmoid(x) - 0.5, NEITHER, None, None, "see below"),
    ("exp", jnp.exp, NEITHER, None, None, "1 at 0, not constant"),
    ("log", jnp.log, NEITHER, None, None, "0 at 1, not 0 at 2"),
    ("hole", lambda x: jnp.where(x == 0, 5, jnp.abs(x)), BOTH, None, "even", "5 at 0"),
]
# Close to another function, but not it.
NEARLY = [
    ("almost x", lambda x: jax.nn.leaky_relu(x, 0.999), HOMOGENEOUS, 1, None, "bent"),
    (
        "almost |x|",
        lambda x: jax.nn.leaky_relu(x, -0.999),
        HOMOGENEOUS,
        1,
        None,
        "skew",
    ),
    ("elu 1e-9", lambda x: jax.nn.elu(x, 1e-9), NEITHER, None, None, "bounded below"),
    (
        "steep",
        lambda x: jax.nn.softplus(1e6 * x) / 1e6,
        NEITHER,
        None,
        None,
        "not relu",
    ),
    (
        "steep silu",
        lambda x: jax.nn.silu(1e6 * x) / 1e6,
        NEITHER,
        None,
        None,
        "not relu",
    ),
    (
        "steep gelu",
        lambda x: jax.nn.gelu(1e6 * x) / 1e6,
        NEITHER,
        None,
        None,
        "not relu",
    ),
    ("relu + 1e-9", lambda x: jax.nn.relu(x) + 1e-9, NEITHER, None, None, "not 0 at 0"),
    ("relu + tiny", lambda x: jax.nn.relu(x) + 1e-300, NEITHER, None, None, "the same"),
    ("relu(x - 1e-9)", lambda x: jax.nn.relu(x - 1e-9), NEITHER, None, None, "a dent"),
    ("wavy", lambda x: x + 1e-6 * jnp.sin(x), BOTH, None, "odd", "not c x"),
    ("wavy 1e-9", lambda x: x + 1e-9 * jnp.sin(x), BOTH, None, "odd", "not c x"),
    ("wavy even", lambda x: x + 1e-6 * jnp.cos(x), NEITHER, None, None, "odd + even"),
    ("hyperbola", lambda x: jnp.sqrt(x**2 + 1e-12), BOTH, None, "even", "1e-6 at 0"),
    ("far clip", lambda x: jnp.clip(x, -1e6, 1e6), BOTH, None, "odd", "x until 1e6"),
    ("near clip", lambda x: jnp.clip(x, -1e-6, 1e-6), BOTH, None, "odd", "until 1e-6"),
    ("|x|^p", lambda x: jnp.abs(x) ** 1.0001, "monomial", 1.0001, "even", "not |x|"),
    ("small tanh", lambda x: 1e-300 * jnp.tanh(x), BOTH, None, "odd", "c tanh"),
    ("slow", lambda x: x * (1 + 1e-6 * jnp.tanh(x)), NEITHER, None, None, "odd + even"),
]
TABLE = LIBRARIES + OTHERS + NEARLY

# Activations that act on an axis: classify refuses them.
OF_AN_AXIS = {
    "glu": jax.nn.glu,
    "log_softmax": jax.nn.log_softmax,
    "logmeanexp": jax.nn.logmeanexp,
    "logsumexp": jax.nn.logsumexp,
    "normalize": activation.normalize,
    "softmax": jax.nn.softmax,
    "standardize": jax.nn.standardize,
}
NO_ACTIVATIONS = {
    "dot_product_attention": "of several arrays",
    "get_scaled_dot_general_config": "options of scaled_dot_general",
    "initializers": "a module",
    "one_hot": "of integers",
    "scaled_dot_general": "of several arrays",
    "scaled_matmul": "of several arrays",
    # What flax.linen.activation imports for its own use.
    **dict.fromkeys(["Any", "Array", "Dtype", "Optional"], "a type"),
    **dict.fromkeys(["Dense", "Module", "compact", "jnp"], "not a function of arrays"),
}


def test_no_activation_is_left_out():
    known = {row[0] for row in LIBRARIES} | set(OF_AN_AXIS) | set(NO_ACTIVATIONS)
    for module in (jax.nn, activation):
        names = {name for name in dir(module) if not name.startswith("_")}
        new = sorted(names - known)
        assert not new, f"{module.__name__} has {new}: derive their groups by hand"


@pytest.mark.parametrize("name", ["celu", "elu", "gelu", "relu", "silu", "tanh"])
def test_flax_has_the_functions_of_jax(name):
    assert getattr(nn, name) is getattr(jax.nn, name)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_classification(row):
    _, sigma, kind, exponent, parity, _ = row
    found = intertwiners.classify(sigma)
    assert (found.kind, found.parity) == (kind, parity)
    if exponent is None:
        assert found.exponent is None
    else:
        assert found.exponent == pytest.approx(exponent, rel=1e-13)


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row[2] != NEITHER], ids=lambda row: row[0]
)
def test_phi_intertwines(row):
    """sigma(A x) = phi(A) sigma(x), with dense matrices."""
    name, sigma, kind, exponent, *_ = row
    found = intertwiners.classify(sigma)
    with jax.enable_x64(True):
        g = groups.sample(jax.random.key(0), kind, 5)
        matrix = np.asarray(groups.as_matrix(g))
        image = np.asarray(groups.as_matrix(found.phi(g)))
        x = np.random.default_rng(0).uniform(-0.9, 0.9, (5, 40))
        if name in ("root", "rsqrt"):
            x = np.abs(x)
        left, right = np.asarray(sigma(matrix @ x)), image @ np.asarray(sigma(x))
    # A power multiplies relative rounding by itself; wavy ones cancel at no point.
    scale = 1e-14 * max(1.0, abs(exponent or 1.0)) * np.abs(left).max()
    np.testing.assert_allclose(left, right, rtol=1e-12, atol=scale)


@pytest.mark.parametrize("name", OF_AN_AXIS)
def test_functions_of_an_axis_are_refused(name):
    with pytest.raises(ValueError, match="classify: the function is not elementwise"):
        intertwiners.classify(OF_AN_AXIS[name])


@pytest.mark.parametrize("seed", range(5))
def test_random_functions(seed):
    """Of each class, with random numbers in it."""
    rng = np.random.default_rng(seed)
    up, down, power = rng.normal(), rng.normal(), rng.uniform(0.1, 5)
    frequencies, phases = rng.uniform(0.5, 2, 4), rng.uniform(0.5, 1, 4)
    two_piece = lambda x: jnp.where(x > 0, up * x, down * x)
    powers = lambda x: jnp.where(x > 0, up, down) * jnp.abs(x) ** power
    waves = lambda x: jnp.sum(jnp.sin(frequencies * x[..., None] + phases), axis=-1)
    found = [intertwiners.classify(f) for f in (two_piece, powers, waves)]
    assert [c.kind for c in found] == [HOMOGENEOUS, HOMOGENEOUS, NEITHER]
    assert found[0].exponent == 1
    assert found[1].exponent == pytest.approx(power, rel=1e-13)
    even = intertwiners.classify(lambda x: waves(x) + waves(-x))
    odd = intertwiners.classify(lambda x: waves(x) - waves(-x))
    assert (even.kind, even.parity) == (BOTH, "even")
    assert (odd.kind, odd.parity) == (BOTH, "odd")


def test_cancellation_is_refused_its_law():
    """The sigmoid less a half is odd, but not to rounding about 0: the safe answer."""
    law = intertwiners.classify(lambda x: jax.nn.sigmoid(x) - 0.5).evidence[8]
    assert law.multiplier == -1
    assert law.image == -1
    assert not law.passes
    assert abs(law.witness) < 1e-4
