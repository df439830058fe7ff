"""The evidence, remarks and refusals of `classify`."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from symjax_lib import groups, intertwiners
from symjax_lib.intertwiners.classifier import NEGATIVE, POSITIVE

# The same functions twice, the second time without JAX; none is 0 at 1.
PAIRS = {
    "gelu": (
        lambda x: jax.nn.gelu(x, approximate=False),
        lambda x: x * special.ndtr(x),
    ),
    "tanh": (jnp.tanh, np.tanh),
    "sigmoid": (jax.nn.sigmoid, special.expit),
    "softplus": (jax.nn.softplus, lambda x: np.logaddexp(x, 0.0)),
    "relu": (jax.nn.relu, lambda x: max(x, 0.0)),
    "cube": (lambda x: x**3, lambda x: x**3),
    "cos": (jnp.cos, np.cos),
}


@pytest.mark.parametrize("name", PAIRS)
def test_evidence_stands_without_jax(name):
    """Witnesses refute every b; the laws that pass hold at other points too."""
    sigma, plain = PAIRS[name]
    found = intertwiners.classify(sigma)
    others = np.random.default_rng(0).normal(size=200) * 3
    for law in found.evidence:
        a, x = law.multiplier, law.witness
        if law.passes:
            for other in others:
                error = plain(a * other) - law.image * plain(other)
                assert abs(error) <= 1e-13 * max(1, abs(plain(a * other)))
        elif law.image == 0:
            assert plain(a * x) == 0 != plain(x)  # and no b may be 0
        elif a == -1:
            assert law.image == np.sign(plain(-1.0) / plain(1.0))
            first, second = plain(-x), law.image * plain(x)  # as b b = 1
            assert abs(first - second) > 1e-3 * max(abs(first), abs(second))
        else:
            # Were there a b, this determinant would be 0.
            first = plain(a * x) * plain(1.0)
            second = plain(a) * plain(x)
            assert abs(first - second) > 1e-3 * max(abs(first), abs(second))


def test_multipliers_and_their_images():
    found = intertwiners.classify(lambda x: 2 * x * jnp.abs(x))
    multipliers = [law.multiplier for law in found.evidence]
    assert multipliers == [*POSITIVE, *NEGATIVE]
    for law in found.evidence:
        a = law.multiplier
        assert law.passes
        assert law.image == pytest.approx(a * abs(a), rel=1e-14)
    # 2 and 3 generate a dense group: no power of one is a power of the other.
    assert {2.0, 3.0} <= set(POSITIVE)
    assert all(2**i != 3**j for i in range(1, 30) for j in range(1, 30))


def test_a_witness_is_near_one_where_it_can_be():
    found = intertwiners.classify(jax.nn.relu6)
    assert 3 < found.evidence[0].witness < 3.5  # 2 x is clipped there, x is not
    relu = intertwiners.classify(jax.nn.relu)
    assert [law.witness for law in relu.evidence[8:]] == [1.0] * 5
    assert relu.evidence[8].image == 0  # -1 maps 1 to where relu is 0
    hole = intertwiners.classify(lambda x: jnp.where(x == 0, 5, jnp.abs(x)))
    assert hole.evidence[0].witness == 0


@pytest.mark.parametrize(
    ("sigma", "pattern"),
    [
        (lambda x: 3 * x, "for n = 1 the group is the same as monomial"),
        (
            lambda x: 3 * x + 2,
            "affine, c x . d with d = 2: for n > 1 the group is larger",
        ),
        (lambda x: jax.nn.relu(x - 1), r"sigma\(1\) = 0, so sigma\(I\) .* for all n,"),
        (lambda x: x - x**2 + 1, r"sigma\(I\) is singular for n > 1,"),
        (lambda x: 1 - 3 * x, r"sigma\(I\) is singular for n = 3,"),
        (lambda x: 1 - x, r"sigma\(I\) is singular for n = 1,"),
        (jnp.log, r"sigma\(0\) = -inf .* sigma\(I\) is not finite"),
        (jnp.sqrt, "undefined at 503 of 1007 points, such as x = -1"),
        (jnp.sign, "degree 0, so not continuous at 0: Theorem E.14"),
        (
            lambda x: jnp.where(
                x == 0, 0, x * (2 + jnp.sin(2 * jnp.pi * jnp.log2(jnp.abs(x))))
            ),
            "not all multipliers pass but 2, 0.5, -2, -0.5 do: the group is larger",
        ),
    ],
)
def test_remarks(sigma, pattern):
    found = intertwiners.classify(sigma)
    assert any(re.search(pattern, said) for said in found.remarks)


def test_most_activations_need_no_remark():
    for sigma in (jax.nn.relu, jax.nn.sigmoid, jnp.tanh, jnp.cos, lambda x: x**3):
        assert intertwiners.classify(sigma).remarks == ()
    # Nearly affine is not affine.
    nearly = lambda x: x + 2 + 1e-6 * jnp.sin(x)
    assert intertwiners.classify(nearly).remarks == ()


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "sigma", [lambda x: 1 - 3 * x, lambda x: 1 - x, lambda x: x - x**2 + 1, jnp.cos]
)
def test_remark_on_singular_is_that_of_the_matrix(sigma, n):
    """Against the rank of sigma(I), and the error of `phi`."""
    with jax.enable_x64(True):
        singular = np.linalg.matrix_rank(np.asarray(sigma(jnp.eye(n)))) < n
        said = " ".join(intertwiners.classify(sigma).remarks)
        claimed = f"singular for n = {n}," in said or ("n > 1," in said and n > 1)
        assert claimed == singular
        if singular:
            with pytest.raises(ValueError, match=f"singular for n = {n}"):
                intertwiners.phi(sigma, jnp.eye(n))


def test_affine_group_is_larger():
    """A 1 = 1 passes through c x + d, and a general matrix does not."""
    sigma = lambda x: 3 * x + 2
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(3, 3))
    row_sums_one = matrix / matrix.sum(1, keepdims=True)
    x = rng.normal(size=(3, 10))
    np.testing.assert_allclose(
        sigma(row_sums_one @ x), row_sums_one @ sigma(x), atol=1e-12
    )
    assert np.abs(sigma(matrix @ x) - matrix @ sigma(x)).max() > 0.1


def test_prints_as_a_table():
    text = str(intertwiners.classify(lambda x: jax.nn.relu(x) ** 2)).splitlines()
    assert text[0] == "positive_monomial: phi(P D) = P D^2"
    assert text[1].split() == ["a", "b", "residual"]
    assert text[2].split() == ["2", "4", "0e+00"]
    assert text[10].split() == ["-1", "-", "inf,", "refuted", "at", "x", "=", "1"]
    assert len(text) == 2 + len(POSITIVE) + len(NEGATIVE)
    formulas = {
        "phi(A) = A": lambda x: x,
        "phi(P) = P": jax.nn.sigmoid,
        "phi(P D) = P D": jnp.tanh,
        "phi(P D) = P": jnp.cos,
        "phi(P D) = P |D|": jnp.abs,
        "phi(P D) = P |D|^2": jnp.square,
        "phi(P D) = P sign(D) |D|^3": lambda x: x**3,
        "phi(P D) = P sign(D)": jnp.sign,
        "phi(P D) = P D^0.5": jnp.sqrt,
    }
    for formula, sigma in formulas.items():
        first = str(intertwiners.classify(sigma)).splitlines()[0]
        assert first.split(": ")[1] == formula
    affine = str(intertwiners.classify(lambda x: x + 2)).splitlines()
    assert affine[-1].startswith("- affine")


def test_the_function_is_called_twice():
    """A trace of a large network classifies hundreds of functions."""
    sizes = []

    def sigma(x):
        sizes.append(x.size)
        return jnp.tanh(x)

    intertwiners.classify(sigma)
    assert len(sizes) == 2


def test_works_inside_a_trace_and_in_either_precision():
    kinds = []

    @jax.jit
    def function(x):
        kinds.append(intertwiners.classify(jax.nn.relu)[:3])
        return x

    function(jnp.ones(2))
    with jax.enable_x64(True):
        kinds.append(intertwiners.classify(jax.nn.relu)[:3])
    assert kinds == [("positive_monomial", 1, None)] * 2


def test_phi_of_a_classification_refuses_what_is_outside():
    negative = groups.Monomial(groups.identity("permutation", 2), jnp.array([-1.0, 2]))
    relu = intertwiners.classify(jax.nn.relu)
    with pytest.raises(ValueError, match="whose scales are positive; got -1"):
        relu.phi(negative)
    with pytest.raises(TypeError, match="got General"):
        relu.phi(groups.General(jnp.eye(2)))
    with pytest.raises(TypeError, match="group is permutation, got Monomial"):
        intertwiners.classify(jax.nn.sigmoid).phi(negative)
    line = intertwiners.classify(lambda x: -3 * x)
    assert line.phi(negative) is negative


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        (lambda x: 0 * x + 2, "the function is constant, 2"),
        (lambda x: x * 0, "the function is constant, 0"),
        (lambda x: x / 0, "finite at no point tried"),
        (lambda x: x * math.nan, "finite at no point tried"),
        (lambda x: x * 1j, "complex values"),
        (lambda x: jax.nn.relu(x).astype(jnp.float32), "returned float32 for float64"),
        (
            lambda x: jax.nn.relu(x).astype(jnp.bfloat16),
            "returned bfloat16 for float64",
        ),
        (lambda x: jnp.float32(2.0), r"it returned shape \(\) for"),
        (lambda x: jnp.stack([x, x]), "not elementwise, it returned shape"),
        (jnp.cumsum, "a value depends on the other entries"),
        (jnp.sort, "a value depends on the other entries"),
        (lambda x: x - x.mean(), "a value depends on the other entries"),
        (lambda x: x[::-1], "a value depends on the other entries"),
        (lambda x: x / len(x), "a value depends on the other entries"),
    ],
)
def test_refusals(sigma, message):
    with pytest.raises(ValueError, match=f"^classify: .*{message}"):
        intertwiners.classify(sigma)
