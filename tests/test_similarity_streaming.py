"""Measures from batches against the same in memory, in float64, and their refusals."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy_measures
import pytest
from thinned import some

from symjax_lib import groups, similarity
from symjax_lib.similarity import streaming

SAMPLES = 37
SHAPES = {"early": (4, 4, 6), "late": (2, 2, 10), "narrow": (4, 4, 3)}


def networks(offset=0.0, dtype=np.float32):
    """Returns features of all samples in two networks, correlated, one channel dead."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(SAMPLES, 4, 4, 12))
    found = []
    for _ in range(2):
        features = {}
        for name, (height, _, width) in SHAPES.items():
            x = common @ rng.normal(size=(12, width)) + 0.3 * rng.normal(size=width)
            step = 4 // height
            x = np.maximum(x.reshape(SAMPLES, height, step, height, step, -1), 0)
            x = x.mean(axis=(2, 4)) * np.exp(rng.normal(size=width))
            features[name] = (x + offset).astype(dtype)
        features["early"][..., 2] = 0
        found.append(features)
    return found


def readers(features):
    return [lambda rows, f=f: {n: x[rows] for n, x in f.items()} for f in features]


def batches(*sizes):
    stops = np.cumsum([0, *sizes])
    return [np.arange(*stops[i : i + 2]) for i in range(len(sizes))]


RAGGED = batches(12, 12, 12, 1)


@pytest.mark.parametrize("offset", some([1e3, 0.0], every=2))
def test_every_measure_is_the_one_in_memory(offset):
    features = networks(offset)
    # One block has all samples, so that widths come from the same median.
    found = streaming.compare(
        readers(features), RAGGED, measures=streaming.MEASURES, tile=64
    )
    for name in streaming.MEASURES:
        for i, x in enumerate(features[0].values()):
            for j, y in enumerate(features[1].values()):
                expected = numpy_measures.similarity(name, x, y)
                # Entries of Gram matrices are float32, products of channels float64.
                tolerance = 1e-8 if "procrustes" in name else 1e-6
                actual = found.values[name][0][i, j]
                assert actual == pytest.approx(expected, abs=tolerance), (name, i, j)


GRAMS = [n for n in streaming.MEASURES if "cka" in n]


@pytest.mark.parametrize(
    ("tile", "memory", "spilled"), some([(13, 1e-5, True), (1, 1e-9, False)], every=2)
)
def test_tiles_and_strips_change_nothing(tile, memory, spilled, tmp_path):
    reading = readers(networks())
    whole = streaming.compare(reading, RAGGED, measures=GRAMS, sigma=2.0, tile=64)
    parts = streaming.compare(
        reading,
        RAGGED,
        measures=GRAMS,
        sigma=2.0,
        tile=tile,
        memory=memory,
        spill=tmp_path if spilled else None,
    )
    assert not any(tmp_path.iterdir())
    for name in GRAMS:
        np.testing.assert_allclose(
            parts.stacked(name), whole.stacked(name), rtol=0, atol=2e-7
        )


@pytest.mark.parametrize("debiased", [True, False])
def test_positions_as_samples(debiased):
    features = networks(offset=1e3)
    name = "linear_cka" if debiased else "linear_cka, biased"
    found = streaming.compare(
        readers(features), RAGGED, measures=[name], policy="positions"
    )
    for i, x in enumerate(features[0].values()):
        for j, y in enumerate(features[1].values()):
            flat = [
                z.repeat(max(x.shape[1], y.shape[1]) // z.shape[1], 1)
                .repeat(max(x.shape[2], y.shape[2]) // z.shape[2], 2)
                .reshape(-1, z.shape[-1])
                for z in (x, y)
            ]
            expected = numpy_measures.similarity(name, *flat)
            assert found.values[name][0][i, j] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("policy", some(["flatten", "average"], every=2))
def test_policies_act_before_the_measure(policy):
    features = networks()
    act = lambda x: np.asarray(similarity.POLICIES[policy](jnp.asarray(x)))
    before = [{n: act(x) for n, x in f.items()} for f in features]
    measures = ["g_relu_cka", "orthogonal_procrustes"]
    found = streaming.compare(
        readers(features), RAGGED, measures=measures, policy=policy
    )
    expected = streaming.compare(readers(before), RAGGED, measures=measures)
    for name in measures:
        np.testing.assert_array_equal(found.stacked(name), expected.stacked(name))
    assert found.settings["policy"] == policy


def test_float32_products_would_not_do():
    """The tolerance above can fail: products in float32 miss it by far."""
    x, y = (f["early"][..., :2] for f in networks(offset=1e3))
    exact = numpy_measures.similarity("g_relu_procrustes", x, y)
    x, y = (z.reshape(-1, 2) for z in (x, y))
    score = (x / np.linalg.norm(x, axis=0)).T @ (y / np.linalg.norm(y, axis=0))
    best = max(np.trace(score), np.trace(score[::-1]))
    assert abs(1 - np.sqrt(max(4 - 2 * best, 0)) / np.sqrt(8) - exact) > 1e-5


def test_equal_up_to_the_group_and_outside_of_it():
    (features, _) = networks()
    key = jax.random.key(1)
    moved = {
        n: groups.act(groups.sample(key, "positive_monomial", x.shape[-1]), x)
        for n, x in features.items()
    }
    rotated = {
        n: groups.act(groups.sample(key, "orthogonal", x.shape[-1]), x)
        for n, x in features.items()
    }
    found = streaming.compare(
        readers([features, moved, rotated]), RAGGED, pairs=[(0, 1), (0, 2)]
    )
    diagonal = {n: [np.diag(t) for t in tables] for n, tables in found.values.items()}
    for name in ("g_relu_procrustes", "g_relu_cka"):
        np.testing.assert_allclose(diagonal[name][0], 1, atol=1e-6)
        assert (diagonal[name][1] < 0.99).all()
    for name in ("orthogonal_procrustes", "linear_cka"):
        np.testing.assert_allclose(diagonal[name][1], 1, atol=1e-6)
        assert (diagonal[name][0] < 0.999).all()


def test_constant_dead_and_duplicate_features():
    constant, features = networks()[0], networks()[1]
    constant["late"][:] = 3.0
    features["narrow"][1:] = features["narrow"][:1]
    found = streaming.compare(
        readers([constant, features]), RAGGED, measures=GRAMS, sigma=10.0
    )
    late, narrow = list(SHAPES).index("late"), list(SHAPES).index("narrow")
    for name in GRAMS:
        table = found.values[name][0]
        assert np.isnan(table[late]).all(), name
        assert np.isnan(table[:, narrow]).all(), name
        assert np.isfinite(np.delete(np.delete(table, late, 0), narrow, 1)).all(), name
    assert found.dead_channels[0] == (1, 0, 0)


def test_a_comparison_is_equal_when_read_and_names_all_settings():
    features = networks()
    features[0]["late"][:] = 3.0
    found = streaming.compare(readers(features), RAGGED, tile=8)
    read = streaming.Comparison.from_json(found.to_json())
    assert read == found
    assert read.settings == found.settings
    assert hash(read) == hash(found)
    for text in ("policy: channels", "early", "g_relu_cka, network 0 by network 1"):
        assert text in str(found)
    found.values["linear_cka"][0][0, 0] += 1e-9
    assert read != found
    with pytest.raises(ValueError, match="no comparison"):
        streaming.Comparison.from_json("[1]")


def test_networks_are_read_through_their_taps():
    from symjax_lib import tracing

    model = lambda w, x: tracing.tap(jax.nn.relu(x @ w), "hidden").sum()
    x = jax.random.normal(jax.random.key(0), (20, 5))
    w = jax.random.normal(jax.random.key(1), (2, 5, 7))
    taps = [streaming.Taps(model, v, ("hidden",)) for v in w]
    found = streaming.compare(taps, [x[:12], x[12:]])
    expected = similarity.g_relu_cka(*(jax.nn.relu(x @ v) for v in w))
    value = found.values["g_relu_cka"][0].item()
    assert value == pytest.approx(float(expected), abs=1e-5)
    with pytest.raises(ValueError, match="no taps"):
        streaming.Taps(model, w[0], ("other",))(x)


def test_what_is_refused():
    reading = readers(networks())
    compare = streaming.compare
    refused: list[tuple[Any, str]] = [
        ({"measures": ["cka"]}, "measures must be"),
        ({"measures": "linear_cka"}, "measures must be"),
        ({"policy": "pool"}, "no policy"),
        ({"policy": "positions", "measures": ["g_relu_cka"]}, "another policy"),
        ({"tile": 0}, "tile must be positive"),
        ({"memory": -1}, "memory must be positive"),
        ({"sigma": 0.0}, "sigma must be positive"),
        ({"pairs": [(0, 2)]}, "from 0 to 1"),
        ({"pairs": []}, "numbers of the 2 networks"),
    ]
    for options, message in refused:
        with pytest.raises(ValueError, match=message):
            compare(reading, RAGGED, **options)
    with pytest.raises(ValueError, match="at least 4 samples"):
        compare(reading, batches(3))
    with pytest.raises(ValueError, match="batch 1 is empty"):
        compare(reading, batches(5, 0))
    with pytest.raises(ValueError, match="no batches"):
        compare(reading, [])
    with pytest.raises(ValueError, match="no networks"):
        compare([], RAGGED)
    with pytest.raises(ValueError, match="different layers"):
        compare([reading[0], lambda rows: reading[1](rows[1:])], RAGGED)
    broken = networks()
    broken[1]["late"][25, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="layer 'late' of network 1 in batch 2"):
        compare(readers(broken), RAGGED)


def test_resolutions_that_do_not_match_have_no_procrustes():
    odd = networks()
    odd[1]["late"] = odd[1]["early"][:, :3, :3]
    found = streaming.compare(readers(odd), RAGGED)
    for name, (table,) in found.values.items():
        assert np.isnan(table[:, 1]).all() == ("procrustes" in name), name
        assert np.isfinite(table[:, [0, 2]]).all(), name


def test_integers_and_few_samples():
    draw = np.random.default_rng(0).integers
    features = [{"x": draw(0, 9, (6, 4))}, {"x": draw(0, 9, (6, 4)).astype(np.uint8)}]
    found = streaming.compare(readers(features), batches(6))
    assert np.isfinite(found.values["g_relu_cka"][0]).all()
    alone = streaming.compare(readers(features)[:1], batches(6))
    assert alone.pairs == ((0, 0),)
    np.testing.assert_allclose(alone.values["g_relu_procrustes"][0], 1, atol=1e-7)
    few = streaming.compare(
        readers(features), batches(2), measures=["orthogonal_procrustes"]
    )
    assert few.settings["samples"] == 2
