import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from symjax_lib import models
from train import step
from train.configs import PRESETS, Config
from train.step import TrainState

pytestmark = pytest.mark.usefixtures("quick_to_compile")

N, CLASSES = 12, 3


def data(seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (N, 8, 8, 1), dtype=np.uint8)
    return jnp.array(images), jnp.array(rng.integers(0, CLASSES, N, dtype=np.int32))


def normalise(images):
    return images / 255.0 - 0.5


def unchanged(key, images):
    return images


def mlp():
    return models.MLP(features=(8,), num_classes=CLASSES)


def apply(model, variables, x) -> jax.Array:
    return model.apply(variables, x, train=False)


def started(model, optimiser, seed=0):
    init = step.make_init(model, optimiser, jnp.zeros((8, 8, 1)))
    return jax.jit(init)(jax.random.key(seed))


def train_step(model, optimiser, augment=unchanged):
    return step.make_train_step(model, optimiser, augment=augment, normalise=normalise)


def test_learning_rate_halves_every_twelve_epochs():
    rate = step.learning_rate(PRESETS["myrtle_cnn"], 1406)
    last, first = 1406 * 12 - 1, 1406 * 12
    steps = (0, last, first, 2 * first, 4 * first, 50 * 1406)
    got = np.array([rate(i) for i in steps])
    np.testing.assert_allclose(
        got, [1e-3, 1e-3, 5e-4, 2.5e-4, 6.25e-5, 6.25e-5], rtol=1e-6
    )


def pytorch_adam(params, grads, *, rate, decay):
    """`torch.optim.Adam` as documented, in NumPy: L2 is added to the gradient."""
    m = v = np.zeros_like(params)
    for t, g in enumerate(grads, start=1):
        g = g + decay * params
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        params = params - rate * m_hat / (np.sqrt(v_hat) + 1e-8)
    return params


def test_weight_decay_is_coupled_and_on_kernels_only():
    config = Config(weight_decay=0.3, learning_rate=0.05, halve_every=1000)
    rng = np.random.default_rng(0)
    start = {"conv": {"kernel": rng.normal(size=9), "bias": rng.normal(size=9)}}
    grads = [jax.tree.map(lambda x: rng.normal(size=x.shape), start) for _ in range(5)]

    def run(optimiser):
        params: Any = start
        state = optimiser.init(params)
        for grad in grads:
            updates, state = optimiser.update(grad, state, params)
            params = optax.apply_updates(params, updates)
        return jax.tree.map(np.asarray, params["conv"])

    with jax.enable_x64(True):
        ours = run(step.make_optimiser(config, 1))
        decoupled = run(optax.adamw(0.05, weight_decay=0.3))
    for name, decay in (("kernel", 0.3), ("bias", 0.0)):
        each = [grad["conv"][name] for grad in grads]
        expected = pytorch_adam(start["conv"][name], each, rate=0.05, decay=decay)
        # optax takes learning rate and bias correction in float32 even so.
        np.testing.assert_allclose(ours[name], expected, rtol=1e-6)
        assert np.abs(decoupled[name] - expected).max() > 1e-3


def cross_entropy(logits, labels):
    """In NumPy, float64, summed over the batch."""
    logits = np.asarray(logits, float)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].sum()


def test_step_descends_the_mean_loss_of_its_own_batch():
    """With plain SGD of rate 1 the parameters change by exactly the gradient."""
    images, labels = data()
    order = jnp.array([[0, 1, 2, 3], [7, 5, 9, 11]])
    model = mlp()
    start = started(model, optax.sgd(1.0))
    state = TrainState(start.variables, start.opt_state, jnp.int32(3))  # row 3 % 2
    take = jax.jit(train_step(model, optax.sgd(1.0)))
    new, sums = take(state, jax.random.key(0), order, images, labels)
    x, y = normalise(images[order[1]]), labels[order[1]]

    def loss(params):
        log_p = jax.nn.log_softmax(apply(model, {"params": params}, x))
        return -log_p[jnp.arange(4), y].mean()

    params = state.variables["params"]
    expected = jax.tree.map(lambda p, g: p - g, params, jax.jit(jax.grad(loss))(params))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        new.variables["params"],
        expected,
    )
    logits = apply(model, state.variables, x)
    np.testing.assert_allclose(sums.loss, cross_entropy(logits, y), rtol=1e-5)
    assert sums.correct == (logits.argmax(-1) == y).sum()
    assert new.step == 4


def test_augmentation_has_a_new_key_every_step():
    """Seen in the loss on noise, as the weights stay what they are."""
    images, labels = data()
    order = jnp.zeros((1, 4), int)
    model, still = mlp(), optax.sgd(0.0)
    take = jax.jit(
        train_step(model, still, lambda key, x: jax.random.uniform(key, x.shape) * 255)
    )
    state = started(model, still)

    def loss(number, seed):
        at = TrainState(state.variables, state.opt_state, jnp.int32(number))
        return take(at, jax.random.key(seed), order, images, labels)[1].loss.item()

    assert len({loss(0, 0), loss(1, 0), loss(0, 1), loss(1, 1)}) == 4
    assert loss(1, 0) == loss(1, 0)


def convolutional(norm):
    model = models.MyrtleCNN(width=4, num_classes=CLASSES, norm=norm)
    optimiser = step.make_optimiser(Config(), 10)
    return started(model, optimiser), train_step(model, optimiser)


def test_a_step_moves_weights_and_running_statistics():
    images, labels = data()
    state, take = convolutional(norm=True)
    args = jax.random.key(0), jnp.arange(8).reshape(2, 4), images, labels
    new, sums = jax.jit(take)(state, *args)
    assert jnp.isfinite(sums.loss)
    moved = jax.tree.map(
        lambda x, y: bool((x != y).any()), state.variables, new.variables
    )
    assert all(jax.tree.leaves(moved))
    assert set(moved) == {"params", "batch_stats"}


def test_a_step_without_batch_statistics():
    images, labels = data()
    state, take = convolutional(norm=False)
    args = jax.random.key(0), jnp.arange(8).reshape(2, 4), images, labels
    new, _ = jax.eval_shape(take, state, *args)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert set(new.variables) == {"params"}


def test_evaluation_sums_over_labelled_images_only():
    images, labels = data()
    model = mlp()
    variables = started(model, optax.sgd(1.0)).variables
    evaluate = step.make_evaluate(model, normalise=normalise)
    sums = jax.jit(evaluate)(variables, images, labels.at[8:].set(-1))
    logits = apply(model, variables, normalise(images[:8]))
    np.testing.assert_allclose(sums.loss, cross_entropy(logits, labels[:8]), rtol=1e-5)
    assert sums.correct == (np.argmax(logits, -1) == labels[:8]).sum()
