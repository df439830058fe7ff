"""Published networks whose names are not ours, by the layers that their names say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_outputs
from networks import apply, batch, run, shapes
from numpy_layers import State, relu
from numpy_resnets import bottleneck_network, cifar_network

from analysis import vision
from symjax_lib import models
from symjax_lib.models import cct, convert, renaming

PROJECTING = models.CifarResNet(blocks=(1, 1), width=4, shortcut="projection")


def assert_fits(model, state, shape):
    variables = convert.from_torch(model, state, image_shape=shape)
    same = jax.tree.map(
        lambda x, y: x.shape == y.shape, variables, shapes(model, shape)
    )
    assert all(jax.tree.leaves(same))
    return variables


def test_cifar_resnet():
    state = State()
    network = functools.partial(
        cifar_network, blocks=(1, 1), width=4, shortcut="projection", activation=relu
    )
    network(state, batch((4, 4, 3)))
    theirs = {
        "module.conv1.weight": "conv1.weight",
        "module.layer2.0.shortcut.0.weight": "layer2.0.downsample.0.weight",
        "module.layer2.0.shortcut.1.running_var": "layer2.0.downsample.1.running_var",
        "module.linear.weight": "fc.weight",
        "module.linear.bias": "fc.bias",
        "module.layer1.0.bn2.num_batches_tracked": "layer1.0.bn2.num_batches_tracked",
    }
    assert list(renaming.cifar_resnet(theirs)) == list(theirs.values())
    other = {
        name.replace("fc.", "linear.").replace("downsample", "shortcut"): value
        for name, value in state.items()
    }
    assert set(other) != set(state)
    assert renaming.cifar_resnet(other) == dict(state)
    assert renaming.cifar_resnet(state) == dict(state)
    assert_fits(PROJECTING, renaming.cifar_resnet(other), (4, 4, 3))


def test_caffe_resnet():
    state = State()
    model = models.ResNet50(width=2, stem_width=4, blocks=(1, 2), norm=False)
    bottleneck_network(
        state,
        batch((9, 9, 3)),
        model=model,
        first_stride=True,
        padding=(0, 1),
        classes=1000,
    )
    layers = {
        "stem": "conv1",
        "stage0.block0.shortcut": "layer1.0.downsample.0",
        "stage0.block0.branch2a": "layer1.0.conv1",
        "stage0.block0.branch2b": "layer1.0.conv2",
        "stage0.block0.branch2c": "layer1.0.conv3",
        "stage1.block0.shortcut": "layer2.0.downsample.0",
        "stage1.block0.branch2a": "layer2.0.conv1",
        "stage1.block0.branch2b": "layer2.0.conv2",
        "stage1.block0.branch2c": "layer2.0.conv3",
        "stage1.block1.branch2a": "layer2.1.conv1",
        "stage1.block1.branch2b": "layer2.1.conv2",
        "stage1.block1.branch2c": "layer2.1.conv3",
        "fc": "fc",
    }
    theirs = {
        f"{name}.{kind}": state[f"{ours}.{kind}"]
        for name, ours in layers.items()
        for kind in ("weight", "bias")
    }
    assert renaming.caffe_resnet(theirs) == dict(state)
    assert_fits(model, renaming.caffe_resnet(theirs), (9, 9, 3))


def test_timm_convnext():
    layers = {
        "stem.0": "downsample_layers.0.0",
        "stem.1": "downsample_layers.0.1",
        "stages.0.blocks.0.conv_dw": "stages.0.0.dwconv",
        "stages.0.blocks.0.norm": "stages.0.0.norm",
        "stages.0.blocks.0.mlp.fc1": "stages.0.0.pwconv1",
        "stages.0.blocks.0.mlp.fc2": "stages.0.0.pwconv2",
        "stages.1.downsample.0": "downsample_layers.1.0",
        "stages.1.downsample.1": "downsample_layers.1.1",
        "stages.1.blocks.0.conv_dw": "stages.1.0.dwconv",
        "stages.1.blocks.0.norm": "stages.1.0.norm",
        "stages.1.blocks.0.mlp.fc1": "stages.1.0.pwconv1",
        "stages.1.blocks.0.mlp.fc2": "stages.1.0.pwconv2",
        "head.norm": "norm",
        "head.fc": "head",
    }
    names = {
        f"{name}.{kind}": f"{ours}.{kind}"
        for name, ours in layers.items()
        for kind in ("weight", "bias")
    }
    names |= {f"stages.{i}.blocks.0.gamma": f"stages.{i}.0.gamma" for i in (0, 1)}
    assert list(renaming.timm_convnext(names)) == list(names.values())
    # Those are all that the model has.
    model = models.ConvNeXt(blocks=(1, 1), widths=(4, 6))
    with pytest.raises(ValueError, match="does not fit ConvNeXt; other shapes"):
        assert_fits(model, renaming.timm_convnext(dict.fromkeys(names, 0.0)), (8, 8, 3))


def test_two_names_that_become_one_are_refused():
    with pytest.raises(ValueError, match=r"'linear\.bias' becomes 'fc\.bias'"):
        renaming.cifar_resnet({"fc.bias": 0, "linear.bias": 1})


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, jnp.bfloat16])
def test_cct_sinusoidal(dtype):
    positions = cct.sinusoidal_positions(12, 8).astype(dtype)
    state = {"classifier.positional_emb": positions, "classifier.fc.bias": 1}
    assert renaming.cct_sinusoidal(state) == {"classifier.fc.bias": 1}
    assert set(state) == {"classifier.positional_emb", "classifier.fc.bias"}


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"classifier.positional_emb": np.zeros((1, 12, 8), np.float32)},
        {"classifier.positional_emb": cct.sinusoidal_positions(12, 8)[0]},
        {"classifier.positional_emb": cct.sinusoidal_positions(12, 8).repeat(2, 0)},
        {"classifier.positional_emb": 1.0001 * cct.sinusoidal_positions(12, 8)},
    ],
    ids=["none", "zeros", "rank", "batch", "close"],
)
def test_other_positions_are_not_taken_out(state):
    with pytest.raises(ValueError, match=r"cct_sinusoidal: .*positions='learnable'"):
        renaming.cct_sinusoidal(state)


def test_cct_with_and_without_its_positions():
    model = models.CCT(num_layers=1, width=8, num_heads=2)
    learned = model.clone(positions="learnable")
    template = shapes(learned, (6, 8, 3))["params"]
    rng = np.random.default_rng(0)
    leaves = jax.tree_util.tree_flatten_with_path(template)[0]
    state = {}
    for path, leaf in leaves:
        *modules, last = (entry.key for entry in path)
        value = rng.normal(size=leaf.shape).astype(np.float32)
        if last == "kernel":
            axes = (3, 2, 0, 1) if value.ndim == 4 else (1, 0)
            value = value.transpose(axes)
        last = {"kernel": "weight", "scale": "weight"}.get(last, last)
        state[".".join([*modules, last])] = value
    state["classifier.positional_emb"] = cct.sinusoidal_positions(12, 8)
    x = batch((6, 8, 3))
    constant = assert_fits(model, renaming.cct_sinusoidal(state), (6, 8, 3))
    given = assert_fits(learned, state, (6, 8, 3))
    logits = run(apply(model), constant, x)
    np.testing.assert_array_equal(logits, run(apply(learned), given, x))


@pytest.mark.parametrize(
    "name",
    ["resnet50", "resnet50_no_residual_relu", "convnext_tiny", "efficientnet_lite0"],
)
def test_presets_are_pytorch(name):
    """Torchvision's own networks, and a package's, on the same weights."""
    state, expected = torch_outputs.read(name)
    architecture = vision.MODELS[name]
    images = torch_outputs.images()
    variables = convert.from_torch(
        architecture.model, architecture.renamed(state), image_shape=images.shape[1:]
    )
    got = run(apply(architecture.model), variables, images)
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())
