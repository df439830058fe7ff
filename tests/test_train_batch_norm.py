"""The layer against flax's own, in value, statistics and gradients."""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train import batch_norm


def results(layer, x, dy, *, intercepted):
    variables = layer.init(jax.random.key(0), x)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda p: jnp.asarray(rng.normal(1, 0.5, p.shape), p.dtype), variables["params"]
    )

    def fn(params, x):
        with contextlib.ExitStack() as stack:
            if intercepted:
                stack.enter_context(nn.intercept_methods(batch_norm.intercept))
            variables_ = {**variables, "params": params}
            return layer.apply(variables_, x, mutable=["batch_stats"])

    y, vjp, updates = jax.vjp(fn, params, x, has_aux=True)
    used = "custom_vjp" in str(jax.make_jaxpr(fn)(params, x))
    return used, (y, vjp(dy), updates)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_value_statistics_and_gradients(offset):
    keys = jax.random.split(jax.random.key(1), 2)
    x = jax.random.normal(keys[0], (6, 4, 5, 3)) + offset
    dy = jax.random.normal(keys[1], x.shape)
    layer = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5)
    used, found = results(layer, x, dy, intercepted=True)
    assert used == (jax.default_backend() == "cpu")
    expected = results(layer, x, dy, intercepted=False)[1]
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
    jax.tree.map(close, found, expected)
    # The statistics did move.
    assert abs(found[2]["batch_stats"]["var"] - 1).max() > 1e-3


def test_gradients_in_double_precision():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, dy = (jnp.asarray(rng.normal(size=(4, 3, 2, 5))) for _ in range(2))
        scale, bias = jnp.asarray(rng.normal(size=(2, 5)))

        def plain(x, scale, bias):
            centred = x - x.mean(axis=(0, 1, 2))
            variance = (centred**2).mean(axis=(0, 1, 2))
            return centred / jnp.sqrt(variance + 1e-3) * scale + bias

        fast = lambda *args: batch_norm.batch_norm(*args, 1e-3)[0]
        found = jax.vjp(fast, x, scale, bias)[1](dy)
        expected = jax.vjp(plain, x, scale, bias)[1](dy)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def test_a_channel_without_variance_has_finite_gradients():
    x = jnp.full((2, 2, 2, 1), 3.0)
    fast = lambda x: batch_norm.batch_norm(x, jnp.ones(1), jnp.zeros(1), 1e-5)[0].sum()
    assert np.isfinite(jax.grad(fast)(x)).all()


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm(use_running_average=False, use_bias=False),
        nn.BatchNorm(use_running_average=False, axis=1),
        nn.BatchNorm(use_running_average=False, use_fast_variance=False),
        nn.BatchNorm(use_running_average=False, dtype=jnp.float32),
        nn.BatchNorm(use_running_average=True),
        nn.LayerNorm(),
    ],
)
def test_other_layers_stay(layer):
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    used, found = results(layer, x, x, intercepted=True)
    assert not used
    expected = results(layer, x, x, intercepted=False)[1]
    jax.tree.map(np.testing.assert_array_equal, found, expected)
