"""Dissection against brute force, laws of units, and planted detectors."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import numpy_dissection
import pytest

from symjax_lib import dissection, groups
from symjax_lib.dissection import overlap, thresholds

FRACTION = 0.05
CHANNELS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Drawn images, of which some have no labels of a category, and one has none."""
    folder = tmp_path_factory.mktemp("drawn") / "data"
    dissection.draw(folder, images=11)
    rows = list(csv.DictReader((folder / "index.csv").read_text().splitlines()))
    for i, category in ((0, "color"), (1, "object"), (2, "texture"), (5, "texture")):
        rows[i][category] = ""
    rows[7] |= dict.fromkeys(("color", "object", "texture"), "")
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return dissection.read(folder)


@jax.jit
def features(images):
    """Maps of two layers, one smaller than the labels and one of their size.

    With noise, as rounding decides about places whose values are the threshold.
    """
    x = jnp.asarray(images, jnp.float32) / 255
    noise = jax.random.normal(jax.random.key(4), x.shape[1:])
    x += x.mean(axis=(1, 2, 3), keepdims=True) * noise
    kernel = jax.random.normal(jax.random.key(0), (4, 4, 3, CHANNELS))
    layout = ("NHWC", "HWIO", "NHWC")
    run = lambda x, k, s: jax.lax.conv_general_dilated(
        x, k, (s, s), "VALID", dimension_numbers=layout
    )
    large = jax.nn.relu(run(x, kernel[:1, :1], 2))
    return {"large": large, "small": jax.nn.relu(run(x, kernel, 5))}


@pytest.fixture(scope="module")
def bases():
    q = dissection.random_rotation(jax.random.key(1), CHANNELS)
    return dissection.rotation_power(q, jnp.array([0, 0.4, 1]))


@pytest.fixture(scope="module")
def maps(data):
    images = np.stack([data.read(i).image for i in range(data.length)])
    return {name: np.asarray(z) for name, z in features(images).items()}


def run(data, bases, **settings):
    settings = {"fraction": FRACTION, "batch_size": 4} | settings
    both = {"small": bases, "large": bases}
    return dissection.dissect(features, data, both, **settings)


@pytest.fixture(scope="module")
def tallies(data, bases):
    return run(data, bases, exact=True)


@pytest.mark.parametrize("layer", ["small", "large"])
def test_counts_are_those_of_brute_force(data, bases, maps, tallies, layer):
    tally = tallies[layer]
    detectors = dissection.detectors(tally, data)
    for r, basis in enumerate(np.asarray(bases)):
        expected, *_ = numpy_dissection.dissect(maps[layer], data, basis, FRACTION)
        np.testing.assert_allclose(tally.thresholds[r], expected, rtol=2e-6, atol=1e-6)
        # The activation that is the threshold is not above it, however it is rounded.
        just_above = tally.thresholds[r] + 1e-6 * abs(tally.thresholds[r])
        _, both, area, labels = numpy_dissection.dissect(
            maps[layer], data, basis, FRACTION, just_above
        )
        np.testing.assert_array_equal(tally.both[r], both)
        np.testing.assert_array_equal(tally.area[r], area)
        np.testing.assert_array_equal(tally.labels, labels)
        scores = numpy_dissection.iou(both, area, labels, data)
        np.testing.assert_allclose(dissection.iou(tally, data)[r], scores)
        np.testing.assert_array_equal(detectors.concept[r], scores.argmax(axis=1))
        good = scores.max(axis=1) > dissection.MINIMUM
        assert detectors.interpretable[r].sum() == good.sum()
        assert detectors.unique[r].sum() == len({*scores.argmax(axis=1)[good]})
    assert (tally.above <= int(FRACTION * tally.activations)).all()
    # Images without labels of a category do not count for it.
    assert (tally.area[..., 0] != tally.area[..., 2]).any()


def test_batches_do_not_matter(data, bases, tallies):
    other = run(data, bases, exact=True, batch_size=3)
    for name, tally in other.items():
        jax.tree.map(np.testing.assert_array_equal, tally, tallies[name])


def test_few_passes_are_near_and_say_how_near(data, bases, maps):
    tally = run(data, bases, passes=2)["small"]
    units = np.einsum("rdc,nhwc->rdnhw", bases, maps["small"]).reshape(3, CHANNELS, -1)
    above = (units > tally.thresholds[..., None]).sum(axis=-1)
    assert abs(above - tally.above).max() <= 1  # they are rounded in another way
    allowed = int(FRACTION * tally.activations)
    assert (tally.above <= allowed).all()
    assert tally.above.mean() > 0.9 * allowed


@pytest.mark.parametrize("scales", ["powers of two", "any"])
def test_units_permuted_and_scaled_are_the_same_units(data, tallies, scales):
    """By powers of two to the count; others are rounded, which may move a pixel."""
    key = jax.random.key(2)
    permutation = groups.sample(key, "permutation", CHANNELS)
    exponents, pixels = jax.random.randint(key, (CHANNELS,), -3, 4), 0
    if scales == "any":
        exponents, pixels = jax.random.uniform(key, (CHANNELS,), minval=-3, maxval=3), 1
    g = groups.Monomial(permutation, 2.0**exponents)
    matrix = groups.as_matrix(g)[None]
    # Row i of the matrix has its entry where unit i comes from.
    origin = np.asarray(matrix[0] != 0).argmax(axis=1)
    for layer, found in run(data, matrix, exact=True).items():
        plain = tallies[layer]  # its first basis is the units themselves
        for ours, theirs in (
            (found.both, plain.both),
            (found.area, plain.area),
            (found.above, plain.above),
        ):
            np.testing.assert_allclose(ours[0], theirs[0, origin], rtol=0, atol=pixels)
        moved = dissection.iou(found, data)[0]
        rotated = dissection.iou(plain, data)[2]
        assert abs(moved - rotated).max() > 0.01  # a rotation is another matter


def test_a_plateau_at_the_threshold_is_not_above_it():
    """Interpolation rounds what is constant, and most of a drawn image is."""
    thresholds = jnp.linspace(0.1, 3, 64)
    units = jnp.broadcast_to(thresholds[:, None, None], (64, 13, 13))
    units = units.at[:, 0, 0].multiply(2)
    everywhere = jnp.ones((1, 32, 32), bool)
    both, area = overlap.overlaps(units, thresholds, everywhere)
    for u in range(64):
        large = numpy_dissection.enlarge(np.asarray(units[u], float), (32, 32))
        expected = (large > float(thresholds[u]) * (1 + 1e-6)).sum()
        assert both[u, 0] == area[u] == expected


def colours(images):
    """Units that are 1 where their colour is and 0 elsewhere."""
    pure = jnp.array([[*c] for c in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0))])
    same = jnp.asarray(images)[..., None, :] == 255 * pure
    return {"colours": same.all(axis=-1)[:, ::2, ::2].astype(jnp.float32)}


def test_planted_detectors_are_found_and_lost_as_theory_says(data):
    """Units of disjoint colours turn into sums of them, and a mask is the largest ones.

    A rotated unit has the value Q_jk where colour k is. If all colours together are
    rarer than `fraction` and than the rest, it is above its threshold, 0, where Q_jk is
    positive: its score for k is the area of k over that of all colours of that kind.
    """
    powers = np.array([0, 0.1, 0.5, 1])
    q = dissection.random_rotation(jax.random.key(3), 4)
    bases = dissection.rotation_power(q, powers)
    found = dissection.dissect(
        jax.jit(colours), data, {"colours": bases}, fraction=0.5, exact=True
    )
    tally = found["colours"]
    areas = tally.labels[:4]
    scores = dissection.iou(tally, data)
    for r, basis in enumerate(np.asarray(bases)):
        positive = basis > 0
        expected = np.where(
            positive,
            areas / np.maximum(positive @ areas, 1)[:, None],
            0,
        )
        np.testing.assert_allclose(scores[r, :, :4], expected)
    detectors = dissection.detectors(tally, data, minimum=0.999)
    assert detectors.interpretable[0].tolist() == [4, 0, 0]
    assert detectors.concept[0].tolist() == [0, 1, 2, 3]
    alone = (np.asarray(bases) > 0).sum(axis=-1) == 1
    assert detectors.interpretable.sum(axis=1).tolist() == alone.sum(axis=1).tolist()
    assert detectors.interpretable[-1].sum() < 4


def test_a_run_that_was_stopped_goes_on(data, bases, tallies):
    kept = []

    def stop(state):
        kept.append(state)
        if len(kept) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data, bases, exact=True, keep=stop)
    passes = []
    again = run(data, bases, exact=True, state=kept[-1], progress=passes.append)
    assert not any("extremes" in what for what in passes)
    for name, tally in again.items():
        jax.tree.map(np.testing.assert_array_equal, tally, tallies[name])


def test_order_of_floating_point_numbers():
    tiny = np.finfo(np.float32).tiny
    some = np.array([-3e38, -2, -tiny, 0, tiny, 1e-30, 1, 3e38], np.float32)
    rank = thresholds._rank(some)
    assert (np.diff(rank) > 0).all()
    assert rank[2:5].tolist() == [-1, 0, 1]
    assert thresholds._rank(np.array([-tiny / 2, tiny / 2])).tolist() == [0, 0]
    np.testing.assert_array_equal(thresholds._unrank(rank), some)
    after = np.nextafter(some[4:-1], np.float32(np.inf))
    assert (thresholds._rank(after) - rank[4:-1] == 1).all()


def test_a_unit_that_is_always_off_is_nowhere(data):
    off = lambda images: {"off": jnp.zeros((len(images), 4, 4, 2))}
    basis = jnp.eye(2)[None]
    tally = dissection.dissect(
        jax.jit(off), data, {"off": basis}, fraction=0.1, exact=True
    )["off"]
    assert tally.thresholds.max() <= 0
    assert tally.both.sum() == tally.area.sum() == tally.above.sum() == 0
    assert dissection.detectors(tally, data).interpretable.sum() == 0


def test_errors(data, bases):
    with pytest.raises(ValueError, match="no layer 'x'; there are .'large', 'small'"):
        dissection.dissect(features, data, {"x": bases})
    with pytest.raises(ValueError, match="maps must be .B, h, w, C. and bases"):
        dissection.dissect(features, data, {"small": bases[0]})
    with pytest.raises(ValueError, match="fraction must be between 0 and 1"):
        run(data, bases, fraction=1.0)
    with pytest.raises(ValueError, match="there are 11 images and 0 layers"):
        dissection.dissect(features, data, {})
    with pytest.raises(ValueError, match="batch_size is 0 and passes 3; both must be"):
        run(data, bases, batch_size=0)
    with pytest.raises(ValueError, match="have 1859 activations in all, and none can"):
        run(data, bases, fraction=5e-4)
    other = data.read(0)._replace(image=np.zeros((48, 48, 3), np.uint8))
    mixed = data._replace(read=lambda i: other if i == 2 else data.read(i))
    for size in (1, 4):
        with pytest.raises(ValueError, match=r"image 2 and its masks have the sizes"):
            run(mixed, bases, batch_size=size)
    broken = lambda images: {"small": features(images)["small"] * jnp.nan}
    with pytest.raises(ValueError, match="small has values that are not finite"):
        dissection.dissect(jax.jit(broken), data, {"small": bases})
