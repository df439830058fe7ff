"""ResNets against the network in NumPy, published counts, and what can be seen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from networks import (
    apply,
    assert_is_the_network,
    assert_vmaps,
    batch,
    counted,
    run,
    shapes,
    started,
)
from numpy_layers import State, relu
from numpy_resnets import bottleneck_network, cifar_network

from symjax_lib import models, tracing
from symjax_lib.models import resnet_blocks

SMALL = models.CifarResNet(blocks=(1, 2, 1), width=4)
WIDE = models.CifarResNet(blocks=(1, 1), width=32, shortcut="projection")
THIN = models.ResNet50(width=2, stem_width=6, num_classes=5, blocks=(1, 2))


@pytest.mark.parametrize(
    ("model", "count"),
    [
        # The authors' notebook of the paper, `reference/published.csv`; He et al.,
        # table 6, have 0.27M; 0.46M, 0.66M and 0.85M as well.
        (models.ResNet20(), 269_722),
        (models.ResNet32(), 464_154),
        (models.ResNet44(), 658_586),
        (models.ResNet56(), 853_018),
        # Two projections: kernels 16-32 and 32-64, and gain and bias of BatchNorm.
        (
            models.ResNet20(shortcut="projection"),
            269_722 + 16 * 32 + 32 * 64 + 2 * (32 + 64),
        ),
        # The same notebook, and pytorch-cifar.
        (models.ResNet18(), 11_173_962),
    ],
)
def test_cifar_parameter_counts(model, count):
    assert counted(model, (32, 32, 3)) == count


def test_resnet50_parameter_counts():
    """Torchvision's documentation has 25557032."""
    assert counted(models.ResNet50(), (224, 224, 3)) == 25_557_032
    first = models.ResNet50(stride_on="1x1", residual_activation=False)
    assert counted(first, (224, 224, 3)) == 25_557_032
    # Outputs of all convolutions: stem, bottlenecks of 1 + 1 + 4 widths, shortcuts.
    widths = [64] + [
        w
        for count, w in zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True)
        for w in (4 * w, *count * (w, w, 4 * w))
    ]
    assert len(widths) == 1 + 4 + 3 * 16
    # Folding leaves one bias of gain and bias, and no statistics.
    folded = models.ResNet50(norm=False)
    assert counted(folded, (224, 224, 3)) == 25_557_032 - sum(widths)
    assert counted(folded, (224, 224, 3), "batch_stats") == 0
    assert counted(models.ResNet50(), (224, 224, 3), "batch_stats") == 2 * sum(widths)


def resnet20_names(*blocks):
    return ["3", *(name for n in blocks for name in (f"{n}*", str(n + 3)))]


def test_paper_names():
    """As in the figures; `reference/published.csv` has the layers of ResNet18."""
    model = models.ResNet20()
    expected = resnet20_names(8, 16, 24, 32, 40, 48, 56, 64, 72)
    assert list(model.paper_names.values()) == expected
    assert tuple(model.paper_names) == model.tap_names
    assert model.paper_names["layer2.0.conv1"] == "32*"
    expected = resnet20_names(8, 16, 24, 34, 42, 52, 60, 70)
    assert list(models.ResNet18().paper_names.values()) == expected
    assert models.ResNet50().paper_names == {}


def leaky(slope):
    return lambda x: np.where(x > 0, x, slope * x)


@pytest.mark.parametrize("slope", [0, 0.01, 0.1, 0.5, 0.9, 1.0])
def test_leaky_resnet_is_the_network_in_numpy(slope):
    sizes = {"blocks": (1, 2, 1), "width": 4}
    model = SMALL.clone(activation=models.LeakyReLU(slope))
    network = functools.partial(
        cifar_network, **sizes, shortcut="pad", activation=leaky(slope)
    )
    assert_is_the_network(model, network, State(), (10, 7, 3))


def test_resnet_with_projections_is_the_network_in_numpy():
    sizes = {"blocks": (2, 1, 1, 1), "width": 3, "shortcut": "projection"}
    model = models.CifarResNet(**sizes, num_classes=4)
    network = functools.partial(cifar_network, **sizes, activation=relu, classes=4)
    assert_is_the_network(model, network, State(), (9, 12, 2))


@pytest.mark.parametrize(
    ("options", "first_stride", "padding", "activated"),
    [
        ({}, False, (1, 1), True),
        ({"stride_on": "1x1"}, True, (1, 1), True),
        ({"norm": False, "pool_padding": (0, 1)}, False, (0, 1), True),
        ({"residual_activation": False}, False, (1, 1), False),
        ({"stem_width": 8}, False, (1, 1), True),  # no projection in the first stage
    ],
    ids=["v1.5", "v1", "folded", "linear_stream", "no_projection"],
)
def test_resnet50_is_the_network_in_numpy(options, first_stride, padding, activated):
    model = THIN.clone(**options)
    network = functools.partial(
        bottleneck_network,
        model=model,
        first_stride=first_stride,
        padding=padding,
        activated=activated,
    )
    assert_is_the_network(model, network, State(), (29, 18, 3))


def test_pad_shortcut():
    x = jnp.arange(1.0, 2 * 3 * 3 * 2 + 1).reshape(2, 3, 3, 2)
    y = resnet_blocks.pad_shortcut(x, 4, 2)
    assert y.shape == (2, 2, 2, 4)
    assert not y[..., [0, 3]].any()
    assert y[0, :, :, 1].tolist() == [[1, 5], [13, 17]]
    assert y[1, :, :, 2].tolist() == [[20, 24], [32, 36]]
    assert resnet_blocks.pad_shortcut(x, 5, 1)[0, 0, 0].tolist() == [0, 1, 2, 0, 0]


def test_a_branch_of_zeros_leaves_the_shortcut():
    """Eight zeros, the sixteen channels of the stage before, eight zeros."""
    model, shape = models.ResNet20(), (32, 32, 3)
    variables = started(model, shape)
    params = dict(variables["params"])
    params["layer2.0"] = jax.tree.map(jnp.zeros_like, params["layer2.0"])
    named = run(
        tracing.taps(apply(model)), {**variables, "params": params}, batch(shape, 1)
    )[1]
    before, after = named["layer1.2"], named["layer2.0"]
    assert after.shape == (1, 16, 16, 32)
    np.testing.assert_array_equal(after[..., 8:24], before[:, ::2, ::2])
    assert not after[..., :8].any()
    assert not after[..., 24:].any()


def test_slope_one_is_an_affine_network():
    model, shape = SMALL.clone(activation=models.LeakyReLU(1.0)), (8, 8, 3)
    variables, x = started(model, shape), batch(shape)
    images = jnp.concatenate([x, 2 * x[:1] - 3 * x[1:2] + 2 * x[2:]])
    logits = np.asarray(run(apply(model), variables, images))
    expected = 2 * logits[0] - 3 * logits[1] + 2 * logits[2]
    # Coefficients of 1 + 2 + 3 + 2 times the rounding of one image's logits.
    assert_close(logits[3:], expected[None], scale=8 * np.abs(logits).max())
    bent = SMALL.clone(activation=models.LeakyReLU(0.9))
    logits = np.asarray(run(apply(bent), variables, images))
    expected = 2 * logits[0] - 3 * logits[1] + 2 * logits[2]
    assert np.abs(logits[3] - expected).max() > 1e-3 * np.abs(logits).max()


def test_equal_slopes_are_equal_models():
    model = models.ResNet20(activation=models.LeakyReLU(0.1))
    assert model == models.ResNet20(activation=models.LeakyReLU(0.1))
    assert hash(model) == hash(models.ResNet20(activation=models.LeakyReLU(0.1)))
    assert model != models.ResNet20(activation=models.LeakyReLU(0.2))


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match=r"CifarResNet: .*'B'.*'pad' or 'projection'"):
        shapes(models.ResNet20(shortcut="B"), (32, 32, 3))
    with pytest.raises(ValueError, match=r"ResNet50: .*'v1'.*'1x1' or '3x3'"):
        shapes(models.ResNet50(stride_on="v1"), (32, 32, 3))


@pytest.mark.parametrize(
    ("model", "name", "variance"),
    [
        (WIDE, ("layer1.0", "conv2"), 2 / (9 * 32)),
        (WIDE, ("layer2.0", "downsample.0"), 2 / 32),
        # Of the outputs, as torchvision has it.
        (THIN.clone(width=16), ("layer2.0", "conv1"), 2 / 32),
    ],
)
def test_kernels_start_as_the_authors(model, name, variance):
    params = run(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    kernel = params[name[0]][name[1]]["kernel"]
    # Five standard errors of a normal distribution's second moment.
    assert abs((kernel**2).mean() / variance - 1) < 5 * np.sqrt(2 / kernel.size)


CASES = {
    "basic": (SMALL.clone(shortcut="projection"), (5, 6, 3)),
    "bottleneck": (THIN, (9, 10, 3)),
}
each = pytest.mark.parametrize(("model", "shape"), CASES.values(), ids=CASES)


@each
def test_training_mode_moves_all_averages(model, shape):
    variables, images = started(model, shape), batch(shape)
    training = apply(model, train=True, mutable=["batch_stats"])
    logits, updated = run(training, variables, images)
    assert logits.shape == (3, model.num_classes)
    before, after = variables["batch_stats"], updated["batch_stats"]
    moved = jax.tree.map(lambda x, y: bool((x != y).all()), before, after)
    assert all(jax.tree.leaves(moved))


@each
def test_vmap_over_seeds(model, shape):
    assert_vmaps(model, shape)


@pytest.mark.parametrize(
    ("model", "side"),
    [(SMALL, 1), (THIN, 1), (THIN.clone(pool_padding=(0, 1)), 3)],
)
def test_smallest_sizes(model, side):
    variables = shapes(model, (32, 32, 3))
    for size in (side, side + 1, 29):
        images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
        _, named = jax.eval_shape(tracing.taps(apply(model)), variables, images)
        assert all(min(value.shape) > 0 for value in named.values())
    message = rf"{type(model).__name__}: .* at least {side}x{side}"
    with pytest.raises(ValueError, match=message):
        model.apply(variables, jnp.zeros((2, side, side - 1, 3)))
    with pytest.raises(ValueError, match=r"images\[None\]"):
        model.apply(variables, jnp.zeros((32, 32, 3)))
