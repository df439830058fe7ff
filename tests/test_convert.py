import io
import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from numpy.lib.stride_tricks import sliding_window_view
from numpy_layers import correlate
from paths import shared

from symjax_lib import models
from symjax_lib.models import convert

# Correct answers of the twelve published networks on all 10,000 test images.
TINY10_CORRECT = (
    *(8649, 8627, 8657, 8660, 8619, 8687),
    *(8686, 8653, 8663, 8650, 8698, 8633),
)
CIFAR10_MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
CIFAR10_STD = np.array([0.2023, 0.1994, 0.2010], np.float32)

# Input channels, output channels, side of the kernel, stride; as PyTorch's arguments.
TINY10 = (
    (3, 16, 3, 1),
    (16, 16, 3, 1),
    (16, 32, 3, 2),
    (32, 32, 3, 1),
    (32, 32, 3, 1),
    (32, 64, 3, 2),
    (64, 64, 3, 1),
    (64, 64, 1, 1),
)
MYRTLE = ((2, 4, 3, 1), (4, 8, 3, 1), (8, 16, 3, 1), (16, 32, 3, 1))


def random_state(convolutions, *, bias, norm=True):
    """A state with PyTorch's names and layouts, and no value that hides a mistake."""
    rng = np.random.default_rng(0)
    state = {}
    for i, (inputs, outputs, side, _) in enumerate(convolutions, start=1):
        shape = (outputs, inputs, side, side)
        state[f"conv{i}.weight"] = rng.normal(size=shape) / np.sqrt(inputs * side**2)
        if bias:
            state[f"conv{i}.bias"] = rng.normal(size=outputs)
        if norm:
            state[f"bn{i}.weight"] = rng.uniform(0.5, 1.5, outputs)
            state[f"bn{i}.bias"] = rng.normal(size=outputs)
            state[f"bn{i}.running_mean"] = rng.normal(size=outputs)
            state[f"bn{i}.running_var"] = rng.uniform(0.5, 1.5, outputs)
            state[f"bn{i}.num_batches_tracked"] = np.array(7)
    state["fc.weight"] = rng.normal(size=(10, convolutions[-1][1]))
    state["fc.bias"] = rng.normal(size=10)
    return state


def normalised(x, state, name):
    column = lambda word: state[f"{name}.{word}"][:, None, None]
    x = (x - column("running_mean")) / np.sqrt(column("running_var") + 1e-5)
    return x * column("weight") + column("bias")


def numpy_network(state, convolutions, images, *, padding, after=lambda i, x: x, head):
    """The network in NumPy, float64 and PyTorch's layout, read off the state alone."""
    x = np.moveaxis(np.asarray(images, np.float64), -1, 1)
    for i, (_, outputs, _, stride) in enumerate(convolutions, start=1):
        bias = state.get(f"conv{i}.bias", np.zeros(outputs))
        kernel = state[f"conv{i}.weight"]
        x = correlate(x, kernel, bias, stride=stride, padding=padding)
        if f"bn{i}.weight" in state:
            x = normalised(x, state, f"bn{i}")
        x = after(i, np.maximum(x, 0))
    return head(x, (2, 3)) @ state["fc.weight"].T + state["fc.bias"]


def pooled(i, x):
    if i == 1:
        return x
    return sliding_window_view(x, (2, 2), axis=(2, 3))[:, :, ::2, ::2].max((4, 5))


def images(*shape):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def predicted(model, state, x):
    variables = convert.from_torch(model, state, image_shape=x.shape[1:])
    return jax.jit(lambda v, x: model.apply(v, x))(variables, x)


def test_tiny10_is_the_network_in_numpy():
    state, x = random_state(TINY10, bias=True), images(2, 32, 32, 3)
    expected = numpy_network(state, TINY10, x, padding=0, head=np.mean)
    logits = predicted(models.Tiny10(), state, x)
    assert_close(logits, expected, scale=np.abs(expected).max())


@pytest.mark.parametrize("norm", [True, False])
def test_myrtle_is_the_network_in_numpy(norm):
    state, x = random_state(MYRTLE, bias=not norm, norm=norm), images(2, 29, 17, 2)
    expected = numpy_network(state, MYRTLE, x, padding=1, after=pooled, head=np.max)
    logits = predicted(models.MyrtleCNN(width=4, norm=norm), state, x)
    assert_close(logits, expected, scale=np.abs(expected).max())


def test_mlp_meets_the_pixels_in_the_order_of_pytorch():
    rng, x = np.random.default_rng(0), images(2, 3, 4, 2)
    state = {
        "dense1.weight": rng.normal(size=(5, 24)),
        "dense1.bias": rng.normal(size=5),
        "fc.weight": rng.normal(size=(10, 5)),
        "fc.bias": rng.normal(size=10),
    }
    flat = np.moveaxis(np.asarray(x, np.float64), -1, 1).reshape(2, -1)
    hidden = np.maximum(flat @ state["dense1.weight"].T + state["dense1.bias"], 0)
    expected = hidden @ state["fc.weight"].T + state["fc.bias"]
    logits = predicted(models.MLP(features=(5,)), state, x)
    assert_close(logits, expected, scale=np.abs(expected).max())


def test_variables_are_as_from_init():
    model = models.MyrtleCNN(width=4)
    halves = {
        k: v.astype(np.float16) for k, v in random_state(MYRTLE, bias=False).items()
    }
    variables = convert.from_torch(model, halves, image_shape=(8, 8, 2))
    image = jnp.zeros((1, 8, 8, 2))
    expected = jax.eval_shape(model.init, jax.random.key(0), image)
    same = jax.tree.map(
        lambda x, y: (x.shape, x.dtype) == (y.shape, y.dtype), variables, expected
    )
    assert all(jax.tree.leaves(same))


def test_what_does_not_fit_is_listed():
    state = random_state(MYRTLE, bias=False)
    state["head.bias"] = state.pop("fc.bias")
    state["conv2.weight"] = state["conv2.weight"].transpose(2, 3, 1, 0)
    state["fc.weight"] = state["fc.weight"].T
    with pytest.raises(ValueError, match="from_torch: .* MyrtleCNN") as caught:
        predicted(models.MyrtleCNN(width=4), state, images(1, 8, 8, 2))
    for part in (
        "missing: ['fc.bias']",
        "unexpected: ['head.bias']",
        "'conv2.weight' is (3, 3, 4, 8) in the state, (8, 4, 3, 3) in the model",
        "'fc.weight' is (32, 10) in the state, (10, 32) in the model",
    ):
        assert part in str(caught.value)


def test_what_fits_is_not_listed():
    state = random_state(MYRTLE, bias=True)  # that a model with BatchNorm does not have
    biases = [f"conv{i}.bias" for i in (1, 2, 3, 4)]
    with pytest.raises(ValueError, match="does not fit") as caught:
        predicted(models.MyrtleCNN(width=4), state, images(1, 8, 8, 2))
    assert f"MyrtleCNN; unexpected: {biases}. " in str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_read(tmp_path, save):
    state = random_state(MYRTLE, bias=False)
    save(tmp_path / "state.npz", **state)
    read = convert.read(tmp_path / "state.npz")
    assert list(read) == list(state)
    jax.tree.map(np.testing.assert_array_equal, read, state)
    assert read["conv1.weight"].dtype == np.float64


class Bomb:
    """A pickle that shows that it was loaded."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def archive(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def saved(save, *args, **kwargs):
    buffer = io.BytesIO()
    save(buffer, *args, **kwargs)
    return buffer.getvalue()


NUMBERS = saved(np.savez_compressed, x=np.arange(999.0))
OTHER_FILES = {
    "empty": b"",
    "text": b"conv1.weight 0.25\n",
    "pickle": pickle.dumps(Bomb()),
    "npy": saved(np.save, np.zeros(3)),
    "npy_of_pairs": saved(np.save, np.zeros((3, 2))),
    "objects": saved(np.savez, x=np.array([Bomb()], object)),
    "torch": archive({"state/data.pkl": pickle.dumps(Bomb()), "state/data/0": b"0000"}),
    "truncated": NUMBERS[:-100],
    "damaged": NUMBERS[:200] + bytes(100) + NUMBERS[300:],
    "wrong_checksum": saved(np.savez, x=np.zeros(99)).replace(bytes(99), b"1" * 99),
}


@pytest.mark.parametrize("content", OTHER_FILES.values(), ids=OTHER_FILES)
def test_read_refuses_other_files(tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"read: .*weights\.npz.*np\.savez"):
        convert.read(path)


def test_read_of_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        convert.read(tmp_path / "none.npz")


@pytest.fixture(scope="module")
def batches():
    """CIFAR-10's test images, normalised as Tiny10 wants them, and their labels."""
    from train import data

    test = data.load("cifar10", data_dir=shared("data/tfds"))
    x = (test.test_images / np.float32(255) - CIFAR10_MEAN) / CIFAR10_STD
    parts = [np.split(array, 20) for array in (x, test.test_labels)]
    return [(jnp.asarray(x), jnp.asarray(y)) for x, y in zip(*parts, strict=True)]


@pytest.fixture(scope="module")
def correct():
    def count(variables, x, y):
        return (models.Tiny10().apply(variables, x).argmax(-1) == y).sum()  # pyright: ignore

    return jax.jit(count)


# Three of them say that the conversion is right, the others that the files are.
@pytest.mark.parametrize(
    "seed",
    [pytest.param(s, marks=pytest.mark.slow if s % 4 else ()) for s in range(12)],
)
def test_tiny10_has_its_published_accuracy(batches, correct, seed):
    state = convert.read(shared(f"data/weights/tiny10_seed{seed:02}.npz"))
    variables = convert.from_torch(models.Tiny10(), state)
    total = sum(int(correct(variables, x, y)) for x, y in batches)
    assert abs(total - TINY10_CORRECT[seed]) <= 2
