"""ConvNeXt against the network in NumPy, published counts, and what can be seen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_layers as plain
import pytest
from networks import (
    apply,
    assert_is_the_network,
    assert_vmaps,
    batch,
    counted,
    program,
    run,
    shapes,
    started,
    training,
)

from symjax_lib import models
from symjax_lib.models.convnext import ConvNeXtBlock

SMALL = models.ConvNeXt(blocks=(1, 2), widths=(4, 6), num_classes=5, layer_scale=0.5)
SHAPE = (17, 22, 3)


def test_parameter_counts_are_the_published_ones():
    """In torchvision's documentation of tiny and small."""
    assert counted(models.ConvNeXt(), (224, 224, 3)) == 28_589_128
    assert counted(models.ConvNeXt((3, 3, 27, 3)), (224, 224, 3)) == 50_223_688


@pytest.mark.parametrize(
    ("blocks", "first", "millions"),
    # Of timm's own sizes atto, pico and nano, in their model cards.
    [((2, 2, 6, 2), 40, 3.7), ((2, 2, 6, 2), 64, 9.0), ((2, 2, 8, 2), 80, 15.6)],
)
def test_parameter_counts(blocks, first, millions):
    model = models.ConvNeXt(blocks, tuple(first * 2**i for i in range(4)))
    widths, total = (3, *model.widths), 2 * model.widths[-1]
    for before, width, blocks in zip(widths, widths[1:], model.blocks, strict=False):
        stem = before == 3
        total += (16 if stem else 4) * before * width + width  # the convolution
        total += 2 * (width if stem else before)  # the norm
        block = 49 * width + width + 2 * width + width  # by channels, norm, scale
        block += 4 * width * width + 4 * width + 4 * width * width + width
        total += blocks * block
    total += 1000 * model.widths[-1] + 1000
    assert counted(model, (64, 64, 3)) == total
    assert round(total / 1e6, 1) == millions


def block(state, name, x, keep):
    channels = x.shape[1]
    conv = functools.partial(plain.conv, state, f"{name}.dwconv", bias=True)
    y = plain.channels_last(conv(x, channels, 7, padding=3, groups=channels))
    y = plain.layer_norm(state, f"{name}.norm", y, epsilon=1e-6)
    y = plain.gelu(plain.linear(state, f"{name}.pwconv1", y, 4 * channels))
    y = plain.linear(state, f"{name}.pwconv2", keep(f"{name}.pwconv1", y), channels)
    y = y * state.normal(f"{name}.gamma", channels)
    x = x + np.moveaxis(y, -1, 1)
    keep(name, plain.channels_last(x))
    return x


def network(state, images, *, model):
    x, taps = plain.channels_first(images), {}

    def keep(name, value):
        taps[name] = value
        return value

    def norm(name, x):
        x = plain.layer_norm(state, name, plain.channels_last(x), epsilon=1e-6)
        return np.moveaxis(x, -1, 1)

    for i, (count, width) in enumerate(zip(model.blocks, model.widths, strict=True)):
        name, side = f"downsample_layers.{i}", 2 if i else 4
        cut = functools.partial(plain.conv, state, bias=True, stride=side)
        if i:
            x = cut(f"{name}.1", norm(f"{name}.0", x), width, side)
        else:
            x = norm(f"{name}.1", cut(f"{name}.0", x, width, side))
        for j in range(count):
            x = block(state, f"stages.{i}.{j}", x, keep)
    x = plain.layer_norm(state, "norm", x.mean((2, 3)), epsilon=1e-6)
    return plain.linear(state, "head", x, model.num_classes), taps


def test_convnext_is_the_network_in_numpy():
    assert_is_the_network(
        SMALL, functools.partial(network, model=SMALL), plain.State(), SHAPE
    )


def test_without_layer_scale_a_block_is_the_identity():
    x = batch((5, 6, 4))

    def output(scale):
        model = ConvNeXtBlock(layer_scale=scale)
        return run(model.init_with_output, jax.random.key(0), x)[0]

    np.testing.assert_array_equal(output(0.0), x)
    assert (np.asarray(output(0.1)) != np.asarray(x)).all()


def test_the_convolution_keeps_channels_apart():
    """An image in one channel and a kernel of one pixel there: only it moves."""
    x = jnp.zeros((1, 9, 9, 3)).at[0, 4, 4, 1].set(2.0)
    model = ConvNeXtBlock()
    variables = run(model.init, jax.random.key(0), x)
    kernel = jnp.zeros((7, 7, 1, 3)).at[0, 6, 0, :].set(jnp.array([5.0, 7.0, 11.0]))
    params = {**variables["params"], "dwconv": {"kernel": kernel, "bias": jnp.zeros(3)}}
    captured = apply(model, capture_intermediates=True)
    _, state = run(captured, {"params": params}, x)
    got = np.asarray(state["intermediates"]["dwconv"]["__call__"][0])
    expected = np.zeros((1, 9, 9, 3))
    expected[0, 4 + 3, 4 - 3, 1] = 14.0
    np.testing.assert_array_equal(got, expected)


def test_stochastic_depth():
    model = SMALL.clone(stochastic_depth=0.9)
    variables, x = started(model, SHAPE), batch(SHAPE, 8)
    assert program(model, SHAPE) == program(SMALL, SHAPE)
    train = training(model, variables, x)
    np.testing.assert_array_equal(train(0), train(0))
    assert np.abs(train(0) - train(1)).max() > 1e-3
    assert program(SMALL, SHAPE, train=True) == program(SMALL, SHAPE)


def test_vmap_over_seeds():
    assert_vmaps(SMALL, SHAPE)


def test_what_is_refused():
    with pytest.raises(
        ValueError, match=r"ConvNeXt: blocks \(1, 2\) and widths \(4,\)"
    ):
        shapes(SMALL.clone(widths=(4,)), SHAPE)
    with pytest.raises(ValueError, match="ConvNeXt: .* at least 32x32"):
        shapes(models.ConvNeXt(), (32, 31, 3))
    with pytest.raises(ValueError, match=r"ConvNeXt: .*images\[None\]"):
        SMALL.apply(shapes(SMALL, SHAPE), jnp.zeros(SHAPE))
    assert hash(SMALL) == hash(SMALL.clone())


def test_parameters_start_as_the_authors():
    params = run(models.ConvNeXt((1,), (64,)).init, jax.random.key(0), batch((8, 8, 3)))
    block = params["params"]["stages.0.0"]
    assert (block["gamma"] == np.float32(1e-6)).all()
    for name in ("dwconv", "pwconv1", "pwconv2"):
        kernel = block[name]["kernel"]
        # Five standard errors of a normal distribution's second moment.
        assert abs((kernel**2).mean() / 0.02**2 - 1) < 5 * np.sqrt(2 / kernel.size)
        assert not block[name]["bias"].any()
