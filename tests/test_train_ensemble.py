import dataclasses
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from closeness import assert_close
from thinned import some
from zoos import TINY, fake

from symjax_lib import models
from train import architectures, data, ensemble, epoch as epochs, step
from train.augment import augment
from train.configs import UserError


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_lift_stacks_the_results_of_each_seed(strategy):
    def fn(tree, shared, x):
        return {"out": tree["a"] @ shared + x}, x

    rng = np.random.default_rng(0)
    a, shared, x = rng.normal(size=(3, 2, 4)), rng.normal(size=4), rng.normal(size=3)
    lifted = jax.jit(ensemble.lift(fn, strategy, (0, None, 0)))
    tree, same = lifted({"a": a}, shared, x)
    expected = np.stack([a[i] @ shared + x[i] for i in range(3)])
    np.testing.assert_allclose(tree["out"], expected, rtol=1e-5)
    np.testing.assert_allclose(same, x, rtol=1e-6)


def test_loop_and_vmap_agree_and_a_seed_does_not_depend_on_the_others():
    """With SGD, as Adam magnifies rounding where a gradient is almost 0.

    A device that loops has one seed at a time: `test_train_devices` has that to the
    bit. Here one program has two, which a compiler may round otherwise.
    """
    dataset = fake()
    images, labels = jnp.array(dataset.train_images), jnp.array(dataset.train_labels)
    model = models.MyrtleCNN(width=4, num_classes=2)
    optimiser = optax.sgd(0.1)
    one_step = step.make_train_step(
        model,
        optimiser,
        augment=lambda key, x: augment(key, x, flip=False, shift=1, fill=0),
        normalise=lambda x: data.normalise(dataset, x),
        num_classes=2,
    )
    keys = ensemble.seed_keys(TINY, [0, 1])
    init = jax.vmap(step.make_init(model, optimiser, jnp.zeros((8, 8, 1))))
    state = ensemble.jit_once(init)(keys)
    order = jnp.arange(40).reshape(2, 1, 20) % 22

    def run(strategy, *stacked):
        axes = (0, 0, 0, None, None)
        lifted = jax.jit(ensemble.lift(one_step, strategy, axes))
        new, sums = lifted(*stacked, images, labels)
        return {"new": new, "loss": sums.loss / 20}

    loop = run("loop", state, keys, order)
    vmap = run("vmap", state, keys, order)
    jax.tree.map(lambda x, y: assert_close(x + 0.0, y), vmap, loop)
    alone = run("loop", *jax.tree.map(lambda x: x[1:], (state, keys, order)))
    jax.tree.map(lambda x, y: assert_close(x + 0.0, y[1:]), alone, loop)
    assert abs(loop["loss"][0] - loop["loss"][1]) > 1e-3  # the seeds do differ


def test_the_base_seed_changes_every_seed():
    keys = [
        jax.random.key_data(
            ensemble.seed_keys(dataclasses.replace(TINY, base_seed=base), [0, 1, 2])
        )
        for base in (0, 1)
    ]
    assert len(np.unique(np.concatenate(keys), axis=0)) == 6


def test_an_epoch_shuffles_anew_and_shows_no_image_twice():
    """Watched through a step that writes down the order it is given."""
    dataset, seen = fake(), []

    def watch(state, keys, order, images, labels):
        seen.append(np.asarray(order))
        return state, step.Sums(jnp.zeros(2), jnp.zeros(2))

    indices = np.arange(0, 22, 2)
    run = epochs.make_train_epoch(watch, dataset, indices, 5, scan=False)
    keys = ensemble.seed_keys(TINY, [0, 1])
    for number in (0, 1, 0):
        run(None, keys, number)
    assert len(seen) == 6  # two steps of five images, one image left out
    for order in seen:
        assert order.shape == (2, 2, 5)
        for seed in order:
            assert len(np.unique(seed)) == 10
            assert set(seed.ravel()) <= set(indices)
    first, second, again = seen[0], seen[2], seen[4]
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize("flip", some([True, False], every=2))
def test_an_epoch_is_what_the_config_says(flip):
    """Against a plain loop: images, augmentation, loss, Adam, decay and halving."""
    config = dataclasses.replace(
        TINY, flip=flip, shift=2, batch_size=6, halve_every=1, weight_decay=0.1
    )
    dataset = fake()
    rest, _ = data.split(dataset.train_labels, config.validation_fraction)
    functions = ensemble.make_functions(config, dataset)
    keys = ensemble.seed_keys(config, [3])
    state = functions.init(keys)
    model = architectures.make_model(config, 2)
    one = jax.tree.map(lambda leaf: np.asarray(leaf[0]), state.variables["params"])
    zeros = jax.tree.map(np.zeros_like, one)
    first, second, count = zeros, zeros, 0
    fill = np.round(dataset.mean * 255)

    def loss(params, x, y):
        logits = cast(jax.Array, model.apply({"params": params}, x))
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])

    for epoch in range(3):
        order_key, key = jax.random.split(jax.random.fold_in(keys[0], epoch))
        order = jax.random.permutation(order_key, rest)
        for start in range(0, len(rest) - 5, 6):
            batch = np.asarray(order[start : start + 6])
            x = augment(
                jax.random.split(jax.random.fold_in(key, count), 3)[0],
                jnp.asarray(dataset.train_images[batch]),
                flip=flip, shift=2, fill=fill,
            )  # fmt: skip
            x = (np.asarray(x) / 255 - dataset.mean) / dataset.std
            gradient = jax.grad(loss)(one, x, dataset.train_labels[batch])
            decayed = {
                name: {**layer, "kernel": layer["kernel"] + 0.1 * one[name]["kernel"]}
                for name, layer in gradient.items()
            }
            count += 1
            first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, decayed)
            second = jax.tree.map(
                lambda v, g: 0.999 * v + 1e-3 * g * g, second, decayed
            )
            rate = 0.01 * 0.5**epoch
            one = jax.tree.map(
                lambda p, m, v, rate=rate, t=count: p
                - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8),
                one, first, second,
            )  # fmt: skip
        state, _ = functions.train_epoch(state, keys, epoch)
    trained = jax.tree.map(lambda leaf: leaf[0], state.variables["params"])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), trained, one)


def test_validation_uses_the_held_out_images_and_all_of_them(monkeypatch):
    """Against one plain pass, with a batch that does not divide their number."""
    monkeypatch.setattr(epochs, "EVALUATION_BATCH", 4)
    dataset, config = fake(), dataclasses.replace(TINY, validation_fraction=0.25)
    functions = ensemble.make_functions(config, dataset)
    variables = functions.init(ensemble.seed_keys(config, [0])).variables
    _, held_out = data.split(dataset.train_labels, 0.25)
    model = architectures.make_model(config, 2)
    one = jax.tree.map(lambda leaf: leaf[0], variables)
    for images, labels, found in (
        (
            dataset.train_images[held_out],
            dataset.train_labels[held_out],
            functions.validate(variables),
        ),
        (dataset.test_images, dataset.test_labels, functions.test(variables)),
    ):
        assert len(labels) % 4
        x = data.normalise(dataset, images)
        logits = cast(jax.Array, model.apply(one, x, train=False))
        log_p = np.asarray(jax.nn.log_softmax(logits))
        loss = -log_p[np.arange(len(labels)), labels].mean()
        accuracy = (log_p.argmax(-1) == labels).mean()
        np.testing.assert_allclose(found, [[loss, accuracy]], rtol=1e-5)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match=r"20 training images.*batch of 64"):
        ensemble.make_functions(dataclasses.replace(TINY, batch_size=64), fake())
