import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from networks import apply, assert_vmaps, batch, counted, largest, run, shapes, started

from symjax_lib import models, tracing
from symjax_lib.models import layers

MYRTLE = models.MyrtleCNN(width=4)
CASES = {
    "mlp": (models.MLP(features=(6, 5), activation=jnp.tanh), (2, 3, 2)),
    "myrtle": (MYRTLE, (8, 9, 1)),
    "myrtle_bare": (MYRTLE.clone(norm=False, activation=nn.gelu), (8, 9, 1)),
    "tiny10": (models.Tiny10(), (27, 28, 3)),
}
each = pytest.mark.parametrize(("model", "shape"), CASES.values(), ids=CASES)


# The Myrtle CNN of width 64 on 3 channels: four kernels of 3x3, and the linear layer.
KERNELS = 9 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
CONSTANT = 9 * (3 * 512 + 3 * 512 * 512)
CHANNELS = 64 + 128 + 256 + 512
FC = 512 * 10 + 10


@pytest.mark.parametrize(
    ("model", "shape", "params", "statistics"),
    [
        # Gain and bias of BatchNorm, no bias of a convolution; mean and variance.
        (models.MyrtleCNN(), (32, 32, 3), KERNELS + 2 * CHANNELS + FC, 2 * CHANNELS),
        # One bias for every channel instead.
        (models.MyrtleCNN(norm=False), (32, 32, 3), KERNELS + CHANNELS + FC, 0),
        (
            models.MyrtleCNN(width=512, constant_width=True),
            (28, 28, 3),
            CONSTANT + 2 * 4 * 512 + FC,
            2 * 4 * 512,
        ),
        # Kernels and biases of 64-64, 64-64 and 64-10.
        (models.MLP(), (8, 8, 1), 2 * (64 * 64 + 64) + 64 * 10 + 10, 0),
        # Kernels: 3-16-16 and so on, the last one 1x1; then bias, gain and bias of
        # 16 + 16 + 3 * 32 + 3 * 64 = 320 channels; then 64-10.
        (
            models.Tiny10(),
            (32, 32, 3),
            9 * (3 * 16 + 16 * 16 + 16 * 32 + 2 * 32 * 32 + 32 * 64 + 64 * 64)
            + 64 * 64
            + 3 * 320
            + 64 * 10
            + 10,
            2 * 320,
        ),
    ],
    ids=["myrtle", "without_norm", "constant_width", "mlp", "tiny10"],
)
def test_parameter_counts(model, shape, params, statistics):
    assert counted(model, shape) == params
    assert counted(model, shape, "batch_stats") == statistics


def test_parameter_counts_are_the_published_ones():
    """Of the layer lists in the authors' code, `reference/published.csv`."""
    assert KERNELS + 2 * CHANNELS + FC == 1_557_066
    assert KERNELS + CHANNELS + FC == 1_556_106
    assert CONSTANT + 2 * 4 * 512 + FC == 7_100_938


@each
def test_taps_are_the_values_after_the_activations(model, shape):
    variables, images = started(model, shape), batch(shape)
    logits, named = run(tracing.taps(apply(model)), variables, images)
    assert logits.shape == (3, 10)
    assert tuple(named) == model.tap_names
    captured = run(apply(model, capture_intermediates=True), variables, images)
    outputs = captured[1]["intermediates"]
    for name, value in named.items():
        norm = name.replace("conv", "bn")
        before = outputs.get(norm, outputs[name])["__call__"][0]
        after = getattr(model, "activation", nn.relu)(before)
        assert_close(value, after, scale=largest(before))
        assert jnp.std(value) > 0


@each
def test_paper_names_belong_to_taps(model, shape):
    assert set(model.paper_names) <= set(model.tap_names)
    assert len(set(model.paper_names.values())) == len(model.paper_names)


def test_paper_names():
    names = {"conv1": "3", "conv2": "6", "conv3": "10", "conv4": "14"}
    assert models.MyrtleCNN.paper_names == names


@each
def test_vmap_over_seeds(model, shape):
    assert_vmaps(model, shape)


TRAINING = {"train": True, "mutable": ["batch_stats"]}


def test_training_mode_uses_the_batch_and_moves_the_averages():
    variables, images = started(MYRTLE, (8, 9, 1)), batch((8, 9, 1))
    logits, updated = run(apply(MYRTLE, **TRAINING), variables, images)
    assert largest(logits - run(apply(MYRTLE), variables, images)) > 0.1
    before, after = variables["batch_stats"], updated["batch_stats"]
    moved = jax.tree.map(lambda x, y: bool((x != y).all()), before, after)
    assert all(jax.tree.leaves(moved))
    conv1 = {"params": variables["params"]["conv1"]}
    x = nn.Conv(4, (3, 3), use_bias=False).apply(conv1, images)
    x = np.asarray(x, np.float64)
    for word, value in {"mean": x.mean((0, 1, 2)), "var": x.var((0, 1, 2))}.items():
        expected = 0.9 * before["bn1"][word] + 0.1 * value
        assert_close(after["bn1"][word], expected)


def test_evaluation_mode_leaves_the_averages():
    variables, images = started(MYRTLE, (8, 9, 1)), batch((8, 9, 1))
    _, updated = run(apply(MYRTLE, mutable=["batch_stats"]), variables, images)
    jax.tree.map(
        np.testing.assert_array_equal,
        updated["batch_stats"],
        variables["batch_stats"],
    )


def test_training_mode_without_norm_is_evaluation_mode():
    model, shape = CASES["myrtle_bare"]
    variables, images = started(model, shape), batch(shape)
    logits, updated = run(apply(model, **TRAINING), variables, images)
    assert updated == {}
    np.testing.assert_array_equal(logits, run(apply(model), variables, images))


def test_kernels_start_as_in_pytorch():
    model = models.MyrtleCNN(width=16, norm=False)
    params = run(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    for name, fan_in in {"conv2": 9 * 16, "conv4": 9 * 64, "fc": 128}.items():
        kernel, bound = params[name]["kernel"], 1 / np.sqrt(fan_in)
        assert 0.98 * bound < jnp.abs(kernel).max() <= bound
        # The variance of a uniform distribution, to five standard errors at least.
        assert abs(3 * kernel.var() / bound**2 - 1) < 5 / np.sqrt(kernel.size)
        assert not params[name]["bias"].any()


@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (1, 5, 7, 2), (2, 2, 3, 1)])
def test_max_pool_is_flax_max_pool(shape):
    rng = np.random.default_rng(0)
    x = jnp.asarray(
        rng.permutation(np.prod(shape)).reshape(shape), jnp.float32
    )  # no ties
    expected, pullback = jax.vjp(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
    value, our_pullback = jax.vjp(layers.max_pool_2x2, x)
    np.testing.assert_array_equal(value, expected)
    cotangent = jnp.asarray(rng.normal(size=value.shape), jnp.float32)
    np.testing.assert_array_equal(our_pullback(cotangent)[0], pullback(cotangent)[0])


def test_max_pool_shares_the_gradient_of_ties():
    gradient = jax.grad(lambda x: layers.max_pool_2x2(x).sum())
    x = jnp.array([[2.0, 2.0], [1.0, 0.0]]).reshape(1, 2, 2, 1)
    assert gradient(x).ravel().tolist() == [0.5, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(("model", "side"), [(MYRTLE, 8), (models.Tiny10(), 27)])
def test_smallest_and_odd_sizes(model, side):
    variables = shapes(model, (side, side, 3))
    for size in (side, side + 1, 29):
        images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
        out = jax.eval_shape(apply(model), variables, images)
        assert out.shape == (2, 10)
    small = jnp.zeros((2, side, side - 1, 3))
    got = re.escape(str(small.shape))
    message = rf"{type(model).__name__}: .* at least {side}x{side} .*{got}"
    with pytest.raises(ValueError, match=message):
        jax.jit(apply(model)).lower(variables, small)


@each
def test_a_single_image_is_refused(model, shape):
    message = rf"{type(model).__name__}: .*\[N, H, W, C\].*images\[None\]"
    with pytest.raises(ValueError, match=message):
        model.apply(shapes(model, shape), jnp.zeros(shape))


def test_mlp_takes_vectors():
    model, shape = models.MLP(features=(4,)), (1, 1, 6)
    variables, images = started(model, shape), batch(shape)
    np.testing.assert_array_equal(
        model.apply(variables, images), model.apply(variables, images[:, 0, 0])
    )


@each
def test_equal_models_are_equal_and_hash_alike(model, shape):
    assert model == model.clone()
    assert hash(model) == hash(model.clone())
    assert model != model.clone(num_classes=11)
