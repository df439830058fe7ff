"""Networks that others have trained, against what others have measured of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import open_nsfw
import pytest
from closeness import assert_close
from networks import apply, in_float64
from numpy_layers import State, relu
from numpy_resnets import cifar_network
from paths import shared

from symjax_lib import models, symmetry, tracing
from symjax_lib.models import convert, renaming

OWN = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2023, 0.1994, 0.2010])
IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# File, shortcut, moments of the images, correct answers on all 10,000 test images.
RESNETS = {
    "projection0": ("resnet20b_seed0", "projection", OWN, 9153),
    "projection1": ("resnet20b_seed1", "projection", OWN, 9203),
    "pad": ("akamaster_resnet20", "pad", IMAGENET, 9173),
}
each = pytest.mark.parametrize("name", RESNETS)


def resnet20(name):
    file, shortcut, moments, _ = RESNETS[name]
    state = renaming.cifar_resnet(convert.read(shared(f"data/weights/{file}.npz")))
    model = models.ResNet20(shortcut=shortcut)
    return model, state, moments


def normalised(images, moments):
    return jnp.asarray((images / 255 - moments[0]) / moments[1], jnp.float32)


def correct(model, state, dataset, moments):
    images, labels = dataset
    variables = convert.from_torch(model, state)
    predict = jax.jit(lambda v, x: model.apply(v, x).argmax(-1))
    parts = range(0, len(images), 250)
    return sum(
        int((predict(variables, normalised(images[i : i + 250], moments)) == y).sum())
        for i in parts
        if len(y := labels[i : i + 250])
    )


@pytest.fixture(scope="module")
def some():
    """The first 250 test images in the order in which they are stored."""
    tfds = pytest.importorskip("tensorflow_datasets")
    folder = shared("data/tfds")
    source = tfds.data_source("cifar10", split="test", data_dir=folder)
    items = [source[i] for i in range(250)]
    return np.stack([item["image"] for item in items]), np.array(
        [item["label"] for item in items]
    )


@pytest.fixture(scope="module")
def everything():
    from train import data

    dataset = data.load("cifar10", data_dir=shared("data/tfds"))
    return dataset.test_images, dataset.test_labels


@pytest.mark.slow
@each
def test_resnet20_has_its_published_accuracy(everything, name):
    model, state, moments = resnet20(name)
    got = correct(model, state, everything, moments)
    print(f"{name}: {got} of 10,000")  # noqa: T201
    assert abs(got - RESNETS[name][-1]) <= 2


@each
def test_resnet20_has_about_its_accuracy_on_some_images(some, name):
    model, state, moments = resnet20(name)
    p = RESNETS[name][-1] / 10_000
    got = correct(model, state, some, moments)
    # Four standard deviations of a binomial distribution.
    assert abs(got / 250 - p) < 4 * np.sqrt(p * (1 - p) / 250)


@each
def test_resnet20_is_the_network_in_numpy(some, name):
    model, state, moments = resnet20(name)
    x = normalised(some[0][:2], moments)
    own = State(state)
    network = functools.partial(
        cifar_network, blocks=(3, 3, 3), width=16, activation=relu
    )
    expected, taps = network(own, x, shortcut=model.shortcut)
    assert set(own) == set(state), "the network has used no other weights"
    variables = convert.from_torch(model, state)
    logits, named = in_float64(model, variables, x)
    assert_close(logits, expected, scale=np.abs(expected).max())
    for tap, value in taps.items():
        assert_close(named[tap], value, scale=np.abs(value).max())


@pytest.mark.slow
@each
def test_resnet20_stays_the_function_on_real_images(some, name):
    """All weights move, the logits stay, and the taps move as the action says."""
    model, state, moments = resnet20(name)
    images = normalised(some[0], moments)
    v = convert.from_torch(model, state)
    spec = symmetry.trace(apply(model), v, images)
    g = symmetry.sample(jax.random.key(0), spec)
    w = symmetry.act(spec, g, v)
    found = symmetry.certify(apply(model), v, w, images, spec=spec, element=g)
    assert found.ok, found
    assert len(found.taps) == 19
    kernels = [leaf for leaf in jax.tree.leaves(v) if leaf.ndim == 4]
    moved = [leaf for leaf in jax.tree.leaves(w) if leaf.ndim == 4]
    for before, after in zip(kernels, moved, strict=True):
        assert jnp.linalg.norm(after - before) > 0.1 * jnp.linalg.norm(before)
    form = symmetry.canonicalize(spec, w)
    assert symmetry.certify(apply(model), v, form, images).ok
    size = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(form)) ** 0.5
    assert symmetry.distance(spec, v, w) < 1e-2 * size


def test_thin_resnet50_is_another_runtime():
    """The reference ran on the same rounded weights, so only float32 is between."""
    state, reference = open_nsfw.weights(), open_nsfw.reference()
    model = models.ResNet50(
        width=32, num_classes=2, stride_on="1x1", norm=False, pool_padding=(0, 1)
    )
    shape = (224, 224, 3)
    state = renaming.caffe_resnet(state)
    variables = convert.from_torch(model, state, image_shape=shape)
    images = jnp.asarray(open_nsfw.images())
    logits, named = jax.jit(tracing.taps(apply(model)))(variables, images)
    assert_close(jax.nn.softmax(logits), reference["probabilities"])
    for tap, name in {
        "conv1": "stem_relu",
        "layer1.2": "stage0_out",
        "layer4.2": "stage3_out",
    }.items():
        expected = reference[f"{name}_channel_mean"]
        got = np.asarray(named[tap], np.float64).mean((0, 1, 2))
        assert_close(jnp.float32(got), expected, scale=np.abs(expected).max())
    # The rarer class, to the precision that its own size allows.
    rare = jax.nn.softmax(logits)[:, 1] / reference["probabilities"][:, 1]
    assert_close(rare, np.ones(2), scale=np.abs(logits).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [{"stride_on": "3x3"}, {"pool_padding": (1, 1)}, {"residual_activation": False}],
    ids=lambda change: next(iter(change)),
)
def test_thin_resnet50_tells_its_options_apart(change):
    state = renaming.caffe_resnet(open_nsfw.weights())
    reference = open_nsfw.reference()
    model = models.ResNet50(
        width=32, num_classes=2, stride_on="1x1", norm=False, pool_padding=(0, 1)
    ).clone(**change)
    shape = (224, 224, 3)
    variables = convert.from_torch(model, state, image_shape=shape)
    images = jnp.asarray(open_nsfw.images())
    _, named = jax.jit(tracing.taps(apply(model)))(variables, images)
    expected = reference["stage3_out_channel_mean"]
    error = np.abs(named["layer4.2"].mean((0, 1, 2)) - expected).max()
    assert error > 1e-3 * np.abs(expected).max()
