import functools

import digit_networks
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from digit_networks import NET, WIDTHS, Net

from symjax_lib import groups, stitching, symmetry, tracing
from symjax_lib.tracing import tap


@pytest.fixture(scope="module")
def digits():
    return digit_networks.digits()


@pytest.fixture(scope="module")
def networks():
    return digit_networks.networks()


def clean_accuracy(network, images, labels):
    right = network.predict(network.variables, images).argmax(-1) == labels
    return int(right.sum()) / len(labels)


def as_fitted(back, matrix):
    params = {"matrix": matrix}
    return stitching.Fitted(params, back.variables, np.zeros(0), params)


def planted(network, images, seed=0):
    """The same function in other weights, and the element that relates the two."""
    spec = symmetry.trace(network.predict, network.variables, images[:1])
    g = symmetry.sample(jax.random.key(seed), spec)
    moved = symmetry.act(spec, g, network.variables)
    return network._replace(variables=moved), lambda name: symmetry.element_at(
        spec, g, name
    )


@pytest.mark.parametrize("layer", ["one", "inside"])
def test_planted_element_is_an_exact_stitch(digits, networks, layer):
    """From f to A f, phi(A_l) is exact (E.5); outside its layer it is not."""
    images, labels = digits
    front = networks[0]
    back, element = planted(front, images)
    matrix = groups.as_matrix(element(layer))
    stitch = stitching.full(WIDTHS[layer])
    fitted = as_fitted(back, matrix)
    measure = functools.partial(
        stitching.accuracy, stitch, front=front, back=back, layer=layer
    )
    exact = measure(fitted, images=images, labels=labels)
    clean = clean_accuracy(front, images, labels)
    if layer == "inside":
        # The skip connection comes from the front too, in the front's coordinates.
        assert exact < clean - 0.05
        return
    assert exact == clean
    assert stitching.penalty(clean, clean_accuracy(back, images, labels), exact) == 0.0
    value, rest = tracing.split(front.predict, layer)[0](front.variables, images[:9])
    out = tracing.split(back.predict, layer)[1](
        value @ matrix.T, rest, back.variables, images[:9]
    )
    logits = front.predict(front.variables, images[:9])
    np.testing.assert_allclose(out, logits, rtol=1e-3, atol=1e-3)
    wrong = fitted._replace(params={"matrix": jnp.eye(WIDTHS[layer])})
    assert measure(wrong, images=images, labels=labels) < clean - 0.2


def test_identity_inside_a_block_is_exact(digits, networks):
    images, labels = digits
    fitted = as_fitted(networks[0], jnp.eye(6))
    both = (networks[0], networks[0])
    stitched = stitching.accuracy(
        stitching.full(6), fitted, *both, "inside", images, labels
    )
    assert stitched == clean_accuracy(networks[0], images, labels)


ADAM = optax.adam(2e-2)
SGD = optax.sgd(1e-2)


@pytest.mark.parametrize("seed", [0, 1])
def test_g_relu_finds_a_planted_permutation(digits, networks, seed):
    """Neither the start nor the features tell the answer; only the loss does.

    The scales come out as they suit the doubly stochastic matrix before its rounding,
    so the stitched network is not as good as the one with the planted element.
    """
    images, labels = digits
    front = networks[0]
    back, element = planted(front, images, seed=3)
    stitch = stitching.g_relu(8)
    fitted = stitching.fit(
        jax.random.key(seed), stitch, front, back, "one", images[:1024], labels[:1024],
        epochs=20, optimizer=SGD,
    )  # fmt: skip
    truth = groups.as_matrix(element("one")) > 0
    np.testing.assert_array_equal(fitted.params["matrix"], truth)
    stitched = stitching.accuracy(
        stitch, fitted, front, back, "one", images[1024:], labels[1024:]
    )
    clean = clean_accuracy(front, images[1024:], labels[1024:])
    assert clean - stitched < 0.2


@pytest.mark.parametrize("make", [stitching.full, stitching.g_relu])
@pytest.mark.parametrize("layer", ["one", "inside"])
def test_fitting_two_trained_networks(digits, networks, make, layer):
    images, labels = digits
    front, back = networks
    stitch = make(WIDTHS[layer])
    fit = functools.partial(
        stitching.fit, jax.random.key(0), stitch, front, back, layer,
        images[:512], labels[:512], epochs=3, optimizer=ADAM,
    )  # fmt: skip
    fitted = fit()
    again = fit()
    assert jax.tree.all(jax.tree.map(np.array_equal, fitted, again))
    assert fitted.losses.shape == (3,)
    assert fitted.losses[-1] < fitted.losses[0]
    test = (images[1024:], labels[1024:])
    start = fitted._replace(
        params=stitch.finalize(stitch.init(jax.random.key(9))), variables=back.variables
    )
    untrained = stitching.accuracy(stitch, start, front, back, layer, *test)
    trained = stitching.accuracy(stitch, fitted, front, back, layer, *test)
    # Inside a block G_ReLU can do little (E.56); the standard error is 0.014.
    margin = 0.05 if (make, layer) == (stitching.g_relu, "inside") else 0.1
    assert trained > untrained + margin
    # Of the back only the statistics after the cut have moved.
    moved = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, same in jax.tree_util.tree_leaves_with_path(
            jax.tree.map(np.array_equal, fitted.variables, back.variables)
        )
        if not same
    ]
    expected = {"one": ["batch_stats/bn2/mean", "batch_stats/bn2/var"], "inside": []}
    assert moved == expected[layer]


def test_refresh_matters_and_is_of_the_training_data(digits, networks):
    """After rounding, statistics that belong to other features cost accuracy."""
    images, labels = digits
    front, back = networks
    stitch = stitching.g_relu(8)
    fitted = stitching.fit(
        jax.random.key(2), stitch, front, back, "one", images[:1024], labels[:1024],
        epochs=4, optimizer=ADAM,
    )  # fmt: skip
    value, _ = tracing.split(front.predict, "one")[0](front.variables, images[:1024])
    stitched = stitch.apply(fitted.params, value)
    conv = back.variables["params"]["conv2"]
    y = nn.Conv(6, (3, 3)).apply({"params": conv}, stitched)
    mean = fitted.variables["batch_stats"]["bn2"]["mean"]
    close = np.abs(mean - y.mean((0, 1, 2))) / y.std((0, 1, 2))  # pyright: ignore
    stale = back.variables["batch_stats"]["bn2"]["mean"]
    far = np.abs(stale - y.mean((0, 1, 2))) / y.std((0, 1, 2))  # pyright: ignore
    assert float(close.max()) < 0.1 < float(far.max())


def test_g_relu_stays_in_its_class():
    stitch = stitching.g_relu(5)
    params = stitch.init(jax.random.key(0))
    matrix = np.asarray(params["matrix"])
    np.testing.assert_allclose(matrix.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-4)
    np.testing.assert_array_equal(params["scale"], np.ones(5))
    noise = jax.random.normal(jax.random.key(1), (5, 5))
    pushed = stitch.project({"matrix": noise + matrix, "scale": noise[0]})
    assert float(pushed["scale"].min()) >= 0
    assert float(pushed["matrix"].min()) >= 0
    final = stitch.finalize(pushed)
    rounded = np.asarray(final["matrix"])
    assert sorted(rounded.argmax(1)) == list(range(5))
    assert set(rounded.ravel()) == {0.0, 1.0}
    x = jax.random.normal(jax.random.key(2), (2, 3, 3, 5))
    g = groups.Monomial(
        groups.Permutation(jnp.asarray(rounded.argmax(1))), final["scale"]
    )
    np.testing.assert_allclose(stitch.apply(final, x), groups.act(g, x), atol=1e-6)
    # The penalty is alpha ||P||_F, largest at permutations, and the decay of D.
    corner = stitch.penalty({"matrix": jnp.eye(5), "scale": 2 * jnp.ones(5)})
    assert float(corner) == pytest.approx(-0.1 * 5**0.5 + 1e-4 / 2 * 20)


def test_projection_is_the_papers():
    """Sixteen rounds of rows, then columns, by a loop of our own."""
    noise = jax.random.normal(jax.random.key(1), (6, 6))
    expected = np.maximum(np.asarray(noise), 0).astype(np.float64)
    for _ in range(16):
        for axis in (1, 0):
            total = expected.sum(axis, keepdims=True)
            expected = expected / np.where(total > 0, total, 1)
    pushed = stitching.g_relu(6).project({"matrix": noise, "scale": noise[0]})
    np.testing.assert_allclose(pushed["matrix"], expected, atol=1e-6)


def test_the_penalty_is_part_of_what_is_minimised(digits, networks):
    images, labels = digits
    front, back = networks
    weak, strong = (
        stitching.fit(
            jax.random.key(0), stitching.g_relu(8, alpha=alpha), front, back, "one",
            images[:512], labels[:512], epochs=1, optimizer=SGD,
        ).losses[0]
        for alpha in (0.0, 10.0)
    )  # fmt: skip
    # The norm is 1 for the uniform matrix and 8 ** 0.5 for a permutation.
    assert weak - 10 * 8**0.5 < strong < weak - 10


def test_modes_of_the_networks(digits, networks):
    """The front runs in evaluation mode, the back in training mode."""
    images, labels = digits

    def never(*_):
        raise AssertionError("called in the wrong mode")

    front = networks[0]._replace(update=never)
    back = networks[1]._replace(predict=never)
    fitted = stitching.fit(
        jax.random.key(0), stitching.full(8), front, back, "one",
        images[:64], labels[:64], epochs=1,
    )  # fmt: skip
    assert np.isfinite(fitted.losses).all()


def test_defaults_are_the_authors(digits, networks):
    images, labels = digits
    front, back = networks
    fit = functools.partial(
        stitching.fit, jax.random.key(0), stitching.g_relu(8), front, back, "one",
        images[:64], labels[:64],
    )  # fmt: skip
    explicit = fit(epochs=20, batch_size=32, optimizer=optax.sgd(1e-3), head_start=10)
    assert jax.tree.all(jax.tree.map(np.array_equal, fit(), explicit))
    other = fit(epochs=20, batch_size=32, optimizer=optax.sgd(2e-3), head_start=10)
    assert not jax.tree.all(jax.tree.map(np.array_equal, fit(), other))


def test_refresh_is_what_fit_does_in_the_end(digits, networks):
    images, labels = digits
    stitch, (front, back) = stitching.full(8), networks
    fitted = stitching.fit(
        jax.random.key(3), stitch, front, back, "one", images[:512], labels[:512],
        epochs=2,
    )  # fmt: skip
    again = stitching.refresh(
        jax.random.key(4), stitch, fitted.params, front, back, "one", images[:512]
    )
    for name in ("mean", "var"):
        one, two = (v["batch_stats"]["bn2"][name] for v in (fitted.variables, again))
        np.testing.assert_allclose(one, two, rtol=0.3, atol=0.1)
    assert fitted.relaxed is fitted.params


def test_refresh_forgets_even_slow_averages(digits, networks):
    """With flax's default momentum of 0.99, as a model of a user has."""
    images, labels = digits

    slow = [stitching.from_linen(Net(momentum=0.99), n.variables) for n in networks]
    assert slow[0].update is not networks[0].update
    stitch, params = stitching.full(8), {"matrix": 3 * jnp.eye(8)}
    key = jax.random.key(0)
    run = lambda front, back: stitching.refresh(
        key, stitch, params, front, back, "one", images[:512]
    )["batch_stats"]["bn2"]["mean"]
    fast = run(*networks)
    stale = networks[1].variables["batch_stats"]["bn2"]["mean"]
    assert float(jnp.abs(fast - stale).max()) > 0.3
    np.testing.assert_allclose(run(*slow), fast, atol=0.1)


def test_networks_of_other_libraries(digits):
    """Two plain functions, and a model that does not take `train`."""
    images, labels = digits
    flat = images.reshape(len(images), -1)
    mlp = lambda v, x: tap(jax.nn.relu(x @ v["in"]), "one") @ v["out"]
    keys = jax.random.split(jax.random.key(0), 2)
    v = {"in": 0.1 * jax.random.normal(keys[0], (64, 8)), "out": jnp.ones((8, 10))}
    network = stitching.Network(mlp, lambda v, x: (mlp(v, x), v), v)
    fitted = stitching.fit(
        keys[1], stitching.full(8), network, network, "one", flat[:64], labels[:64],
        epochs=1,
    )  # fmt: skip
    assert np.isfinite(fitted.losses).all()
    with pytest.raises(TypeError, match=r"Dense.__call__ must take train=False"):
        stitching.from_linen(nn.Dense(3), {})


def test_constructors_return_one_object():
    assert stitching.full(4) is stitching.full(4)
    assert stitching.g_relu(4) is stitching.g_relu(4)
    assert (
        stitching.from_linen(Net(), {}).predict is stitching.from_linen(NET, {}).predict
    )


def test_errors(digits, networks):
    images, labels = digits
    fit = functools.partial(
        stitching.fit, jax.random.key(0), stitching.full(8), *networks
    )
    with pytest.raises(ValueError, match="20 images do not fill a batch of 32"):
        fit("one", images[:20], labels[:20])
    with pytest.raises(ValueError, match="40 images but 39 labels"):
        fit("one", images[:40], labels[:39])
    with pytest.raises(ValueError, match="layer 'inside' has 6 channels in front"):
        fit("inside", images[:64], labels[:64])
    with pytest.raises(
        ValueError, match=r"must be \[N\] integers, got float32 of shape"
    ):
        fit("one", images[:64], jax.nn.one_hot(labels[:64], 10))
    with pytest.raises(ValueError, match="epochs must not be negative, got -1"):
        fit("one", images[:64], labels[:64], epochs=-1)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        fit("one", images[:64], labels[:64], batch_size=0)
    with pytest.raises(ValueError, match="at layer 'one' is not finite after epoch 1"):
        fit("one", images[:64] * jnp.nan, labels[:64], epochs=2)
    with pytest.raises(
        ValueError, match="no tap 'two'; this function names 'one', 'ins"
    ):
        fit("two", images[:64], labels[:64])
