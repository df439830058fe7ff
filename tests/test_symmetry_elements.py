"""Elements of found groups: laws, sizes, many at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import Architecture
from compounds import Attention, Gate
from layers import Act, BatchNorm, Conv, Dense, GlobalPool
from thinned import some

from symjax_lib import groups, symmetry

HEAD, RELU = Dense(2), Act("relu")
POOL = GlobalPool()
NETS = {
    "channels": Architecture((5, 3), (Gate(4, "relu"), BatchNorm(), RELU, HEAD)),
    "matrices": Architecture((5, 3), (Dense(4), HEAD)),
    "heads": Architecture((3, 4, 3), (Attention(3, size=2), POOL, HEAD)),
    # Groups of heads, heads, and the channels of either: one inside another.
    "nested": Architecture((3, 4, 3), (Attention(4, kv_heads=2, size=2), POOL, HEAD)),
    "groups": Architecture(
        (2, 4, 4, 2), (Conv(4), RELU, Conv(6, groups=2), RELU, POOL, HEAD)
    ),
}


@pytest.fixture(autouse=True)
def _precise():
    with jax.enable_x64(True):
        yield


def traced(name):
    net = NETS[name]
    v = net.init()
    return v, symmetry.trace(net.apply, v, net.example())


def assert_equal(left, right):
    for a, b in zip(*map(jax.tree.leaves, (left, right)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NETS)
def test_laws(name):
    """Of the elements as such, leaf by leaf, and of their action on the variables."""
    v, spec = traced(name)
    keys = jax.random.split(jax.random.key(0), 3)
    g, h, k = (symmetry.sample(key, spec) for key in keys)
    one = symmetry.identity(spec)
    mul, inv = groups.compose, groups.inverse
    act = lambda g, v: symmetry.act(spec, g, v)
    assert_equal(mul(mul(g, h), k), mul(g, mul(h, k)))
    for trivial in (mul(g, inv(g)), mul(inv(g), g)):
        assert_equal(trivial, one)
    for same in (mul(g, one), mul(one, g), inv(inv(g))):
        assert_equal(same, g)
    assert_equal(inv(mul(g, h)), mul(inv(h), inv(g)))
    assert_equal(act(mul(g, h), v), act(g, act(h, v)))
    assert_equal(act(one, v), v)
    with pytest.raises(AssertionError):  # The order of the factors matters.
        assert_equal(act(mul(g, h), v), act(h, act(g, v)))


def test_widths():
    """A wreath has the channels of all its positions."""

    def fn(v, x):
        h = jax.nn.relu(jnp.einsum("ni,iabc->nabc", x, v["in"]))
        return jnp.einsum("nabc,abcd->nd", h, v["out"])

    v = {"in": jnp.ones((3, 2, 3, 4)), "out": jnp.ones((2, 3, 4, 2))}
    spec = symmetry.trace(fn, v, jnp.ones((1, 3)))
    element = symmetry.sample(jax.random.key(0), spec)
    for name, space in spec.spaces.items():
        copies = int(np.prod(space.shape))
        assert groups.width(element[name]) == space.size * copies
    assert {len(space.over) for space in spec.spaces.values()} == {0, 1, 2}


@pytest.mark.parametrize("name", some(NETS, every=2))
def test_a_hundred_at_once(name):
    """As one by one, and different from each other."""
    v, spec = traced(name)
    keys = jax.random.split(jax.random.key(1), 100)
    move = lambda key: symmetry.act(spec, symmetry.sample(key, spec), v)
    many = jax.jit(jax.vmap(move))(keys)
    for i in (0, 99):
        assert_equal(jax.tree.map(lambda a, i=i: a[i], many), move(keys[i]))
    spread = max(float(a.std(axis=0).max()) for a in jax.tree.leaves(many))
    assert spread > 0.1


def test_orders_are_uniform():
    """Each of the 6 orders of 3 channels, within 5 standard deviations."""
    net = Architecture((5, 3), (Dense(3), Act("gelu"), HEAD))
    spec = symmetry.trace(net.apply, net.init(), net.example())
    (name,) = spec.spaces
    keys = jax.random.split(jax.random.key(2), 3000)
    orders = jax.jit(
        jax.vmap(lambda key: symmetry.sample(key, spec)[name].permutation.indices)
    )(keys)
    _, counts = np.unique(np.asarray(orders), axis=0, return_counts=True)
    assert counts.size == 6
    np.testing.assert_allclose(counts, 500, atol=5 * np.sqrt(500 * 5 / 6))


def test_a_specification_is_static():
    """A tree without leaves that mirrors the variables; one compilation for each."""
    v, spec = traced("channels")
    assert jax.tree.leaves(spec) == []
    is_array = lambda x: isinstance(x, symmetry.ArraySpec)
    mirrored = jax.tree.structure(spec.variables, is_leaf=is_array)
    assert mirrored == jax.tree.structure(v)
    compiled = []

    def move(spec, g):
        compiled.append(spec)
        return symmetry.act(spec, g, v)

    elements = [symmetry.sample(jax.random.key(seed), spec) for seed in range(2)]
    by_number, by_structure = jax.jit(move, static_argnums=0), jax.jit(move)
    for jitted in (by_number, by_structure):
        for g in elements:
            assert_equal(jitted(spec, g), symmetry.act(spec, g, v))
    assert len(compiled) == 2
