import itertools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from thinned import some

from symjax_lib import groups, intertwiners, symmetry, tracing
from symjax_lib.tracing import tap

TABLE = intertwiners.TABLE
IMAGES = jax.random.normal(jax.random.key(5), (3, 8, 8, 2))


class Net(nn.Module):
    """Everything that a sequential network may contain."""

    activation: Callable
    norm: bool = True
    pool: str = "max"

    @nn.compact
    def __call__(self, x, train=False):
        sigma = self.activation
        x = nn.Conv(4, (3, 3), name="conv1")(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, name="bn1")(x)
        x = tap(sigma(x), "one")
        pool = nn.max_pool if self.pool == "max" else nn.avg_pool
        x = pool(x, (2, 2), (2, 2))
        x = tap(sigma(nn.Conv(5, (3, 3), strides=2, name="conv2")(x)), "two")
        x = x.reshape(x.shape[0], -1)
        x = tap(sigma(nn.Dense(6, name="dense")(x)), "three")
        return nn.Dense(3, name="head")(x)


def initial(net, seed=0):
    """Variables in general position: no zero bias, no unit statistics."""
    v = net.init(jax.random.key(seed), IMAGES)
    keys = jax.random.split(jax.random.key(seed + 1), len(jax.tree.leaves(v)))
    noise = lambda a, key: a + 0.3 * jax.random.uniform(key, a.shape)
    return jax.tree.map(noise, v, jax.tree.unflatten(jax.tree.structure(v), keys))


def apply(net):
    return lambda v, x: net.apply(v, x)


# For each activation: kind, and by pooling (scalings, signs) of the three spaces. With
# BatchNorm in evaluation mode the first space has one more of each: the kernel and the
# mean by a, the gain by 1/a. Max-pooling lets no sign of the first activation pass.
EXPECTED = {
    "identity": (1, 1),
    "sigmoid": (0, 0),
    "relu": (1, 0),
    "leaky_relu": (1, 0),
    "gaussian_rbf": (0, 1),
    "polynomial": (1, 1),
}


@pytest.mark.parametrize("pool", some(["max", "average"], every=2))
@pytest.mark.parametrize("name", some(EXPECTED, every=2))
def test_found_without_a_specification(name, pool):
    net = Net(TABLE[name].sigma, pool=pool)
    spec = symmetry.trace(apply(net), initial(net), IMAGES)
    scalings, signs = EXPECTED[name]
    # An even activation has no sign left that a maximum could see.
    seen = signs * (pool != "max" or name == "gaussian_rbf")
    found = [(s.name, s.size, s.scalings, s.signs) for s in spec.spaces.values()]
    assert found == [
        ("one", 4, scalings + 1, seen + 1),
        ("two", 5, scalings, signs),
        ("three", 6, scalings, signs),
    ]
    assert spec.dimension == 4 + scalings * (4 + 5 + 6)
    kinds = [space.kind for space in spec.spaces.values()]
    if name == "identity":
        assert kinds[1:] == ["general_linear"] * 2
    elif name == "gaussian_rbf":
        # At the tap, after the activation, its signs are gone: phi(A) = |A|.
        assert kinds[1:] == ["permutation"] * 2
    else:
        assert kinds[1:] == [TABLE[name].kind] * 2


@pytest.mark.parametrize("norm", some([True, False], every=2))
@pytest.mark.parametrize("name", some(sorted(EXPECTED), every=2))
def test_proposition_3_4(name, norm):
    """Equal functions, and phi(A) at every tap, for random elements in float64."""
    with jax.enable_x64(True):
        net = Net(TABLE[name].sigma, norm=norm)
        x = IMAGES.astype(jnp.float64)
        v = jax.tree.map(lambda a: a.astype(jnp.float64), initial(net))
        spec = symmetry.trace(apply(net), v, x)
        named = jax.jit(tracing.taps(apply(net)))
        before, taps = named(v, x)
        for seed in range(3):
            g = symmetry.sample(jax.random.key(seed), spec)
            w = symmetry.act(spec, g, v)
            after, moved = named(w, x)
            np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-10)
            assert symmetry.certify(apply(net), v, w, x, tolerance=1e-9).ok
            for tap_name, value in taps.items():
                expected = symmetry.act_on_tap(spec, g, tap_name, value)
                scale = float(jnp.abs(expected).max())
                error = jnp.abs(moved[tap_name] - expected).max()
                assert float(error) < 1e-11 * scale
                element = symmetry.element_at(spec, g, tap_name)
                dense = value @ groups.as_matrix(element).T
                np.testing.assert_allclose(
                    expected, dense, rtol=1e-9, atol=1e-11 * scale
                )
                if tap_name == "three" and TABLE[name].kind != "permutation":
                    assert float(jnp.abs(value - expected).max()) > 1e-2 * scale


@pytest.mark.parametrize("name", ["relu", "sigmoid", "polynomial"])
def test_an_orthogonal_matrix_is_refuted(name):
    """The same action with a matrix outside the group changes the function."""
    mlp, v = dense_network(TABLE[name].sigma)
    x = jax.random.normal(jax.random.key(0), (20, 3))
    g = groups.sample(jax.random.key(1), "orthogonal", 8)
    inside = groups.sample(jax.random.key(1), TABLE[name].kind, 8)
    for element, ok in ((g, False), (inside, True)):
        image = TABLE[name].phi(element) if ok else element
        moved = {
            "in": groups.act(element, v["in"]),
            "bias": groups.act(element, v["bias"]),
            "out": jnp.linalg.inv(groups.as_matrix(image)).T @ v["out"],
        }
        found = symmetry.certify(mlp, v, moved, x, tolerance=1e-4)
        assert found.ok == ok
        if not ok:
            assert found.max_rel_error > 0.05


def dense_network(sigma):
    def mlp(v, x):
        return tap(sigma(x @ v["in"] + v["bias"]), "hidden") @ v["out"]

    keys = jax.random.split(jax.random.key(3), 3)
    shapes = {"in": (3, 8), "bias": (8,), "out": (8, 2)}
    draw = lambda key, shape: jax.random.normal(key, shape)
    v = {n: draw(k, s) for k, (n, s) in zip(keys, shapes.items(), strict=True)}
    return mlp, v


def test_action_is_the_formula_of_proposition_3_4():
    mlp, v = dense_network(TABLE["polynomial"].sigma)
    spec = symmetry.trace(mlp, v, jnp.ones((1, 3)))
    g = symmetry.sample(jax.random.key(0), spec)
    w = symmetry.act(spec, g, v)
    a = np.asarray(groups.as_matrix(symmetry.element_at(spec, g, "hidden")))
    root = np.cbrt(a)  # phi(A) is the entrywise cube of A
    np.testing.assert_allclose(w["in"], v["in"] @ root.T, rtol=1e-5)
    np.testing.assert_allclose(w["bias"], root @ v["bias"], rtol=1e-5)
    np.testing.assert_allclose(w["out"], np.linalg.inv(a).T @ v["out"], rtol=1e-4)


def test_action_law_inverse_jit_and_vmap():
    net = Net(nn.relu)
    v = initial(net)
    spec = symmetry.trace(apply(net), v, IMAGES)
    g, h = (symmetry.sample(jax.random.key(i), spec) for i in range(2))
    act = jax.jit(lambda g, v: symmetry.act(spec, g, v))
    both = act(groups.compose(g, h), v)
    for a, b in zip(
        jax.tree.leaves(both), jax.tree.leaves(act(g, act(h, v))), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    for a, b in zip(
        jax.tree.leaves(act(groups.inverse(g), act(g, v))),
        jax.tree.leaves(v),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    keys = jax.random.split(jax.random.key(9), 3)
    many = jax.vmap(lambda key: symmetry.sample(key, spec))(keys)
    moved = jax.vmap(lambda g: symmetry.act(spec, g, v))(many)
    run = lambda w: jnp.asarray(net.apply(w, IMAGES))
    outputs = jax.vmap(run)(moved)
    expected = np.broadcast_to(run(v), outputs.shape)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-4)
    assert float(jnp.abs(outputs[0] - outputs[1]).max()) > 0


def test_batchnorm_in_training_mode_keeps_the_sign_only():
    """A positive scaling of the kernel alone is exact only for epsilon = 0."""
    net = Net(nn.relu)
    v = initial(net)

    def training(params, v, x):
        return net.apply({**v, "params": params}, x, True, mutable=["batch_stats"])[0]

    spec = symmetry.trace(training, v["params"], v, IMAGES)
    one = spec.spaces["one"]
    assert (one.kind, one.scalings, one.signs) == ("positive_monomial", 1, 1)
    g = symmetry.sample(jax.random.key(0), spec)
    moved = symmetry.act(spec, g, v["params"])
    assert symmetry.certify(training, v["params"], moved, v, IMAGES).ok
    scaled = jax.tree.map(lambda a: a, v["params"])
    scaled["conv1"] = jax.tree.map(lambda a: a / 100, scaled["conv1"])
    assert not symmetry.certify(training, v["params"], scaled, v, IMAGES).ok


def test_max_pooling_refuses_sign_flips():
    """The same network with average pooling has the flip; with a maximum not."""
    for pool, passes in (("average", True), ("max", False)):
        net = Net(jnp.tanh, norm=False, pool=pool)
        v = initial(net)
        spec = symmetry.trace(apply(net), v, IMAGES)
        assert spec.spaces["one"].signs == passes
        flip = jax.tree.map(lambda a: a, v)
        flip["params"]["conv1"] = jax.tree.map(jnp.negative, flip["params"]["conv1"])
        kernel = flip["params"]["conv2"]["kernel"]
        flip["params"]["conv2"]["kernel"] = -kernel
        assert symmetry.certify(apply(net), v, flip, IMAGES).ok == passes


SIGMAS = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "square": jnp.square,
    "gelu": jax.nn.gelu,
}


@pytest.mark.parametrize("name", SIGMAS)
def test_dimension_against_a_numerical_oracle(name):
    """The nullity of J(theta, x) diag(theta) counts every scaling there is."""
    mlp, v = dense_network(SIGMAS[name])

    def two_layers(v, x):
        return mlp(
            {k: v[k] for k in ("in", "bias", "out")}, jax.nn.relu(x @ v["first"])
        )

    v = {**v, "first": jnp.ones((4, 3))}
    for fn, tree, width in ((mlp, v | {}, 3), (two_layers, v, 4)):
        tree = dict(tree)
        if fn is mlp:
            tree.pop("first")
        spec = symmetry.trace(fn, tree, jnp.ones((1, width)))
        assert spec.dimension == nullity(fn, tree, width)


def nullity(fn, tree, width):
    with jax.enable_x64(True):
        flat, restore = ravel_pytree(tree)
        rows = []
        for seed in range(12):
            one, two = jax.random.split(jax.random.key(seed))
            theta = jax.random.normal(one, flat.shape, jnp.float64)
            x = jax.random.normal(two, (8, width), jnp.float64)
            f = lambda theta, x=x: fn(restore(theta), x).ravel()
            rows.append(np.asarray(jax.jacobian(f)(theta) * theta))
        singular = np.linalg.svd(np.concatenate(rows), compute_uv=False)
        return int((singular < 1e-10 * singular[0]).sum())


def test_all_permutations_of_a_small_network():
    """Of all 24 orders of the hidden channels, those in the group, which are all."""
    mlp, v = dense_network(jax.nn.sigmoid)
    v = {"in": v["in"][:, :4], "bias": v["bias"][:4], "out": v["out"][:4]}
    x = jax.random.normal(jax.random.key(0), (9, 3))
    spec = symmetry.trace(mlp, v, x)
    for order in itertools.permutations(range(4)):
        g = {
            "hidden": symmetry.Channels(
                groups.Permutation(jnp.array(order)), jnp.ones((0, 4)), jnp.ones((0, 4))
            )
        }
        assert symmetry.certify(mlp, v, symmetry.act(spec, g, v), x).ok
    wrong = {**v, "in": v["in"][:, ::-1]}
    assert not symmetry.certify(mlp, v, wrong, x).ok


def test_what_fixes_a_space():
    """Constants, positions and operations without a rule: refused, with the reason."""
    x = jnp.ones((2, 4))
    v = {"w": jnp.ones((4, 6)), "u": jnp.ones((6, 3))}
    ramp = jnp.arange(6.0)
    cases = {
        "a constant that varies along it": lambda h: h + ramp,
        "operation 'sort'": jnp.sort,
        "operation 'cumsum'": lambda h: jnp.cumsum(h, axis=-1),
        "operation 'cummax'": lambda h: jax.lax.cummax(h, axis=1),
        "positions of one axis that are tied": lambda h: h + h[:, ::-1],
    }
    for reason, step in cases.items():
        fn = lambda v, x, step=step: step(jax.nn.relu(x @ v["w"])) @ v["u"]
        spec = symmetry.trace(fn, v, x)
        # What scales all channels by one number stays.
        assert not any(space.permuted for space in spec.spaces.values())
        assert reason in spec.fixed["w:1"], spec.fixed
    constant = lambda v, x: (jax.nn.relu(x @ v["w"]) + 1.0) @ v["u"]
    assert symmetry.trace(constant, v, x).spaces["w"].kind == "permutation"
    unused = symmetry.trace(lambda v, x: x @ v["w"], v, x)
    assert unused.fixed["u:0"] == "not used"


def test_describe_and_counts():
    net = Net(nn.relu)
    spec = symmetry.trace(apply(net), initial(net), IMAGES)
    table = spec.describe(touches=None)
    for text in ("one", "positive_monomial", "params/conv2/kernel:2", "3 spaces"):
        assert text in table
    # 4!, 5! and 6! orders, and one sign for each of the 4 channels with BatchNorm.
    assert spec.log_permutations == pytest.approx(np.log(24 * 120 * 720 * 2**4))


def test_errors_name_both_sides():
    mlp, v = dense_network(jax.nn.relu)
    x = jnp.ones((1, 3))
    spec = symmetry.trace(mlp, v, x)
    g = symmetry.sample(jax.random.key(0), spec)
    with pytest.raises(ValueError, match="'extra' is not in the spec"):
        symmetry.act(spec, g, {**v, "extra": x})
    with pytest.raises(ValueError, match="'bias' is not in the variables"):
        symmetry.act(spec, g, {"in": v["in"], "out": v["out"]})
    with pytest.raises(ValueError, match=r"'bias' has shape \(7,\), the spec.*\(8,\)"):
        symmetry.act(spec, g, {**v, "bias": jnp.ones(7)})
    with pytest.raises(
        ValueError, match=r"for the spaces \['other'\], the spec has \['hi"
    ):
        symmetry.act(spec, {"other": g["hidden"]}, v)
    with pytest.raises(ValueError, match=r"no tap 'conv1'; the spec has \['hidden'\]"):
        symmetry.element_at(spec, g, "conv1")
    with pytest.raises(ValueError, match=r"shapes \[\(1, 2\)\] became \[\(1, 1\)\]"):
        symmetry.certify(mlp, v, {**v, "out": v["out"][:, :1]}, x)
    nan = {**v, "out": v["out"] * jnp.nan}
    assert not symmetry.certify(mlp, v, nan, x).ok
