"""Symmetries of modules from several libraries, each as a function of its variables.

For each: a random element of the group that was found keeps the function, and the
number of scalings is the one by hand and that of the derivatives.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scaling_nullity import draw_variables, nullity
from thinned import some

from symjax_lib import symmetry

VECTORS = np.random.default_rng(0).normal(size=(6, 3))
SEQUENCES = np.random.default_rng(0).normal(size=(4, 5, 3))
IMAGES = np.random.default_rng(0).normal(size=(3, 4, 4, 2))
relu = jax.nn.relu
EPS = 1e-3  # of norms; a tiny one leaves a scaling that is one but for rounding


def assert_symmetries(
    fn: Callable, variables: Any, x: Any, *, count: int, free: int = 0
) -> symmetry.SymmetrySpec:
    """Asserts what is found of a function, in float64 and in general position.

    Args:
      fn: the module's function.
      variables: of which the shapes matter.
      x: its input.
      count: scalings by hand.
      free: entries of parameters without influence.
    """
    with jax.enable_x64(True):
        random = draw_variables(np.random.default_rng(1), variables)
        v = jax.tree.map(jnp.asarray, random)
        spec = symmetry.trace(fn, v, x)
        w = symmetry.act(spec, symmetry.sample(jax.random.key(0), spec), v)
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), v, w)
        found = symmetry.certify(fn, v, w, x, tolerance=1e-9)
    assert found.ok, found
    assert nullity(fn, variables, x) == (count, free)
    assert spec.dimension == count
    assert any(jax.tree.leaves(moved))
    return spec


def groups(spec: symmetry.SymmetrySpec) -> list[tuple[int, int, int]]:
    return [(space.size, space.scalings, space.signs) for space in spec.spaces.values()]


# flax.linen


def linen(module: nn.Module, x: Any) -> tuple[Callable, Any]:
    with jax.enable_x64(True):
        variables = module.init(jax.random.key(0), x)
    return lambda v, x: module.apply(v, x), variables


def test_linen_network():
    """BatchNorm: (i) and (ii) for 4 channels; 3 of the second convolution."""
    layers = [
        nn.Conv(4, (3, 3)),
        nn.BatchNorm(use_running_average=True),
        relu,
        lambda x: nn.max_pool(x, (2, 2), (2, 2)),
        nn.Conv(3, (3, 3)),
        relu,
        lambda x: x.mean((1, 2)),
        nn.Dense(2),
    ]
    assert_symmetries(*linen(nn.Sequential(layers), IMAGES), IMAGES, count=8 + 3)


@pytest.mark.slow
def test_linen_depthwise_separable():
    """ConvNeXt's block: depthwise 4, norm 4, layer scale 4, and the stream's 4."""

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (1, 1))(x)
            h = nn.Conv(4, (3, 3), feature_group_count=4)(x)
            h = nn.gelu(nn.Dense(5)(nn.LayerNorm(EPS)(h)))
            h = nn.Dense(4)(h) * self.param("scale", nn.initializers.ones, (4,))
            return nn.Dense(2)((x + h).mean((1, 2)))

    # The norm mixes the 4 channels, so the depthwise kernel undoes the stream's.
    assert_symmetries(*linen(Block(), IMAGES), IMAGES, count=4 + 4 + 4)


@pytest.mark.parametrize("bias", some([False, True], every=2))
def test_linen_attention(bias):
    """Queries against keys and values against outputs, 4 each; the result's 3."""
    attention = nn.MultiHeadDotProductAttention(2, qkv_features=4, use_bias=bias)
    layers = [attention, lambda x: x.mean(1), nn.Dense(2)]
    fn, v = linen(nn.Sequential(layers), SEQUENCES)
    # The keys' bias adds the same number to all scores of a query.
    spec = assert_symmetries(fn, v, SEQUENCES, count=11, free=4 * bias)
    # The 2 heads; in each the signs of two determinants; and that of the result's.
    assert np.isclose(spec.log_permutations, np.log(2 * (2 * 2) ** 2 * 2))


def test_linen_transformer():
    """Three norms, queries and values; the stream has no scaling of its own."""

    class Transformer(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4)(x)
            x = x + self.param("positions", nn.initializers.ones, x.shape[1:])
            h = nn.LayerNorm(EPS)(x)
            x = x + nn.MultiHeadDotProductAttention(2, use_bias=False)(h)
            x = x + nn.Dense(4)(nn.gelu(nn.Dense(5)(nn.LayerNorm(EPS)(x))))
            return nn.Dense(2)(nn.LayerNorm(EPS)(x)[:, 0])

    count = 3 * 4 + 4 + 4
    assert_symmetries(*linen(Transformer(), SEQUENCES), SEQUENCES, count=count)


CELLS = {
    "lstm": nn.LSTMCell,
    "optimised lstm": nn.OptimizedLSTMCell,
    "gru": nn.GRUCell,
}


@pytest.mark.parametrize(
    "loop", some([True, False], every=2), ids=["scanned", "unrolled"]
)
@pytest.mark.parametrize("name", CELLS)
def test_linen_recurrent(name, loop):
    """Orders and signs of the state, as tanh is odd; no scaling."""
    cell = CELLS[name]

    class Unrolled(nn.Module):
        @nn.compact
        def __call__(self, x):
            step = cell(4, param_dtype=float)
            state = step.initialize_carry(jax.random.key(0), x[:, 0].shape)
            h = x
            for t in range(3):
                state, h = step(state, x[:, t])
            return nn.Dense(2)(h)

    scanned = nn.Sequential([nn.RNN(cell(4, param_dtype=float)), nn.Dense(2)])
    net = scanned if loop else Unrolled()
    spec = assert_symmetries(*linen(net, SEQUENCES), SEQUENCES, count=0)
    assert groups(spec) == [(4, 0, 1)]


@pytest.mark.slow
def test_linen_scan_over_layers():
    """The stream's 3, and 4 in each of 2 blocks whose parameters are stacked."""

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return x + nn.Dense(3)(relu(nn.Dense(4)(x))), None

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            stack = nn.scan(
                Block,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=2,
            )
            return nn.Dense(2)(stack()(nn.Dense(3)(x), None)[0])

    assert_symmetries(*linen(Net(), VECTORS), VECTORS, count=3 + 8)


def test_linen_embedding():
    """The table against what reads it: 4; and the hidden 3."""
    tokens = np.array([[0, 1, 2], [4, 3, 0]])
    layers = [nn.Embed(5, 4), nn.Dense(3), relu, nn.Dense(2)]
    assert_symmetries(*linen(nn.Sequential(layers), tokens), tokens, count=4 + 3)


# flax.nnx


def split(model: nnx.Module) -> tuple[Callable, Any]:
    graph, variables, rest = nnx.split(model, (nnx.Param, nnx.BatchStat), ...)
    return lambda v, x: nnx.merge(graph, v, rest)(x), variables


def test_nnx_network():
    """BatchNorm: (i) and (ii) for 4 channels; 3 of the second layer."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(3, 4, rngs=rngs)
            self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
            self.second = nnx.Linear(4, 3, rngs=rngs)
            self.head = nnx.Linear(3, 2, rngs=rngs)

        def __call__(self, x):
            return self.head(relu(self.second(relu(self.norm(self.first(x))))))

    assert_symmetries(*split(Net(nnx.Rngs(0))), VECTORS, count=8 + 3)


class Attention(nnx.Module):
    def __init__(self, rngs, **options):
        self.attention = nnx.MultiHeadAttention(
            2, 3, qkv_features=4, decode=False, rngs=rngs, **options
        )
        self.head = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(self.attention(x).mean(1))


@pytest.mark.parametrize("bias", [True, False])
def test_nnx_attention(bias):
    """As for flax.linen, in the precision of the input."""
    attend = lambda q, k, v, **_: nn.dot_product_attention(q, k, v)
    fn, v = split(Attention(nnx.Rngs(0), use_bias=bias, attention_fn=attend))
    assert_symmetries(fn, v, SEQUENCES, count=11, free=4 * bias)


@pytest.mark.slow
def test_nnx_fused_attention():
    """`jax.nn.dot_product_attention`, with a softmax in float32 for all inputs."""
    fn, v = split(Attention(nnx.Rngs(0)))
    x = jnp.asarray(SEQUENCES, jnp.float32)
    spec = symmetry.trace(fn, v, x)
    w = symmetry.act(spec, symmetry.sample(jax.random.key(0), spec), v)
    assert symmetry.certify(fn, v, w, x).ok
    assert spec.dimension == 11


def test_nnx_gru():
    """The kernels of all gates are one array: orders and signs of the state."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.cell = nnx.GRUCell(3, 4, rngs=rngs)
            self.head = nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, x):
            h = jnp.zeros((x.shape[0], 4), x.dtype)
            for t in range(3):
                h, _ = self.cell(h, x[:, t])
            return self.head(h)

    spec = assert_symmetries(*split(Net(nnx.Rngs(0))), SEQUENCES, count=0)
    assert groups(spec) == [(4, 0, 1)]


# Equinox


def partition(model: Any) -> tuple[Callable, Any]:
    eqx = pytest.importorskip("equinox")
    variables, static = eqx.partition(model, eqx.is_array)
    return lambda v, x: jax.vmap(eqx.combine(v, static))(x), variables


def test_equinox_mlp():
    """4 in each of 2 hidden layers."""
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(3, 2, 4, depth=2, activation=relu, key=jax.random.key(0))
    assert_symmetries(*partition(model), VECTORS, count=8)


def test_equinox_convolutions():
    """Channels first: 4, 4 of the groups, and of the norm in groups the gain's 4."""
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 3)
    layers = [
        eqx.nn.Conv2d(4, 4, 3, padding=1, key=keys[0]),
        eqx.nn.Lambda(relu),
        eqx.nn.Conv2d(4, 4, 3, padding=1, groups=2, key=keys[1]),
        eqx.nn.GroupNorm(2, 4, EPS),
        eqx.nn.Lambda(relu),
        eqx.nn.AvgPool2d(2, 2),
        eqx.nn.Lambda(jnp.ravel),
        eqx.nn.Linear(8, 2, key=keys[2]),
    ]
    assert_symmetries(*partition(eqx.nn.Sequential(layers)), IMAGES, count=4 + 4)


def test_equinox_attention():
    """Queries against keys and values against outputs, 4 each; the result's 3."""
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 2)

    class Net(eqx.Module):
        attention: Any
        head: Any

        def __call__(self, x):
            return self.head(self.attention(x, x, x).mean(0))

    attention = eqx.nn.MultiheadAttention(
        2, 3, qk_size=2, vo_size=2, output_size=3, key=keys[0]
    )
    net = Net(attention, eqx.nn.Linear(3, 2, key=keys[1]))
    assert_symmetries(*partition(net), SEQUENCES, count=11)


def test_equinox_gru():
    """The kernels of all gates are one array: orders and signs of the state."""
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 2)

    class Net(eqx.Module):
        cell: Any
        head: Any

        def __call__(self, x):
            step = lambda h, x: (self.cell(x, h), None)
            return self.head(jax.lax.scan(step, jnp.zeros(4, x.dtype), x)[0])

    cell = eqx.nn.GRUCell(3, 4, key=keys[0])
    net = Net(cell, eqx.nn.Linear(4, 2, key=keys[1]))
    spec = assert_symmetries(*partition(net), SEQUENCES, count=0)
    assert groups(spec) == [(4, 0, 1)]


# Haiku


def transformed(fn: Callable, x: Any) -> tuple[Callable, Any]:
    hk = pytest.importorskip("haiku")
    pure = hk.without_apply_rng(hk.transform(fn))
    variables = pure.init(jax.random.key(0), jnp.asarray(x, jnp.float32))
    return pure.apply, variables


def test_haiku_network():
    """4 of the first layer; gain and bias of the norm against the head: 3."""
    hk = pytest.importorskip("haiku")

    def net(x):
        x = hk.Linear(3)(relu(hk.Linear(4)(x)))
        return hk.Linear(2)(hk.LayerNorm(-1, True, True, EPS)(x))

    assert_symmetries(*transformed(net, VECTORS), VECTORS, count=7)


def test_haiku_attention():
    """As for flax.linen, with heads that are merged into one axis; all have biases."""
    hk = pytest.importorskip("haiku")

    def net(x):
        init = hk.initializers.RandomNormal()
        attention = hk.MultiHeadAttention(2, 2, w_init=init, model_size=3)
        return hk.Linear(2)(attention(x, x, x).mean(1))

    fn, v = transformed(net, SEQUENCES)
    assert_symmetries(fn, v, SEQUENCES, count=11, free=4)


def test_haiku_lstm():
    """The kernels of all gates are one array: orders and signs of the state."""
    hk = pytest.importorskip("haiku")

    def net(x):
        core = hk.LSTM(4)
        out, _ = hk.dynamic_unroll(
            core, jnp.swapaxes(x, 0, 1), core.initial_state(x.shape[0])
        )
        return hk.Linear(2)(out[-1])

    spec = assert_symmetries(*transformed(net, SEQUENCES), SEQUENCES, count=0)
    assert groups(spec) == [(4, 0, 1)]


# JAX alone


def test_a_list_of_layers():
    """4 + 3, for a list of pairs of arrays."""
    sizes = [3, 4, 3, 2]
    v = [(np.ones((m, n)), np.ones(n)) for m, n in zip(sizes, sizes[1:], strict=False)]

    def mlp(v, x):
        *hidden, (kernel, bias) = v
        for w, b in hidden:
            x = relu(x @ w + b)
        return x @ kernel + bias

    assert_symmetries(mlp, v, VECTORS, count=7)


def test_networks_side_by_side():
    """Stacked over seeds by `vmap`, as an ensemble is: 4 for each of 3."""
    v = {"in": np.ones((3, 3, 4)), "out": np.ones((3, 4, 2))}
    mlp = lambda v, x: relu(x @ v["in"]) @ v["out"]
    ensemble = lambda v, x: jax.vmap(mlp, (0, None))(v, x)
    assert_symmetries(ensemble, v, VECTORS, count=12)
