"""EfficientNet-Lite against the network in NumPy, and published counts."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpy_layers as plain
import pytest
from networks import assert_is_the_network, assert_vmaps, counted, shapes
from test_convert_renaming import assert_fits

from symjax_lib import models
from symjax_lib.models import efficientnet_lite, renaming

STAGES = (
    efficientnet_lite.Stage(4, 2, expansion=1),
    efficientnet_lite.Stage(5, 2, kernel=5, stride=2, expansion=2),
)
SMALL = models.EfficientNetLite(STAGES, stem_width=4, head_width=7, num_classes=3)
SHAPE = (9, 12, 3)


def test_parameter_counts_are_the_published_ones():
    """Of Lite0; BatchNorm's running statistics are 42,016 more."""
    model = models.EfficientNetLite()
    assert counted(model, (224, 224, 3)) == 4_652_008
    assert counted(model, (224, 224, 3), "batch_stats") == 42_016


def same(state, name, x, outputs, side, *, stride=1, groups=1):
    """TensorFlow's padding: as many outputs as inputs over the stride, less before."""
    pads = []
    for size in x.shape[2:]:
        total = max((-(-size // stride) - 1) * stride + side - size, 0)
        pads.append((total // 2, total - total // 2))
    x = np.pad(x, ((0, 0), (0, 0), *pads))
    return plain.conv(state, name, x, outputs, side, stride=stride, groups=groups)


def network(state, images, *, model):
    norm = functools.partial(plain.batch_norm, state, epsilon=1e-3)
    x, taps = plain.channels_first(images), {}

    def keep(name, value):
        taps[name] = plain.channels_last(value)
        return value

    def activated(name, x):
        return keep(name, np.clip(x, 0, 6))

    x = same(state, "conv_stem", x, model.stem_width, 3, stride=2)
    x = activated("conv_stem", norm("bn0", x))
    plan = [(stage, j) for stage in model.stages for j in range(stage.blocks)]
    for i, (stage, j) in enumerate(plan):
        name, y = f"blocks.{i}", x
        inside = x.shape[1] * stage.expansion
        if stage.expansion > 1:
            y = norm(f"{name}.bn0", same(state, f"{name}.expand_conv", y, inside, 1))
            y = activated(f"{name}.expand", y)
        options = {"stride": 1 if j else stage.stride, "groups": inside}
        y = same(state, f"{name}.depthwise_conv", y, inside, stage.kernel, **options)
        y = activated(f"{name}.depthwise", norm(f"{name}.bn1", y))
        y = same(state, f"{name}.project_conv", y, stage.width, 1)
        y = norm(f"{name}.bn2", y)
        first = j == 0 and (stage.stride > 1 or x.shape[1] != stage.width)
        x = keep(name, y if first else x + y)
    x = same(state, "conv_head", x, model.head_width, 1)
    x = activated("conv_head", norm("bn1", x))
    return plain.linear(state, "fc", x.mean((2, 3)), model.num_classes), taps


def test_it_is_the_network_in_numpy():
    assert_is_the_network(
        SMALL, functools.partial(network, model=SMALL), plain.State(), SHAPE
    )


@pytest.mark.slow
def test_vmap_over_seeds():
    assert_vmaps(SMALL, SHAPE)


def test_names_of_the_published_weights():
    names = {
        "_conv_stem.weight": "conv_stem.weight",
        "_bn0.running_var": "bn0.running_var",
        "_blocks.0._depthwise_conv.weight": "blocks.0.depthwise_conv.weight",
        "_blocks.15._bn2.num_batches_tracked": "blocks.15.bn2.num_batches_tracked",
        "_fc.bias": "fc.bias",
    }
    assert list(renaming.efficientnet_lite(names)) == list(names.values())
    state = plain.State()
    network(state, np.zeros((1, *SHAPE)), model=SMALL)
    theirs = {}
    for name, value in state.items():
        module, _, leaf = name.rpartition(".")
        theirs[re.sub(r"(^|\.)([a-z])", r"\1_\2", module) + f".{leaf}"] = value
    assert set(names) & set(theirs) >= {"_conv_stem.weight", "_fc.bias"}
    assert_fits(SMALL, renaming.efficientnet_lite(theirs), SHAPE)


def test_a_block_that_keeps_its_shape_by_chance_is_not_residual():
    """One pixel has one pixel after a stride of 2, too."""
    x = jnp.ones((1, 1, 1, 3))
    for stride, expected in ((1, 1.0), (2, 0.0)):
        block = efficientnet_lite.MBConv(efficientnet_lite.Stage(3, 1), stride=stride)
        # Where all weights are 0 so is the branch, and the shortcut is seen.
        variables = jax.tree.map(jnp.zeros_like, shapes(block, (1, 1, 3)))
        np.testing.assert_array_equal(
            block.apply(variables, x), np.full(x.shape, expected)
        )


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"EfficientNetLite: .*images\[None\]"):
        SMALL.apply(shapes(SMALL, SHAPE), np.zeros(SHAPE, np.float32))
