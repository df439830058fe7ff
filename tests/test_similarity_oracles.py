"""Against outputs of other implementations; `oracles/README.md` states the tolerances.

In float32 the tolerances are for inputs that are float32 already.
"""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from thinned import some

from symjax_lib import similarity

PRECISIONS = pytest.mark.parametrize(
    "x64", some([True, False], every=2), ids=["float64", "float32"]
)


def features(case, x64):
    dtype = jnp.float64 if x64 else jnp.float32
    return jnp.asarray(case["x"], dtype), jnp.asarray(case["y"], dtype)


def measure(fn, x, y, **options):
    return float(fn(x, y, **options))


@jax.jit
def procrustes(x, y):
    """All variants as one program, which compiles in a fraction of the time."""
    found = {
        field + suffix: fn(x, y, center=center).similarity
        for fn, field in (
            (similarity.g_relu_procrustes, "g_relu"),
            (similarity.orthogonal_procrustes, "orth"),
        )
        for center, suffix in ((False, ""), (True, "_centred"))
    }
    return found, similarity.g_relu_procrustes(x, y).element.indices


@PRECISIONS
def test_procrustes_of_feature_maps(x64):
    atol = 1e-8 if x64 else 2e-6
    cases = oracles.load("procrustes_conv")
    assert len(cases) == 8
    with jax.enable_x64(x64):
        for name, case in cases.items():
            found, indices = procrustes(*features(case, x64))
            for field, value in found.items():
                np.testing.assert_allclose(
                    value, case[field], rtol=0, atol=atol, err_msg=f"{name} {field}"
                )
            if case["assign_margin"] > 1e-3:
                np.testing.assert_array_equal(indices, case["assign"])


def cka(x, y):
    return {
        "g_relu_cka": similarity.g_relu_cka(x, y),
        "chan_norm_cka": similarity.linear_cka(x, y, channel_norm=True),
        "linear_debiased": similarity.linear_cka(x, y),
        "linear_biased": similarity.linear_cka(x, y, debiased=False),
    }


@PRECISIONS
def test_cka_of_feature_maps(x64):
    atol = 1e-8 if x64 else 1e-5
    cases = oracles.load("cka_conv")
    assert len(cases) == 7
    with jax.enable_x64(x64):
        for name, case in cases.items():
            for field, value in jax.jit(cka)(*features(case, x64)).items():
                np.testing.assert_allclose(
                    value, case[field], rtol=0, atol=atol, err_msg=f"{name} {field}"
                )
        assert cases["c4_independent"]["g_relu_cka"] < -0.04  # not clamped


@PRECISIONS
def test_max_kernel(x64):
    case = oracles.load("cka_conv")["c2_width"]
    with jax.enable_x64(x64):
        for z, field in zip(features(case, x64), ("K_max", "L_max"), strict=True):
            gram = similarity.max_gram(similarity.unit_channels(z, center=True))
            np.testing.assert_allclose(gram, case[field], atol=1e-12 if x64 else 1e-6)


@pytest.mark.slow
@PRECISIONS
def test_every_layer_with_every_layer(x64):
    (case,) = oracles.load("layers_3x3").values()

    def measures(x, y):  # by parts, which the pairs of layers share
        return cka(x, y) | {
            "g_relu_procrustes": similarity.g_relu_procrustes(x, y).similarity,
            "orth_procrustes": similarity.orthogonal_procrustes(x, y).similarity,
        }

    dtype = "float64" if x64 else "float32"
    with jax.enable_x64(x64):
        xs, ys = (
            [jnp.asarray(case[f"{side}{i}"], dtype) for i in range(3)] for side in "xy"
        )
        tables = [[measures(x, y) for y in ys] for x in xs]
    for name in tables[0][0]:
        found = [[cell[name] for cell in row] for row in tables]
        atol = 2e-6 if "procrustes" in name else 1e-5
        np.testing.assert_allclose(
            found, case[name], rtol=0, atol=1e-8 if x64 else atol, err_msg=name
        )


@PRECISIONS
def test_dense_features(x64):
    """The first case is the demo that was published with CKA."""
    with jax.enable_x64(x64):
        for case in oracles.load("cka_dense").values():
            x, y = features(case, x64)
            atol = 1e-9 if x64 else 1e-5
            debiased = similarity.linear_cka(x, y)
            biased = similarity.linear_cka(x, y, debiased=False)
            np.testing.assert_allclose(debiased, case["debiased_linear"], atol=atol)
            np.testing.assert_allclose(biased, case["biased_linear"], atol=atol)


def test_hsic():
    with jax.enable_x64(True):
        for case in oracles.load("hsic1").values():
            k, l = jnp.asarray(case["K"]), jnp.asarray(case["L"])
            for debiased, field in ((True, "hsic1"), (False, "hsic0")):
                found = [
                    similarity.hsic(a, b, debiased=debiased)
                    for a, b in ((k, l), (k, k), (l, l))
                ]
                np.testing.assert_allclose(found, case[field], rtol=1e-10)
