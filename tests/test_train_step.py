import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from symjax_lib import models
from train import optimisers, step
from train.configs import Config
from train.presets import PRESETS

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
    return step.make_train_step(
        model, optimiser, augment=augment, normalise=normalise, num_classes=CLASSES
    )


def test_learning_rate_halves_every_twelve_epochs():
    rate = optimisers.learning_rate(PRESETS["myrtle_cnn"], 1406)
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
        ours = run(optimisers.make_optimiser(config, 1))
        decoupled = run(optax.adamw(0.05, weight_decay=0.3))
    for name, decay in (("kernel", 0.3), ("bias", 0.0)):
        each = [grad["conv"][name] for grad in grads]
        expected = pytorch_adam(start["conv"][name], each, rate=0.05, decay=decay)
        # optax takes learning rate and bias correction in float32 even so.
        np.testing.assert_allclose(ours[name], expected, rtol=1e-6)
        assert np.abs(decoupled[name] - expected).max() > 1e-3


def test_schedules_rise_and_fall():
    rising = Config(learning_rate=2.0, warm_up=2, epochs=12)
    for schedule in ("cosine", "linear"):
        config = dataclasses.replace(rising, schedule=schedule)
        rate = optimisers.learning_rate(config, 5)
        got = np.array([rate(i) for i in (0, 5, 10, 35, 60)])
        np.testing.assert_allclose(got, [0, 1, 2, 1, 0], atol=1e-6)
    quarter = optimisers.learning_rate(Config(schedule="cosine", epochs=4), 10)(10)
    np.testing.assert_allclose(quarter, 1e-3 * (1 + np.cos(np.pi / 4)) / 2, rtol=1e-6)
    config = Config(warm_up=2, halve_every=3)
    rate = optimisers.learning_rate(config, 1)
    got = np.array([rate(i) for i in (1, 2, 4, 5)])
    np.testing.assert_allclose(got, [5e-4, 1e-3, 1e-3, 5e-4], rtol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_other_optimisers_are_as_documented(name):
    """AdamW with decay apart from the moments; Nesterov's momentum as PyTorch's."""
    config = Config(optimiser=name, learning_rate=0.1, weight_decay=0.3)
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=9), rng.normal(size=(5, 9))
    optimiser = optimisers.make_optimiser(config, 1000)
    with jax.enable_x64(True):
        params: Any = {"kernel": start, "bias": start}
        state = optimiser.init(params)
        for grad in grads:
            updates, state = optimiser.update(
                {"kernel": grad, "bias": grad}, state, params
            )
            params = optax.apply_updates(params, updates)
    for leaf, decay in (("kernel", 0.3), ("bias", 0.0)):
        expected, m, v = start, np.zeros(9), np.zeros(9)
        for t, g in enumerate(grads, start=1):
            if name == "sgd":
                g = g + decay * expected
                m = 0.9 * m + g
                expected = expected - 0.1 * (g + 0.9 * m)
            else:
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
                m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
                expected = (1 - 0.1 * decay) * expected - 0.1 * m_hat / (
                    np.sqrt(v_hat) + 1e-8
                )
        np.testing.assert_allclose(params[leaf], expected, rtol=1e-6, atol=1e-7)


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
    state = start.replace(step=jnp.int32(3))  # row 3 % 2
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
        at = state.replace(step=jnp.int32(number))
        return take(at, jax.random.key(seed), order, images, labels)[1].loss.item()

    assert len({loss(0, 0), loss(1, 0), loss(0, 1), loss(1, 1)}) == 4
    assert loss(1, 0) == loss(1, 0)


def convolutional(norm):
    model = models.MyrtleCNN(width=4, num_classes=CLASSES, norm=norm)
    optimiser = optimisers.make_optimiser(Config(), 10)
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


def mixed_step(**options):
    images, labels = data()
    model = mlp()
    take = step.make_train_step(
        model,
        optax.sgd(1.0),
        augment=unchanged,
        normalise=normalise,
        num_classes=CLASSES,
        **options,
    )
    state = started(model, optax.sgd(1.0))
    args = jax.random.key(0), jnp.arange(8).reshape(2, 4), images, labels
    return state, jax.jit(take)(state, *args), model, normalise(images[:4]), labels[:4]


def test_label_smoothing_and_mixing_are_in_the_loss():
    def swapped(key, x, y):
        return x[::-1], 0.75 * y[::-1] + 0.25 * y

    state, (_, sums), model, x, y = mixed_step(mix=swapped, label_smoothing=0.3)
    targets = np.eye(CLASSES)[y]
    targets = 0.7 * (0.75 * targets[::-1] + 0.25 * targets) + 0.3 / CLASSES
    logits = np.asarray(apply(model, state.variables, x[::-1]), float)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(sums.loss, -(targets * log_p).sum(), rtol=1e-5)
    assert sums.correct == (logits.argmax(-1) == np.asarray(y)[::-1]).sum()


def test_half_precision_rounds_the_arithmetic_and_keeps_float32():
    state, (whole, sums), *_ = mixed_step()
    _, (half, rounded), *_ = mixed_step(precision="bfloat16")
    types = [jax.tree.map(lambda leaf: leaf.dtype, new) for new in (half, whole)]
    assert types[0] == types[1]
    assert 0 < abs(float(rounded.loss / sums.loss) - 1) < 0.02
    first, second = (
        ravel_pytree(new.variables)[0] - ravel_pytree(state.variables)[0]
        for new in (whole, half)
    )
    # Eight bits: some units of the hidden layer are on the other side of 0.
    assert jnp.corrcoef(first, second)[0, 1] > 0.9

    def products(precision):
        text = str(jax.make_jaxpr(lambda: mixed_step(precision=precision)[1])())
        lines = [line for line in text.split("\n") if "= dot_general" in line]
        return sum("bf16[" in line for line in lines), len(lines)

    made = 2  # by the model's initialisation, in float32
    assert products("float32") == (0, made + 5)
    assert products("bfloat16") == (5, made + 5)


def test_a_step_that_is_not_finite_is_not_taken_nor_any_after_it():
    images, labels = data()
    model, optimiser = mlp(), optax.adam(0.1)
    take = jax.jit(train_step(model, optimiser))
    start = started(model, optimiser)
    order = jnp.arange(8).reshape(2, 4)
    args = jax.random.key(0), order, images, labels
    kernel = start.variables["params"]["dense1"]["kernel"]
    for poison in (jnp.nan, jnp.inf):
        broken = start.replace(
            variables=jax.tree.map(
                lambda leaf, value=poison: (
                    leaf.at[(0,) * leaf.ndim].set(value)
                    if leaf.shape == kernel.shape
                    else leaf
                ),
                start.variables,
            )
        )
        state, sums = take(broken, *args)
        assert state.diverged
        assert state.step == 1
        assert np.isnan(sums.loss)
        for one, other in ((state.variables, broken.variables),):
            jax.tree.map(np.testing.assert_array_equal, one, other)
        jax.tree.map(np.testing.assert_array_equal, state.opt_state, start.opt_state)
        # With good weights it stays where it is, too: it has been marked.
        state, sums = take(state.replace(variables=start.variables), *args)
        assert np.isnan(sums.loss)
        jax.tree.map(np.testing.assert_array_equal, state.variables, start.variables)
    state, sums = take(start, *args)
    assert not state.diverged
    assert np.isfinite(sums.loss)


def test_dropout_has_a_new_key_every_step():
    images = jax.random.bits(jax.random.key(1), (4, 32, 32, 3), jnp.uint8)
    labels = jnp.zeros(4, int)
    model = models.CCT(width=8, num_layers=1, num_heads=2, dropout=0.5)
    still = optax.sgd(0.0)
    take = jax.jit(
        step.make_train_step(
            model, still, augment=unchanged, normalise=normalise, num_classes=10
        )
    )
    init = step.make_init(model, still, jnp.zeros((32, 32, 3)))
    state = jax.jit(init)(jax.random.key(0))
    args = jax.random.key(0), jnp.arange(4)[None], images, labels
    losses = {float(take(state.replace(step=i), *args)[1].loss) for i in (0, 1, 2, 2)}
    assert len(losses) == 3
