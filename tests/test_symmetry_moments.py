"""Gradients and the moments of optimisers move with the variables."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from architectures import Architecture
from compounds import Attention, Gate, Residual
from layers import Act, BatchNorm, Conv, Dense, GlobalPool
from scaling_nullity import QUICK
from thinned import some

from symjax_lib import symmetry

HEAD, RELU, TANH = Dense(2), Act("relu"), Act("tanh")
NETS = {
    "relu": Architecture((9, 3), (Dense(4), RELU, Dense(3), RELU, HEAD)),
    "tanh": Architecture((9, 3), (Dense(4), TANH, Dense(3), TANH, HEAD)),
    "linear": Architecture((9, 3), (Dense(3), HEAD)),
    "gate": Architecture((9, 3), (Gate(4, "silu"), HEAD)),
    "batch norm": Architecture((9, 3), (Dense(4), BatchNorm(), RELU, HEAD)),
    "stream": Architecture((9, 3), (Dense(4), RELU, Residual((RELU, Dense(4))), HEAD)),
    "groups": Architecture(
        (2, 4, 4, 2), (Conv(4), RELU, Conv(4, groups=2), RELU, GlobalPool(), HEAD)
    ),
    "attention": Architecture((3, 4, 3), (Attention(2, size=2), GlobalPool(), HEAD)),
}
# Its group has orders and signs, which all optimisers below let pass, and no scalings.
FINITE = Architecture((9, 3), (Dense(4), TANH, Dense(3), TANH, HEAD))
OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.05),
    "adamw": optax.adamw(0.05, weight_decay=0.1),
    "amsgrad": optax.amsgrad(0.05),
    "adagrad": optax.adagrad(0.1),
    "rmsprop": optax.rmsprop(0.05, momentum=0.9),
    "clipped": optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.05)),
    "scheduled": optax.adam(optax.cosine_decay_schedule(0.05, 10)),
}


@pytest.fixture(autouse=True)
def _precise():
    with jax.enable_x64(True):
        yield


def traced(net):
    v, x = net.init(), net.example()
    spec = symmetry.trace(net.apply, v, x)
    return v, x, spec, symmetry.sample(jax.random.key(0), spec)


def gradient(net, x):
    loss = lambda v: jnp.sin(net.apply(v, x)).sum()
    return jax.jit(jax.grad(loss), compiler_options=QUICK)


def assert_close(actual, expected):
    for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", NETS)
def test_gradients_of_the_transformed_variables(name):
    net = NETS[name]
    v, x, spec, g = traced(net)
    grad = gradient(net, x)
    there = grad(symmetry.act(spec, g, v))
    assert_close(symmetry.act_on_gradients(spec, g, grad(v)), there)
    if spec.dimension:  # They are not those that scale as the variables do.
        with pytest.raises(AssertionError):
            assert_close(symmetry.act(spec, g, grad(v)), there)


@pytest.mark.parametrize("name", some(OPTIMIZERS, every=2))
def test_training_goes_on_as_it_would_have(name):
    """Three steps, an element, three steps: as six steps and the element."""
    net, optimizer = FINITE, OPTIMIZERS[name]
    v, x, spec, g = traced(net)
    grad = gradient(net, x)

    def steps(v, state):
        for _ in range(3):
            updates, state = optimizer.update(grad(v), state, v)
            v = optax.apply_updates(v, updates)
        return v, state

    v, state = steps(v, optimizer.init(v))
    there = symmetry.act(spec, g, v), symmetry.act_on_optimizer(spec, g, state)
    after, later = steps(v, state)
    moved = symmetry.act(spec, g, after), symmetry.act_on_optimizer(spec, g, later)
    assert_close(steps(*there), moved)
    if jax.tree.leaves(state):  # The moments have to move.
        with pytest.raises(AssertionError):
            assert_close(steps(there[0], state)[0], moved[0])


def test_moments_after_scalings_are_those_of_the_new_gradients():
    """The first step's are gradients and their squares, times constants."""
    net, optimizer = NETS["relu"], optax.adam(0.1)
    v, x, spec, g = traced(net)
    grad, w = gradient(net, x), symmetry.act(spec, g, v)
    _, here = optimizer.update(grad(v), optimizer.init(v), v)
    _, there = optimizer.update(grad(w), optimizer.init(w), w)
    assert_close(symmetry.act_on_optimizer(spec, g, here), there)


def test_a_part_of_the_variables():
    """A dictionary of parameters in one of all variables, as flax has them."""
    mlp = lambda v, x: jax.nn.relu(x @ v["params"]["in"]) @ v["params"]["out"]
    rng = np.random.default_rng(0)
    params = {"in": jnp.asarray(rng.normal(size=(3, 4)))}
    params["out"] = jnp.asarray(rng.normal(size=(4, 2)))
    x = jnp.asarray(rng.normal(size=(5, 3)))
    spec = symmetry.trace(mlp, {"params": params}, x)
    g = symmetry.sample(jax.random.key(0), spec)
    grads = jax.grad(lambda v: mlp(v, x).sum())
    moved = symmetry.act_on_gradients(spec, g, grads({"params": params}))
    w = symmetry.act(spec, g, {"params": params})
    assert_close(moved, grads(w))
    alone = symmetry.act_on_gradients(spec, g, grads({"params": params})["params"])
    assert_close(alone, grads(w)["params"])


def test_squares_have_no_image_under_matrices():
    net = NETS["linear"]
    v, _, spec, g = traced(net)
    symmetry.act_on_optimizer(spec, g, optax.sgd(0.1, momentum=0.9).init(v))
    with pytest.raises(ValueError, match="general linear"):
        symmetry.act_on_optimizer(spec, g, optax.adam(0.1).init(v))


def test_gradients_of_something_else_are_refused():
    v, _, spec, g = traced(NETS["relu"])
    with pytest.raises(ValueError, match="'other'"):
        symmetry.act_on_gradients(spec, g, {"other": jnp.ones(3)})
    name, value = next(iter(v.items()))
    with pytest.raises(ValueError, match=r"shape|axis|channels"):
        symmetry.act_on_gradients(spec, g, {name: value[..., :-1]})
