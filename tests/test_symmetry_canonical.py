"""Canonical forms: one for all that a group makes of variables."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import Architecture
from compounds import Attention, Concat, Gate, Residual, Scan
from layers import Act, BatchNorm, Conv, Dense, Flatten, GlobalPool, LayerNorm
from scaling_nullity import QUICK
from thinned import some

from symjax_lib import symmetry

HEAD, RELU, TANH = Dense(2), Act("relu"), Act("tanh")
NETS = {
    "relu": Architecture((5, 3), (Dense(4), RELU, Dense(3), RELU, HEAD)),
    "tanh": Architecture((5, 3), (Dense(4), TANH, Dense(3), TANH, HEAD)),
    "linear": Architecture((5, 6), (Dense(3), Dense(5))),
    "gate": Architecture((5, 3), (Gate(4, "relu"), HEAD)),
    "batch norm": Architecture((5, 3), (Dense(4), BatchNorm(), RELU, HEAD)),
    "convolutions": Architecture(
        (2, 4, 4, 2), (Conv(4), RELU, Conv(4, groups=2), TANH, Flatten(), HEAD)
    ),
    "stream": Architecture(
        (5, 3),
        (Dense(4), RELU, Residual((Dense(3), RELU, Dense(6)), "pad"), RELU, HEAD),
    ),
    "concatenation": Architecture((5, 3), (Dense(3), TANH, Concat((HEAD, RELU)), HEAD)),
    "attention": Architecture(
        (3, 4, 5),
        (LayerNorm(), Attention(2, size=2, width=6), LayerNorm(), GlobalPool(), HEAD),
    ),
    "loop": Architecture((5, 3), (Dense(3), RELU, Scan(2, "relu"), HEAD)),
}


@pytest.fixture(autouse=True)
def _precise():
    with jax.enable_x64(True):
        yield


def traced(name):
    net = NETS[name]
    v, x = net.init(), net.example()
    return net, v, x, symmetry.trace(net.apply, v, x)


def quick(fn):
    return jax.jit(fn, compiler_options=QUICK)


def difference(v, w):
    pairs = zip(jax.tree.leaves(v), jax.tree.leaves(w), strict=True)
    return max(float(jnp.abs(a - b).max()) for a, b in pairs)


@pytest.mark.parametrize("name", some(NETS, every=2))
def test_one_form_for_all_and_the_same_function(name):
    net, v, x, spec = traced(name)
    canonical = quick(lambda v: symmetry.canonicalize(spec, v))
    move = quick(lambda key: symmetry.act(spec, symmetry.sample(key, spec), v))
    form = canonical(v)
    assert symmetry.certify(net.apply, v, form, x, tolerance=1e-9).ok
    assert difference(form, v) > 1e-2
    assert difference(canonical(form), form) < 1e-9
    for seed in range(3):
        w = move(jax.random.key(seed))
        assert difference(w, v) > 1e-2
        assert difference(canonical(w), form) < 1e-8


def test_under_jit_and_vmap():
    _, v, _, spec = traced("relu")
    form = jax.jit(symmetry.canonicalize, static_argnums=0)(spec, v)
    keys = jax.random.split(jax.random.key(0), 4)
    random = lambda key: symmetry.act(spec, symmetry.sample(key, spec), v)
    moved = jax.jit(jax.vmap(random))(keys)
    forms = jax.jit(jax.vmap(lambda w: symmetry.canonicalize(spec, w)))(moved)
    for i in range(4):
        assert difference(jax.tree.map(lambda a, i=i: a[i], forms), form) < 1e-8


@pytest.mark.parametrize("name", NETS)
def test_others_have_another_form(name):
    net, v, _, spec = traced(name)
    far = quick(lambda v, w: symmetry.distance(spec, v, w))
    assert float(far(v, net.init(seed=9))) > 1e-2


def test_incoming_weights_have_norm_1_and_channels_are_sorted():
    """As the documentation says, for a hidden layer without bias."""
    mlp = lambda v, x: jax.nn.relu(x @ v["in"]) @ v["out"]
    rng = np.random.default_rng(0)
    v = {"in": jnp.asarray(rng.normal(size=(3, 6)))}
    v["out"] = jnp.asarray(rng.normal(size=(6, 2)))
    spec = symmetry.trace(mlp, v, jnp.ones((1, 3)))
    form = symmetry.canonicalize(spec, v)
    np.testing.assert_allclose(jnp.linalg.norm(form["in"], axis=0), 1, rtol=1e-12)
    cubes = (form["in"] ** 3).sum(0) + (form["out"] ** 3).sum(1) / 2
    assert (jnp.diff(cubes) > 0).all()


def test_general_linear_spaces_have_orthonormal_columns():
    linear = lambda v, x: x @ v["in"] @ v["out"]
    rng = np.random.default_rng(0)
    v = {"in": jnp.asarray(rng.normal(size=(5, 3)))}
    v["out"] = jnp.asarray(rng.normal(size=(3, 4)))
    spec = symmetry.trace(linear, v, jnp.ones((1, 5)))
    form = symmetry.canonicalize(spec, v)
    gram = form["out"] @ form["out"].T
    np.testing.assert_allclose(form["in"].T @ form["in"], np.eye(3), atol=1e-12)
    # The singular value decomposition of the product, by NumPy.
    sizes = np.linalg.svd(v["in"] @ v["out"], compute_uv=False)[:3]
    np.testing.assert_allclose(gram, np.diag(sizes**2), atol=1e-10)


def test_channels_without_weights_and_channels_that_tie():
    """A form that keeps the function, though not the same one for all."""
    mlp = lambda v, x: jax.nn.relu(x @ v["in"]) @ v["out"]
    v = {"in": jnp.array([[0.0, 3.0, 3.0], [0.0, 4.0, 4.0]]), "out": jnp.ones((3, 1))}
    x = jnp.array([[1.0, 2.0], [3.0, -1.0]])
    spec = symmetry.trace(mlp, v, x)
    form = symmetry.canonicalize(spec, v)
    assert symmetry.certify(mlp, v, form, x, tolerance=1e-12).ok
    np.testing.assert_allclose(form["in"], [[0, 0.6, 0.6], [0, 0.8, 0.8]], rtol=1e-12)
    np.testing.assert_allclose(form["out"], [[1], [5], [5]], rtol=1e-12)


def test_distance_is_an_upper_bound():
    """Of the least over all orders and signs of 3 channels, one by one."""
    mlp = lambda v, x: jnp.tanh(x @ v["in"]) @ v["out"]
    rng = np.random.default_rng(3)
    draw = lambda: {
        "in": jnp.asarray(rng.normal(size=(2, 3))),
        "out": jnp.asarray(rng.normal(size=(3, 2))),
    }
    v, others = draw(), draw()
    spec = symmetry.trace(mlp, v, jnp.ones((1, 2)))
    for shift in (0, 1e-3, 1.0):
        w = jax.tree.map(lambda a, b, s=shift: a + s * b, v, others)
        sizes = []
        for order in itertools.permutations(range(3)):
            for signs in itertools.product([1.0, -1.0], repeat=3):
                kernel, out = w["in"][:, order] * np.array(signs), w["out"][order, :]
                into = kernel - v["in"]
                back = out * np.array(signs)[:, None] - v["out"]
                sizes.append(np.sqrt((into**2).sum() + (back**2).sum()))
        found = float(symmetry.distance(spec, v, w))
        assert found >= min(sizes) - 1e-12
        if shift < 0.1:
            np.testing.assert_allclose(found, min(sizes), atol=1e-12)
        np.testing.assert_allclose(found, symmetry.distance(spec, w, v), rtol=1e-12)


def test_spaces_without_a_form_are_refused():
    few = lambda v, x: x @ v["in"] @ v["out"]
    v = {"in": jnp.ones((2, 3)), "out": jnp.ones((3, 4))}
    spec = symmetry.trace(few, v, jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="span less than its 3 channels"):
        symmetry.canonicalize(spec, v)
    v = {"in": jnp.eye(4, 3), "out": jnp.ones((3, 4))}
    with pytest.raises(ValueError, match="outgoing weights"):
        symmetry.canonicalize(symmetry.trace(few, v, jnp.ones((1, 4))), v)


def test_general_linear_spaces_that_meet_are_refused():
    chain = lambda v, x: jax.nn.relu(x @ v["a"] @ v["b"] @ v["c"]) @ v["d"]
    rng = np.random.default_rng(0)
    shapes = {"a": (3, 4), "b": (4, 4), "c": (4, 3), "d": (3, 2)}
    v = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}
    spec = symmetry.trace(chain, v, jnp.ones((1, 3)))
    assert [s.kind for s in spec.spaces.values()].count("general_linear") == 2
    with pytest.raises(ValueError, match="canonicalize"):
        symmetry.canonicalize(spec, v)
