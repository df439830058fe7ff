"""The convolution against `lax.conv`, in value and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thinned import some

from train import winograd


def plain(x, kernel):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=numbers, precision="highest"
    )


@pytest.mark.parametrize(
    ("n", "height", "width", "channels", "features", "x64"),
    some(
        [
            (3, 8, 12, 5, 7, True),
            (1, 4, 4, 1, 1, True),
            (2, 16, 8, 64, 3, False),
            (3, 8, 12, 5, 7, False),
        ],
        every=4,
    ),
)
def test_value_and_gradients(n, height, width, channels, features, x64):
    rng = np.random.default_rng(n)
    with jax.enable_x64(x64):
        dtype = "float64" if x64 else "float32"
        x = jnp.asarray(rng.normal(size=(n, height, width, channels)), dtype)
        kernel = jnp.asarray(rng.normal(size=(3, 3, channels, features)), dtype)
        dy = jnp.asarray(rng.normal(size=(n, height, width, features)), dtype)
        y, vjp = jax.vjp(winograd.conv3x3, x, kernel)
        expected, plain_vjp = jax.vjp(plain, x, kernel)
        # Rounding is relative to the sum of what is added, without its signs.
        sizes, sizes_vjp = jax.vjp(plain, jnp.abs(x), jnp.abs(kernel))
        for found, known, size in zip(
            (y, *vjp(dy)),
            (expected, *plain_vjp(dy)),
            (sizes, *sizes_vjp(jnp.abs(dy))),
            strict=True,
        ):
            assert found.dtype == known.dtype
            atol = 32 * float(jnp.finfo(dtype).eps * size.max())
            np.testing.assert_allclose(found, known, rtol=0, atol=atol)


@pytest.mark.slow
def test_many_seeds_at_once():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 3, 8, 8, 4)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(2, 3, 3, 4, 5)), jnp.float32)
    np.testing.assert_allclose(
        jax.vmap(winograd.conv3x3)(x, kernel), jax.vmap(plain)(x, kernel), atol=2e-4
    )


def replaced(layer, x):
    """Whether a layer is computed by `conv3x3`; its value must be the same."""
    apply = lambda v, x: layer.apply(v, x)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    with nn.intercept_methods(winograd.intercept):
        jaxpr = str(jax.make_jaxpr(apply)(variables, x))
    if "custom_vjp" not in jaxpr:
        return False
    variables = layer.init(jax.random.key(0), x)
    with nn.intercept_methods(winograd.intercept):
        actual = apply(variables, x)
    np.testing.assert_allclose(actual, apply(variables, x), atol=1e-4)
    return True


class Keyword(nn.Module):
    """Calls a layer that fits by keyword, as models of others may."""

    @nn.compact
    def __call__(self, x):
        return nn.Conv(64, (3, 3))(inputs=x)


def test_layers_that_fit_are_replaced_on_a_cpu_and_no_others():
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 32))
    on_cpu = jax.default_backend() == "cpu"
    assert replaced(nn.Conv(64, (3, 3), padding=1), x) == on_cpu
    assert replaced(nn.Conv(64, (3, 3), use_bias=False), x) == on_cpu
    assert replaced(nn.Conv(64, (3, 3), padding=1, strides=(1, 1)), x) == on_cpu
    assert replaced(nn.Conv(64, (3, 3)), jnp.zeros((1, 32, 32, 64))) == on_cpu
    assert not replaced(nn.Conv(64, (3, 3), dtype=jnp.float32), x)
    assert not replaced(nn.Conv(64, (3, 3), precision="highest"), x)
    assert not replaced(nn.Conv(64, (3, 3), mask=jnp.ones((3, 3, 32, 64))), x)
    assert not replaced(Keyword(), x)
    assert not replaced(nn.Conv(64, (1, 1)), x)
    assert not replaced(nn.Conv(64, (3, 3), padding=0), x)
    assert not replaced(nn.Conv(64, (3, 3), padding="CIRCULAR"), x)
    assert not replaced(nn.Conv(64, (3, 3), padding=1, strides=2), x)
    assert not replaced(nn.Conv(64, (3, 3), kernel_dilation=2), x)
    assert not replaced(nn.Conv(64, (3, 3), feature_group_count=32), x)
    assert not replaced(nn.Conv(64, (3, 3)), x[..., :8])
    assert not replaced(nn.Conv(64, (3, 3)), x[:, :6])
    assert not replaced(nn.Conv(64, (3, 3)), jnp.zeros((1, 32, 32, 32)))
    assert not replaced(nn.Conv(32, (3, 3)), x)
    assert not replaced(nn.Dense(64), x)
