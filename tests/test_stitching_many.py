"""Many stitches at one cut, and cuts at different layers."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import thinned
from digit_networks import NET, WIDTHS, digits, networks

from symjax_lib import stitching, tracing
from symjax_lib.stitching import Search, batches, halves

ADAM, SGD, WILD = optax.adam(2e-2), optax.sgd(1e-2), optax.sgd(1e30)
KEY = jax.random.key(0)


def some(n=256):
    images, labels = digits()
    return images[:n], labels[:n]


def at_one(data: Any) -> Any:
    """What a fit needs to know: the networks, a layer and images with labels."""
    return *networks(), "one", *data


def close(one, two, tolerance=1e-3):
    one, two = (jax.tree.leaves(x) for x in (one, two))
    return all(
        np.allclose(a, b, rtol=tolerance, atol=tolerance)
        for a, b in zip(one, two, strict=True)
    )


@functools.cache
def together():
    """A search of each kind, and one that diverges."""
    searches = {
        "full": Search(stitching.full(8), ADAM),
        "rank 2": Search(stitching.low_rank(8, 2), ADAM),
        "wild": Search(stitching.full(8), WILD),
        "G_ReLU": Search(stitching.g_relu(8), SGD),
    }
    fitted = stitching.fit_all(KEY, searches, *at_one(some()), epochs=2)
    return searches, fitted


@pytest.mark.parametrize("name", thinned.some(["G_ReLU", "full", "rank 2"], every=3))
def test_searches_do_not_notice_each_other(name):
    searches, fitted = together()
    search = searches[name]
    alone = stitching.fit(
        KEY, search.stitch, *at_one(some()),
        epochs=2, optimizer=search.optimizer,
    )  # fmt: skip
    assert close(alone.params, fitted[name].params)
    assert close(alone.losses, fitted[name].losses)
    moved = ("batch_stats", "bn2", "mean")
    at = lambda f: functools.reduce(lambda tree, key: tree[key], moved, f.variables)
    assert close(at(alone), at(fitted[name]))
    before = functools.reduce(lambda tree, key: tree[key], moved, networks()[1][2])
    assert not close(at(alone), before)
    wrong = fitted["rank 2" if name == "full" else "full"]
    assert not close(alone.losses, wrong.losses)


def test_a_search_that_diverges_is_marked():
    _, fitted = together()
    finite = {name: np.isfinite(each.losses).all() for name, each in fitted.items()}
    assert finite == {"full": True, "rank 2": True, "wild": False, "G_ReLU": True}


def test_the_path_ends_at_the_relaxed_parameters():
    _, fitted = together()
    for each in fitted.values():
        path, relaxed = each.path, each.relaxed
        assert {len(leaf) for leaf in jax.tree.leaves(path)} == {2}
        last = jax.tree.map(lambda leaf: leaf[-1], path)
        jax.tree.map(np.testing.assert_array_equal, last, relaxed)
    path: Any = fitted["full"].path
    first = path["matrix"][0]
    assert not close(first, fitted["full"].relaxed["matrix"])


def test_accuracies_of_many_are_those_of_each():
    searches, fitted = together()
    pairs = {name: (searches[name].stitch, each) for name, each in fitted.items()}
    test = at_one(x[1024:] for x in digits())
    found = stitching.accuracies(pairs, *test)
    for name, (stitch, each) in pairs.items():
        assert found[name] == pytest.approx(
            stitching.accuracy(stitch, each, *test), abs=0.002
        )
    assert found["full"] > found["wild"] + 0.2


def test_rounding_is_what_the_two_matrices_cost():
    front, back = networks()
    searches, fitted = together()
    search, each = searches["G_ReLU"], fitted["G_ReLU"]
    args = front, back, "one", *some()
    found = stitching.rounding(KEY, search.stitch, each, *args)
    distance = np.linalg.norm(each.relaxed["matrix"] - each.params["matrix"])
    assert found.distance == pytest.approx(distance, rel=1e-5)
    assert found.distance > 0.1
    assert found.loss_after > found.loss_before
    at_corner = each._replace(relaxed=each.params)
    same = stitching.rounding(KEY, search.stitch, at_corner, *args)
    assert same.distance == 0
    assert same.loss_before == pytest.approx(same.loss_after)
    assert same.loss_after == pytest.approx(found.loss_after, rel=1e-4)


@pytest.mark.parametrize(("head_start", "moves"), [(0, True), (2, False)])
def test_scales_stay_in_a_head_start(head_start, moves):
    fitted = stitching.fit(
        KEY, stitching.g_relu(8), *at_one(some(64)),
        epochs=2, optimizer=SGD, head_start=head_start,
    )  # fmt: skip
    assert bool((fitted.params["scale"] != 1).any()) == moves


def test_cuts_at_different_layers_and_widths():
    """The front's maps are of another width and, with a stride, another size."""
    front, back = networks()
    images, labels = digits()
    cut = ("out", "one")
    fitted = stitching.fit(
        KEY, stitching.full(WIDTHS["out"], WIDTHS["one"]), front, back, cut,
        images[:512], labels[:512], epochs=6, optimizer=ADAM,
    )  # fmt: skip
    accuracy = stitching.accuracy(
        stitching.full(8), fitted, front, back, cut, images[1024:], labels[1024:]
    )
    assert accuracy > 0.8
    with pytest.raises(ValueError, match="'out' to 'one' has 8 channels in front"):
        stitching.fit(KEY, stitching.full(8, 6), front, back, cut, *some())


def test_values_are_resized_to_those_of_the_back():
    small = lambda v, x: tracing.tap(v * x[:, ::4, ::4], "one").sum()
    front = stitching.Network(small, lambda v, x: (small(v, x), v), 2.0)
    images = some(4)[0]
    value, _ = halves.make_front(front, networks()[1], ("one", "one"))(images)
    expected = jax.image.resize(2 * images[:, ::4, ::4], (4, 4, 4, 1), "linear")
    np.testing.assert_allclose(value, expected, atol=1e-6)


def test_a_start_stays_without_epochs():
    front, back = networks()
    x, y = (
        tracing.split(n.predict, "one")[0](n.variables, some()[0])[0]
        for n in (front, back)
    )
    start = stitching.least_squares(x, y)
    fitted = stitching.fit(
        KEY, stitching.full(8), front, back, "one", *some(), epochs=0, start=start
    )
    assert fitted.params is start
    assert fitted.losses.shape == (0,)
    images, labels = (a[1024:] for a in digits())
    args = front, back, "one", images, labels
    random = stitching.fit(
        KEY, stitching.full(8), front, back, "one", *some(), epochs=0
    )
    stitch = stitching.full(8)
    assert stitching.accuracy(stitch, fitted, *args) > 0.15 + stitching.accuracy(
        stitch, random, *args
    )


def test_evaluation_mode_leaves_statistics_alone():
    front, back = networks()
    never = back._replace(predict=back.predict)
    fitted = stitching.fit(
        KEY, stitching.full(8), front, never, "one", *some(),
        epochs=2, optimizer=ADAM, training=False,
    )  # fmt: skip
    assert fitted.variables is back.variables
    assert fitted.losses[1] < fitted.losses[0]


def test_augmented_images_reach_both_halves():
    """Pixels that an augmentation blots out can have no influence."""
    front, back = networks()
    images, labels = some(64)
    blot = lambda key, x: x.at[:, :4].set(0.0)
    fit = functools.partial(
        stitching.fit, KEY, stitching.full(8), front, back, "one",
        epochs=1, augment=blot,
    )  # fmt: skip
    one = fit(images, labels)
    two = fit(images.at[:, :4].add(7.0), labels)
    np.testing.assert_array_equal(one.losses, two.losses)
    plain = stitching.fit(
        KEY, stitching.full(8), front, back, "one", images, labels, epochs=1
    )
    assert not close(one.losses, plain.losses)


def test_features_that_do_not_fit_are_computed_at_each_batch(monkeypatch):
    front, back = networks()
    fit = functools.partial(
        stitching.fit, KEY, stitching.full(8), front, back, "one", *some(64), epochs=1
    )
    kept = fit()
    monkeypatch.setattr(batches, "_MEMORY", 0)
    assert close(fit().params, kept.params, 1e-5)


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
def test_the_refresh_lasts_until_one_percent_is_left(momentum, monkeypatch):
    network = stitching.from_linen(
        NET.clone(momentum=momentum), networks()[0].variables
    )
    passes = []
    shuffled = batches.shuffled
    monkeypatch.setattr(
        batches, "shuffled", lambda *args: passes.append(args) or shuffled(*args)
    )
    stitching.refresh(
        KEY, stitching.full(8), {"matrix": jnp.eye(8)}, network, network, "one",
        some(128)[0],
    )  # fmt: skip
    steps = 4 * len(passes)  # batches of 32 images
    assert momentum**steps <= 0.01 < momentum ** (steps - 4)
