"""Functions that return updated variables, and certificates of them."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scaling_nullity import draw_variables

from symjax_lib import symmetry
from symjax_lib.tracing import tap

X = np.random.default_rng(0).normal(size=(7, 3))


@pytest.fixture(autouse=True)
def _precise():
    with jax.enable_x64(True):
        yield


class Net(nn.Module):
    """Two normalised layers, one of them after dropout."""

    @nn.compact
    def __call__(self, x, train=False):
        norm = lambda name: nn.BatchNorm(
            use_running_average=not train, epsilon=1e-3, name=name
        )
        x = tap(nn.relu(norm("bn1")(nn.Dense(4, name="one")(x))), "one")
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = tap(nn.tanh(norm("bn2")(nn.Dense(5, name="two")(x))), "two")
        return nn.Dense(2, name="head")(x)


def variables(net: nn.Module) -> Any:
    v = net.init(jax.random.key(0), X)
    return jax.tree.map(jnp.asarray, draw_variables(np.random.default_rng(1), v))


def training(net: nn.Module) -> Callable[..., Any]:
    """Outputs, and the statistics after one step, with one pattern of dropout."""
    rngs = {"dropout": jax.random.key(3)}
    return lambda v, x: net.apply(v, x, True, mutable=["batch_stats"], rngs=rngs)


class NoDropout(Net):
    @nn.compact
    def __call__(self, x, train=False):
        norm = nn.BatchNorm(use_running_average=not train, epsilon=1e-3, name="bn1")
        x = nn.relu(norm(nn.Dense(4, name="one")(x)))
        return nn.Dense(2, name="head")(x)


def test_updated_statistics_move_with_the_group():
    net = NoDropout()
    v = variables(net)
    fn = training(net)
    spec = symmetry.trace(fn, v, X)
    assert {*spec.outputs} == {f"1/batch_stats/bn1/{name}" for name in ("mean", "var")}
    # The gain's scaling through the relu, and the sign of kernel, mean and gain.
    (space,) = spec.spaces.values()
    assert (space.size, space.scalings, space.signs) == (4, 1, 1)
    g = symmetry.sample(jax.random.key(0), spec)
    w = symmetry.act(spec, g, v)
    (before, old), (after, new) = fn(v, X), fn(w, X)
    np.testing.assert_allclose(after, before, rtol=1e-9)
    expected = symmetry.act_on_outputs(spec, g, (before, old))[1]
    # By hand: the statistics of each channel go where its column of the kernel goes,
    # whose size stays in training mode.
    left, right = (np.asarray(tree["params"]["one"]["kernel"]) for tree in (w, v))
    gaps = np.abs(np.abs(left)[:, :, None] - np.abs(right)[:, None]).sum(0)
    order = gaps.argmin(axis=1)
    sign = np.sign(left[0] / right[0, order])
    np.testing.assert_allclose(left, right[:, order] * sign, rtol=1e-9)
    assert sorted(order) == [0, 1, 2, 3]
    for name, power in (("mean", sign), ("var", np.ones(4))):
        moved, stayed = (tree["batch_stats"]["bn1"][name] for tree in (new, old))
        np.testing.assert_allclose(moved, power * stayed[order], rtol=1e-9)
        np.testing.assert_allclose(moved, expected["batch_stats"]["bn1"][name], 1e-9)
        assert not np.allclose(moved, stayed)
    certify = symmetry.certify
    assert certify(fn, v, w, X, tolerance=1e-9, spec=spec, element=g).ok
    # Without the specification the statistics are outputs like others.
    assert not certify(fn, v, w, X, tolerance=1e-9).ok


def test_statistics_in_evaluation_mode_scale_too():
    """(i) and (ii): one scaling more than in training mode."""
    net = NoDropout()
    v = variables(net)
    spec = symmetry.trace(lambda v, x: net.apply(v, x), v, X)
    (space,) = spec.spaces.values()
    assert (space.size, space.scalings, space.signs) == (4, 2, 1)
    assert not spec.outputs


def test_dropout():
    """None in evaluation mode; in training mode a mask is a constant that varies."""
    net = Net()
    v = variables(net)
    evaluation = symmetry.trace(lambda v, x: net.apply(v, x), v, X)
    found = {name: (s.size, s.scalings) for name, s in evaluation.spaces.items()}
    assert found == {"one": (4, 2), "two": (5, 1)}
    spec = symmetry.trace(training(net), v, X)
    assert not any(s.permuted for s in spec.spaces.values() if s.size == 4)
    g = symmetry.sample(jax.random.key(0), spec)
    w = symmetry.act(spec, g, v)
    options = {"tolerance": 1e-9, "spec": spec, "element": g}
    assert symmetry.certify(training(net), v, w, X, **options).ok


def test_an_output_that_is_no_update_fixes():
    """The same value under another name, or in another shape, is an output."""
    v = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))}
    v["mean"], v["out"] = jnp.ones(4), jnp.ones((4, 2))

    def fn(name, change):
        def step(v, x):
            h = x @ v["w"]
            mean = 0.9 * v["mean"] + 0.1 * h.mean(0)
            return nn.relu(h - v["mean"]) @ v["out"], {name: change(mean)}

        return step

    update = symmetry.trace(fn("mean", lambda m: m), v, X)
    assert [(s.size, s.kind) for s in update.spaces.values()] == [
        (4, "positive_monomial")
    ]
    for other in (fn("average", lambda m: m), fn("mean", lambda m: m[None])):
        assert not symmetry.trace(other, v, X).spaces
    summed = symmetry.trace(fn("total", lambda m: m.sum()), v, X)
    assert [(s.size, s.kind) for s in summed.spaces.values()] == [(4, "permutation")]


def test_what_a_certificate_says():
    net = NoDropout()
    v = variables(net)
    fn = lambda v, x: net.apply(v, x)
    spec = symmetry.trace(fn, v, X)
    g = symmetry.sample(jax.random.key(0), spec)
    good = symmetry.certify(fn, v, symmetry.act(spec, g, v), X, spec=spec, element=g)
    assert str(good).startswith("the same function: largest error ")
    assert "1000 times the spacing of float64" in str(good)
    wrong = jax.tree.map(lambda a: -a, v)
    bad = symmetry.certify(fn, v, wrong, X, tolerance=1e-3)
    assert str(bad).startswith("NOT the same function")
    assert "tolerance 0.001: as given" in str(bad)
    with pytest.raises(ValueError, match="give both, or none"):
        symmetry.certify(fn, v, v, X, spec=spec)
