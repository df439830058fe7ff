import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name
from jax.flatten_util import ravel_pytree
from thinned import some

from symjax_lib import jaxprs, tracing
from symjax_lib.tracing import tap


class Block(nn.Module):
    """A residual block with a projection shortcut and taps inside and after."""

    @nn.compact
    def __call__(self, x, train):
        norm = lambda name: nn.BatchNorm(use_running_average=not train, name=name)
        y = nn.Conv(4, (3, 3), name="conv1")(x)
        y = tap(nn.relu(norm("bn1")(y)), "inside")
        y = norm("bn2")(nn.Conv(4, (3, 3), name="conv2")(y))
        return tap(nn.relu(y + norm("bn0")(nn.Conv(4, (1, 1), name="conv0")(x))), "out")


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(3, (3, 3), name="stem")(x)
        norm = nn.BatchNorm(use_running_average=not train, name="bn")
        x = tap(nn.relu(norm(x)), "stem")
        x = Block(name="block")(x, train)
        x = nn.max_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1)
        return nn.Dense(5, name="head")(x)


NET = Net()
IMAGES = jax.random.normal(jax.random.key(1), (4, 6, 6, 2))


def variables(seed):
    v = NET.init(jax.random.key(seed), IMAGES)
    noise = lambda a, key: a + 0.3 * jax.random.uniform(key, a.shape)
    keys = jax.random.split(jax.random.key(seed + 100), len(jax.tree.leaves(v)))
    return jax.tree.map(noise, v, jax.tree.unflatten(jax.tree.structure(v), keys))


def evaluation(v, x):
    return NET.apply(v, x)


def training(v, x):
    return NET.apply(v, x, train=True, mutable=["batch_stats"])


def plain(w, x):
    """No library at all, and every parameter is cast and normalised beforehand."""
    w = jax.tree.map(lambda a: (a / jnp.linalg.norm(a)).astype(jnp.float32), w)
    h = tap(jnp.tanh(x @ w["a"]), "first")
    h = tap(jax.jit(jax.nn.relu)(h @ w["b"]) + h, "second")
    return h @ w["c"]


def weights(seed):
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = {"a": (3, 4), "b": (4, 4), "c": (4, 2)}
    draw = lambda key, shape: 5 * jax.random.normal(key, shape)
    return {n: draw(k, s) for k, (n, s) in zip(keys, shapes.items(), strict=True)}


X = jax.random.normal(jax.random.key(2), (7, 3))
CASES = [
    (evaluation, variables(0), IMAGES, ("stem", "inside", "out")),
    (training, variables(0), IMAGES, ("stem", "inside", "out")),
    (plain, weights(0), X, ("first", "second")),
]
CUTS = [(fn, v, x, name) for fn, v, x, names in CASES for name in names]
IDS = [f"{fn.__name__}-{name}" for fn, *_, name in CUTS]


def close(left, right):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("fn", "v", "x", "name"), some(CUTS, every=2), ids=IDS)
def test_front_then_back_is_the_function(fn, v, x, name):
    front, back = tracing.split(fn, name)
    out = jax.jit(lambda v: back(*front(v, x), v, x))(v)
    close(out, jax.jit(fn)(v, x))
    assert jax.tree.structure(out) == jax.tree.structure(fn(v, x))
    total = lambda f: lambda v: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(f(v)))
    whole = jax.jit(jax.grad(total(lambda v: fn(v, x))))(v)
    halves = jax.jit(jax.grad(total(lambda v: back(*front(v, x), v, x))))(v)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(halves), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * max(1, float(jnp.abs(a).max())))


@pytest.mark.parametrize(("fn", "v", "x", "names"), CASES)
def test_taps_are_the_values_at_the_cuts(fn, v, x, names):
    out, named = tracing.taps(fn)(v, x)
    assert tuple(named) == names
    close(out, fn(v, x))
    for name in names:
        close(named[name], tracing.split(fn, name)[0](v, x)[0])


@pytest.mark.parametrize(("fn", "v", "x", "name"), CUTS, ids=IDS)
def test_each_half_uses_only_its_own_variables(fn, v, x, name):
    """Variables are spoilt with NaN one by one; a half that reads one shows it."""
    other = jax.tree.map(lambda a: 1.5 * a + 0.1, v)
    front, back = tracing.split(fn, name)
    value, rest = front(v, x)
    crossed = back(value, rest, other, x)
    paths = jax.tree_util.tree_leaves_with_path(v)
    front, back = jax.jit(front), jax.jit(back)
    flags = jax.tree.leaves(tracing.downstream(fn, name)(v, x))
    for i in range(len(paths)):
        spoil = lambda tree, i=i: jax.tree.unflatten(
            jax.tree.structure(tree),
            [
                leaf * jnp.nan if j == i else leaf
                for j, leaf in enumerate(jax.tree.leaves(tree))
            ],
        )
        value_i, rest_i = front(spoil(v), x)
        in_front = bool(jnp.isnan(value_i).any())
        # What the front spoils reaches the stitched output by the value alone, never
        # because a weight of its own travels in `rest`.
        if not in_front:
            for a, flag in zip(
                jax.tree.leaves(back(value, rest_i, other, x)), flags, strict=True
            ):
                assert not (flag and jnp.isnan(a).any()), paths[i][0]
    close(back(value, rest, other, x), crossed)


def test_rest_has_the_skip_and_no_weights():
    v = variables(0)
    _, rest = tracing.split(evaluation, "inside")[0](v, IMAGES)
    assert [r.shape for r in rest] == [(4, 6, 6, 3)]
    for name in ("stem", "out"):
        assert tracing.split(evaluation, name)[0](v, IMAGES)[1] == ()
    for name in ("first",):
        assert tracing.split(plain, name)[0](weights(0), X)[1] == ()


def test_no_weight_of_the_front_leaks_into_the_back():
    """All parameters are normalised before the first layer; halves of two networks."""
    v, w = weights(0), weights(1)
    front, back = tracing.split(plain, "first")
    unit = lambda a: a / jnp.linalg.norm(a)
    h = jnp.tanh(X @ unit(v["a"]))
    h = jax.nn.relu(h @ unit(w["b"])) + h
    close(back(*front(v, X), w, X), h @ unit(w["c"]))
    # The counterexample: with the front's weights the result is another one.
    assert float(jnp.abs(back(*front(v, X), v, X) - h @ unit(w["c"])).max()) > 0.05


def normalised_by_one_number(w, x):
    """All parameters share an ancestor, so a careless cut would hand it over."""
    flat, unravel = ravel_pytree(w)
    w = unravel(flat / jnp.linalg.norm(flat))
    return tap(jnp.tanh(x @ w["a"]), "first") @ w["b"] @ w["c"]


def test_no_weight_leaks_through_a_common_ancestor():
    v, w = weights(0), weights(1)
    front, back = tracing.split(normalised_by_one_number, "first")
    value, rest = front(v, X)
    assert rest == ()
    norm = lambda tree: jnp.linalg.norm(ravel_pytree(tree)[0])
    close(value, jnp.tanh(X @ v["a"] / norm(v)))
    close(back(value, rest, w, X), value @ w["b"] @ w["c"] / norm(w) ** 2)


def test_statistics_before_the_cut_are_the_fronts():
    v, w = variables(0), variables(1)
    front, back = tracing.split(training, "out")
    _, stitched = back(*front(v, IMAGES), w, IMAGES)
    _, of_front = training(v, IMAGES)
    close(stitched, of_front)
    front, back = tracing.split(training, "stem")
    _, stitched = back(*front(v, IMAGES), w, IMAGES)
    close(stitched["batch_stats"]["bn"], of_front["batch_stats"]["bn"])
    # The block belongs to the back: its statistics start from the back's own.
    _, of_back = training(w, IMAGES)
    for bn in ("bn0", "bn1", "bn2"):
        old = [x["batch_stats"]["block"][bn]["mean"] for x in (v, w)]
        mine = stitched["batch_stats"]["block"][bn]["mean"]
        assert float(jnp.abs(mine - of_back["batch_stats"]["block"][bn]["mean"]).max())
        # flax: new = 0.99 old + 0.01 batch
        assert float(jnp.abs(mine - 0.99 * old[1]).max()) < 0.05


def test_shortcut_statistics_are_the_backs_when_cut_inside():
    v, w = variables(0), variables(1)
    front, back = tracing.split(training, "inside")
    _, stitched = back(*front(v, IMAGES), w, IMAGES)
    stats = stitched["batch_stats"]["block"]
    _, of_front = training(v, IMAGES)
    close(stats["bn1"], of_front["batch_stats"]["block"]["bn1"])
    assert (
        float(
            jnp.abs(
                stats["bn0"]["mean"] - 0.99 * w["batch_stats"]["block"]["bn0"]["mean"]
            ).max()
        )
        < 0.05
    )
    assert (
        float(
            jnp.abs(
                stats["bn0"]["mean"] - 0.99 * v["batch_stats"]["block"]["bn0"]["mean"]
            ).max()
        )
        > 0.05
    )


def test_downstream():
    flags = tracing.downstream(training, "inside")(variables(0), IMAGES)
    block = flags[1]["batch_stats"]["block"]
    assert flags[0] is True
    assert block == {
        "bn0": {"mean": False, "var": False},
        "bn1": {"mean": False, "var": False},
        "bn2": {"mean": True, "var": True},
    }


def test_derivative_rules_are_kept():
    """`jax.nn.relu` has slope 0 at 0; the formula inside it would give one half."""
    fn = lambda w, x: tap(jax.nn.relu(w * x), "relu") * 2
    grad = jax.grad(lambda w: tracing.taps(fn)(w, 0.0)[0] + tracing.taps(fn)(w, 1.0)[0])
    assert grad(0.0) == jax.grad(lambda w: fn(w, 0.0) + fn(w, 1.0))(0.0) == 0.0


def test_under_vmap_and_inside_calls():
    remat = jax.checkpoint(lambda w, x: tap(jnp.sin(w * x), "inner"))
    fn = lambda w, x: jax.jit(remat)(w, x).sum()
    front, back = tracing.split(fn, "inner")
    w = jnp.arange(3.0)
    out = jax.vmap(lambda w: back(*front(w, X), w, X))(w)
    close(out, jax.vmap(lambda w: fn(w, X))(w))
    # A cut would lose the derivative, so such a tap is refused.
    one = jax.custom_jvp(lambda x: tap(x**2, "square"))
    one.defjvp(lambda x, t: (one(x[0]), 2 * x[0] * t[0]))
    with pytest.raises(ValueError, match="'square' are inside .*custom_jvp"):
        tracing.taps(one)(3.0)
    assert tracing.taps(lambda x: tap(one_without_tap(x), "after"))(3.0)[0] == 9.0


@jax.custom_jvp
def one_without_tap(x):
    return x**2


one_without_tap.defjvp(lambda x, t: (one_without_tap(x[0]), 2 * x[0] * t[0]))


def test_names_that_are_not_taps_are_left_alone():
    """Others use JAX's names for their own purposes, as often as they like."""
    named = checkpoint_name

    def fn(w, x):
        x = named(named(x * w, "attn") + 1, "attn")
        return named(tap(x, "mine"), "mine") * w

    out, taps = tracing.taps(fn)(2.0, 3.0)
    assert (out, taps) == (14.0, {"mine": 7.0})


def test_a_second_tower_is_the_backs():
    def fn(v, x):
        return {"main": tap(x * v["a"], "h") * v["b"], "aux": x * v["a"] * v["c"]}

    v, w = (dict.fromkeys("abc", s) for s in (2.0, 5.0))
    front, back = tracing.split(fn, "h")
    assert back(*front(v, 3.0), w, 3.0) == {"main": 30.0, "aux": 75.0}


def test_body_used_twice_keeps_both_results_apart():
    double = jax.jit(lambda x: x * 2)
    fn = lambda w, x: tap(double(double(x) + w), "y") - double(w)
    out, named = tracing.taps(fn)(1.0, 3.0)
    assert (out, named["y"]) == (12.0, 14.0)
    assert all(e.primitive.name != "jit" for e in jaxprs.trace(fn, 1.0, 3.0).jaxpr.eqns)


def test_errors_list_the_names():
    with pytest.raises(
        ValueError, match="no tap 'conv4'; this function names 'first', 's"
    ):
        tracing.split(plain, "conv4")[0](weights(0), X)
    doubled = lambda w, x: tap(tap(w * x, "a") + tap(x, "b"), "a")
    for call in (tracing.taps(doubled), tracing.split(doubled, "b")[0]):
        with pytest.raises(ValueError, match="'a' name more than one value.*'a', 'b'"):
            call(1.0, 2.0)

    def loop(w, x):
        return jax.lax.scan(lambda c, _: (tap(w * c, "in"), None), x, None, 2)[0]

    with pytest.raises(
        ValueError, match="'in' are inside a call that must stay whole: a loop"
    ):
        tracing.taps(loop)(1.0, 2.0)

    def unused(w, x):
        tap(w * x, "lost")
        return x * w

    with pytest.raises(ValueError, match="no output depends on tap 'lost'; use what"):
        tracing.split(unused, "lost")[0](1.0, 2.0)
    with pytest.raises(TypeError, match="'pair' must name one array, got tuple"):
        tap((X, X), "pair")  # pyright: ignore[reportArgumentType]
    front, back = tracing.split(plain, "first")
    value, rest = front(weights(0), X)
    with pytest.raises(ValueError, match=r"takes a value of shape \(7, 4\).*\(7, 3\)"):
        back(value[:, :3], rest, weights(0), X)
