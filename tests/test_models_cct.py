"""The compact transformer against NumPy, by hand, and what its options do."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy_layers as plain
import pytest
from closeness import assert_close
from networks import (
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
from symjax_lib.models import cct, layers, transformer

SMALL = models.CCT(num_layers=2, width=12, num_heads=3, mlp_ratio=3, num_classes=4)
SHAPE = (7, 9, 3)


def test_parameter_counts():
    """The layers of the authors' code one by one; their paper has 3.17M."""
    attention = 256 * 3 * 256 + 256 * 256 + 256
    perceptron = 256 * 512 + 512 + 512 * 256 + 256
    norm = 2 * 256
    block = attention + perceptron + 2 * norm
    tokenizer = 9 * 3 * 256
    total = tokenizer + 6 * block + norm + (256 + 1) + (256 * 10 + 10)
    assert total == 3_168_267
    assert counted(models.CCT(), (32, 32, 3)) == total
    learnable = models.CCT(positions="learnable")
    assert counted(learnable, (32, 32, 3)) == total + 16 * 16 * 256


def attention(state, name, x, heads):
    """Head by head; the rows of `qkv.weight` are q, k and v, heads within each."""
    channels = x.shape[-1]
    width = channels // heads
    qkv = plain.linear(state, f"{name}.qkv", x, 3 * channels, bias=False)
    out = []
    for h in range(heads):
        q, k, v = (
            qkv[..., i * channels + h * width : i * channels + (h + 1) * width]
            for i in range(3)
        )
        weights = plain.softmax(q @ k.swapaxes(1, 2) / np.sqrt(width), -1)
        out.append(weights @ v)
    return plain.linear(state, f"{name}.proj", np.concatenate(out, -1), channels)


def encoder_block(state, name, x, *, heads, hidden, keep):
    norm = functools.partial(plain.layer_norm, state, epsilon=1e-5)
    x = x + attention(state, f"{name}.self_attn", norm(f"{name}.pre_norm", x), heads)
    x = norm(f"{name}.norm1", x)
    y = keep("linear1", plain.gelu(plain.linear(state, f"{name}.linear1", x, hidden)))
    return keep("", x + plain.linear(state, f"{name}.linear2", y, x.shape[-1]))


def network(state, images, *, model):
    taps = {}
    x = plain.channels_first(images)
    name = "tokenizer.conv_layers.0.0"
    x = plain.relu(plain.conv(state, name, x, model.width, 3, padding=1))
    taps["tokenizer"] = plain.channels_last(x)
    x = plain.max_pool(x, padding=(1, 1))
    x = x.reshape(*x.shape[:2], -1).swapaxes(1, 2)
    if model.positions == "learnable":
        x = x + state.normal("classifier.positional_emb", 1, *x.shape[1:])
    else:
        x = x + positions(*x.shape[1:])
    for i in range(model.num_layers):

        def keep(name, value, block=f"blocks.{i}"):
            taps[f"{block}.{name}".removesuffix(".")] = value
            return value

        sizes = {"heads": model.num_heads, "hidden": model.mlp_ratio * model.width}
        x = encoder_block(state, f"classifier.blocks.{i}", x, **sizes, keep=keep)
    x = plain.layer_norm(state, "classifier.norm", x, epsilon=1e-5)
    scores = plain.linear(state, "classifier.attention_pool", x, 1)[..., 0]
    x = (plain.softmax(scores, 1)[..., None] * x).sum(1)
    return plain.linear(state, "classifier.fc", x, model.num_classes), taps


def positions(tokens, width):
    """Entry by entry, angles rounded as PyTorch's default dtype does."""
    out = np.zeros((1, tokens, width))
    for p in range(tokens):
        for i in range(width):
            angle = float(np.float32(p / 10000 ** (2 * (i // 2) / width)))
            out[0, p, i] = np.cos(angle) if i % 2 else np.sin(angle)
    return np.float32(out)


@pytest.mark.parametrize("kind", ["sinusoidal", "learnable"])
def test_cct_is_the_network_in_numpy(kind):
    model = SMALL.clone(positions=kind)
    assert_is_the_network(
        model, functools.partial(network, model=model), plain.State(), SHAPE
    )


@pytest.mark.parametrize(("tokens", "width"), [(256, 256), (5, 7), (1, 1)])
def test_sinusoidal_positions(tokens, width):
    got = cct.sinusoidal_positions(tokens, width)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, positions(tokens, width))


def attend(params, x, heads):
    model = transformer.SelfAttention(heads)
    return np.asarray(model.apply({"params": params}, x))


def attention_parameters(channels, *, queries=1.0, seed=0):
    rng = np.random.default_rng(seed)
    qkv = rng.normal(size=(channels, 3 * channels))
    qkv[:, :channels] *= queries
    proj = {"kernel": np.eye(channels), "bias": np.zeros(channels)}
    return jax.tree.map(jnp.float32, {"qkv": {"kernel": qkv}, "proj": proj})


def test_attention_without_queries_is_the_mean_of_the_values():
    params, x = attention_parameters(6, queries=0.0), batch((5, 6), 2)
    values = np.asarray(x) @ np.asarray(params["qkv"]["kernel"])[:, 12:]
    expected = np.broadcast_to(values.mean(1, keepdims=True), values.shape)
    assert_close(attend(params, x, 3), expected, scale=np.abs(values).max())


def test_attention_of_great_contrast_copies_the_value_of_the_nearest_key():
    """One head; orthogonal tokens, and keys that are the tokens of the next place."""
    tokens = 4
    x = jnp.eye(tokens)[None]
    kernel = np.concatenate(
        [100 * np.eye(4), np.roll(np.eye(4), 1, axis=1), np.diag([1.0, 2, 3, 4])], 1
    )
    params = attention_parameters(4) | {"qkv": {"kernel": jnp.float32(kernel)}}
    got = attend(params, x, 1)[0]
    # The query of token t is 100 e_t, and the key of token t - 1 is e_t.
    expected = np.diag([1.0, 2, 3, 4])[[3, 0, 1, 2]]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def test_attention_commutes_with_permutations_of_tokens_and_of_heads():
    params, x = attention_parameters(6), batch((5, 6), 2)
    order = np.array([3, 0, 4, 1, 2])
    scale = np.abs(attend(params, x, 3)).max()
    assert_close(attend(params, x[:, order], 3), attend(params, x, 3)[:, order])
    heads = np.array([4, 5, 0, 1, 2, 3])  # three heads of two channels
    moved = np.concatenate([heads, 6 + heads, 12 + heads])
    qkv = {"kernel": params["qkv"]["kernel"][:, moved]}
    got = attend(params | {"qkv": qkv}, x, 3)
    assert_close(got, attend(params, x, 3)[..., heads], scale=scale)
    channels = np.array([1, 3, 5, 0, 2, 4])  # which tears the heads apart
    moved = np.concatenate([channels, 6 + channels, 12 + channels])
    qkv = {"kernel": params["qkv"]["kernel"][:, moved]}
    got = attend(params | {"qkv": qkv}, x, 3)
    assert np.abs(got - attend(params, x, 3)[..., channels]).max() > 0.1 * scale


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="SelfAttention: 5 heads .* 12 channels"):
        shapes(SMALL.clone(num_heads=5), SHAPE)


def test_unknown_positions_are_refused():
    with pytest.raises(ValueError, match=r"CCT: .*'sine'.*'sinusoidal' or 'learnable'"):
        shapes(SMALL.clone(positions="sine"), SHAPE)


RANDOM = SMALL.clone(dropout=0.2, attention_dropout=0.2, stochastic_depth=0.5)


def test_evaluation_is_without_dropout():
    assert program(RANDOM, SHAPE) == program(SMALL, SHAPE)


@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "stochastic_depth"])
def test_training_draws_from_the_dropout_stream(name):
    rates = ("dropout", "attention_dropout", "stochastic_depth")
    off: dict[str, Any] = dict.fromkeys(rates, 0.0)
    still = SMALL.clone(**off)
    model = SMALL.clone(**dict[str, Any](off, **{name: 0.5}))
    variables, x = started(model, SHAPE), batch(SHAPE)
    train = training(model, variables, x)
    np.testing.assert_array_equal(train(0), train(0))
    assert np.abs(train(0) - train(1)).max() > 1e-3
    assert program(still, SHAPE, train=True) == program(SMALL, SHAPE)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    class Branch(layers.nn.Module):
        @layers.nn.compact
        def __call__(self, x):
            return layers.drop_path(x, rate=0.25, train=True)

    x = 1 + batch((3, 2), 4000) ** 2
    y = np.asarray(Branch().apply({}, x, rngs={"dropout": jax.random.key(0)}))
    kept = y[:, 0, 0] != 0
    np.testing.assert_array_equal(y[~kept], 0)
    assert_close(y[kept], np.asarray(x)[kept] / 0.75, scale=float(x.max()))
    # Five standard deviations of a binomial distribution.
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 4000)


def test_vmap_over_seeds():
    assert_vmaps(SMALL, SHAPE)


def test_parameters_start_as_the_authors():
    model = models.CCT(num_layers=1, positions="learnable")
    params = run(model.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    block = params["classifier.blocks.0"]
    for value, std in (
        (block["self_attn"]["qkv"]["kernel"], 0.02),
        (block["linear2"]["kernel"], 0.02),
        (params["tokenizer.conv_layers.0.0"]["kernel"], np.sqrt(2 / 27)),
        (params["classifier.positional_emb"], 0.2),
    ):
        # Five standard errors of a normal distribution's second moment.
        assert abs((value**2).mean() / std**2 - 1) < 5 * np.sqrt(2 / value.size)
    assert not block["linear1"]["bias"].any()
    assert (block["norm1"]["scale"] == 1).all()


def test_hash_and_single_image():
    assert SMALL.clone() == SMALL
    assert hash(SMALL) == hash(SMALL.clone())
    with pytest.raises(ValueError, match=r"CCT: .*images\[None\]"):
        SMALL.apply(shapes(SMALL, SHAPE), jnp.zeros(SHAPE))
