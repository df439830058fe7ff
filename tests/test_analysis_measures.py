"""Tests of the measures themselves: behaviour, correlations, planted answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from paths import shared
from scipy import stats

from analysis import (
    __main__ as command,
    all_measures,
    compared,
    experiments,
    intervals,
    moments,
    networks,
    presets,
    principal,
    report,
    sensitivity,
    specificity,
)
from analysis.subject import Images, Layer, layers_of
from symjax_lib import models, similarity, stitching, tracing
from train import architectures
from train.configs import UserError

FEW = ("g_relu_procrustes", "orthogonal_procrustes", "g_relu_cka", "linear_cka")


def predict(w, images):
    x = tracing.tap(jax.nn.relu(images @ w["a"]), "first")
    return tracing.tap(jax.nn.relu(x @ w["b"]), "second") @ w["c"]


@pytest.fixture
def subject(monkeypatch):
    """Five networks of two layers: noisy copies of one, so that all is known."""
    monkeypatch.setattr(compared, "MEASURES", FEW)
    keys = jax.random.split(jax.random.key(0), 4)
    base = {"a": jax.random.normal(keys[0], (6, 8)), "b": jnp.eye(8)}
    base["b"] += 0.5 * jax.random.normal(keys[1], (8, 8))
    base["c"] = jax.random.normal(keys[2], (8, 3))
    update = lambda v, x: (predict(v, x), v)
    found = []
    for s, scale in enumerate((0.0, 0.1, 0.2, 0.4, 0.8)):
        noise = jax.random.normal(jax.random.key(100 + s), (8, 8))
        found.append(
            stitching.Network(predict, update, {**base, "b": base["b"] + scale * noise})
        )
    images = jax.random.normal(keys[3], (120, 6))
    test = Images(images, predict(base, images).argmax(-1))
    return networks.Networks(
        model="planted",
        seeds=tuple(range(5)),
        networks=tuple(found),
        layers=(Layer("first", "", 8), Layer("second", "", 8)),
        train=test,
        test=test,
        measured=Images(test.images[:60], test.labels[:60]),
        most_pairs=10,
        key=jax.random.key(0),
    )


def test_specificity(subject):
    record = specificity.compute(subject)
    assert record.pairs.tolist() == [[i, j] for i in range(5) for j in range(i + 1, 5)]
    # All networks share the first layer, so nothing correlates with it.
    assert np.isnan(record.correlations["linear_cka", "disagreement"][0].rho)
    second = record.correlations["linear_cka", "disagreement"][1]
    dissimilarity = 1 - record.values["linear_cka"][:, 1, 1]
    outputs = [n.predict(n.variables, subject.test.images) for n in subject.networks]
    guess = np.stack(outputs).argmax(-1)
    disagree = [(guess[i] != guess[j]).mean() for i, j in record.pairs]
    np.testing.assert_allclose(record.targets["disagreement"], disagree)
    expected = stats.spearmanr(dissimilarity, disagree)[0]
    assert second.rho == pytest.approx(expected)
    assert second.low <= second.rho <= second.high
    assert record.ceilings["disagreement"] > 0.8
    (rows,) = specificity.summary(record)
    assert [row["measure"] for row in rows] == [*FEW, "noise ceiling"]
    assert len(specificity.tables(record)["specificity"]) == len(FEW) * 3 * 2
    assert "10 pairs of 5 networks" in specificity.caption(record)
    assert set(specificity.plot(record)) == {"specificity"}


def test_identification():
    tables = np.array([[[0.9, 0.1], [0.95, 0.8]], [[0.5, 0.1], [0.2, np.nan]]])
    found = specificity.identified(tables)
    # Pair 0: layer 1 of the first is closest to layer 0, and 0 of the second to 1.
    np.testing.assert_array_equal(found, [[1, 0], [1, np.nan], [0, 1], [1, np.nan]])


def test_sensitivity(subject):
    record = sensitivity.compute(subject)
    shape = (5, 2, len(sensitivity.REMOVED))
    assert all(values.shape == shape for values in record.values.values())
    # The more variance is removed, the less is left, where a measure sees variance.
    for name in ("orthogonal_procrustes", "linear_cka"):
        assert (np.diff(record.values[name], axis=-1) < 1e-6).all(), name
    # Orthogonal Procrustes from the components' variances: about the mean, features and
    # their projection have as many in common as the kept part of the variance.
    network = subject.networks[0]
    x = tracing.taps(predict)(network.variables, subject.measured.images)[1]["second"]
    removed = principal.removed(x, principal.bases(x, sensitivity.REMOVED)[3])
    centred = np.float64(x) - np.float64(x).mean(0)
    variances = np.sort(np.linalg.eigvalsh(centred.T @ centred))
    kept = variances[5:].sum() / variances.sum()
    assert np.linalg.norm(removed - removed.mean(0)) ** 2 / np.linalg.norm(
        centred
    ) ** 2 == pytest.approx(kept, abs=1e-5)
    expected = similarity.orthogonal_procrustes(x, removed).similarity
    found = record.values["orthogonal_procrustes"][0, 1, 3]
    assert found == pytest.approx(float(expected), abs=1e-5)
    # And the network really runs with what is left.
    logits = removed @ network.variables["c"]
    before = x @ network.variables["c"]
    behaviour = sensitivity._behaviour(
        subject.measured, network, "second", principal.bases(x, sensitivity.REMOVED)
    )[0]
    assert behaviour["disagreement"][3] == pytest.approx(
        float((logits.argmax(-1) != before.argmax(-1)).mean())
    )
    noticed = sensitivity.noticed(record)["linear_cka"]
    assert set(noticed.ravel()) <= {*sensitivity.REMOVED, 1.0}
    (rows,) = sensitivity.summary(record)
    assert len(rows) == len(FEW) + 1
    assert len(sensitivity.tables(record)["sensitivity"]) == len(FEW) * np.prod(shape)
    assert "5 networks" in sensitivity.caption(record)
    assert set(sensitivity.plot(record)) == {"sensitivity"}


def test_all_measures(subject):
    record = all_measures.compute(subject)
    values = moments.by_networks(own(record), record.pairs)
    assert values.shape == (2, 5, 5)
    np.testing.assert_array_equal(values, values.swapaxes(1, 2))
    np.testing.assert_allclose(values[0], 1, atol=1e-6)
    rows = all_measures.tables(record)["similarity_layers"]
    assert len(rows) == len(FEW) * 2
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows)
    assert len(all_measures.tables(record)["similarity_pairs"]) == len(FEW) * 10 * 4
    assert "10 pairs of 5 networks" in all_measures.caption(record)
    maps = {f"map_{name}" for name in FEW}
    assert set(all_measures.plot(record)) == {"bars_1", *maps}


def own(record):
    return np.diagonal(record.values["linear_cka"], axis1=1, axis2=2)


def test_intervals_of_bars(subject):
    measures = ("linear_cka",)
    found = {
        kind: all_measures.compute(subject, measures=measures, interval=kind)
        for kind in moments.INTERVALS
    }
    halves = {
        kind: all_measures.moments_of(r, "linear_cka") for kind, r in found.items()
    }
    means = [m.mean[1] for m in halves.values()]
    np.testing.assert_allclose(means, means[0])
    half = {kind: (m.high - m.mean)[1] for kind, m in halves.items()}
    assert half["sd"] == pytest.approx(halves["models"].sd[1])
    values = moments.by_networks(own(found["models"]), found["models"].pairs)
    expected = intervals.models_interval(values)
    assert half["models"] == pytest.approx((expected.high - expected.mean)[1])
    # The groups are disjoint parts of the images, compared anew.
    parts = []
    for g in range(8):
        images = subject.measured.images[7 * g : 7 * g + 7]
        layers = [tracing.taps(predict)(n.variables, images)[1]["second"]
                  for n in subject.networks]  # fmt: skip
        same = [similarity.linear_cka(layers[i], layers[j])
                for i in range(5) for j in range(i + 1, 5)]  # fmt: skip
        parts.append(np.mean(same))
    reach = stats.t.ppf(0.975, 7) * np.std(parts, ddof=1) / np.sqrt(8)
    assert half["inputs"] == pytest.approx(reach, rel=1e-4)
    assert half["both"] > max(half["models"], half["inputs"]) / 2
    few = Images(subject.measured.images[:20], subject.measured.labels[:20])
    with pytest.raises(UserError, match="needs 32, there are 20"):
        all_measures.compute(subject._replace(measured=few), interval="both")


def test_fewer_pairs_than_all(subject):
    record = all_measures.compute(subject._replace(most_pairs=7), measures=FEW[:1])
    assert len(record.pairs) == 7
    found = all_measures.moments_of(record, FEW[0])
    assert (found.low < found.mean)[1]
    two = all_measures.compute(subject._replace(most_pairs=1), measures=FEW[:1])
    assert two.pairs.tolist() == [[0, 1]]
    assert np.isnan(all_measures.moments_of(two, FEW[0]).low).all()


def test_presets_take_their_architecture_only(subject):
    with pytest.raises(UserError, match="figure2 is of resnet20, these .* planted"):
        experiments.run("figure2", subject)
    found = experiments.run("figure2", subject._replace(model="resnet20"))
    assert found.title.startswith("Figure 2")
    measures = [row["measure"] for row in found.summary[0]]
    assert measures == ["g_relu_cka", "linear_cka, channel_norm"]
    assert {"bars_1.svg", "map_linear_cka_channel_norm.svg"} <= {*found.svg}
    assert {p.model for p in presets.PRESETS.values()} <= {*architectures.MODELS}
    assert {m for p in presets.PRESETS.values() for m in p.measures} <= {
        *similarity.MEASURES
    }


def test_stars_for_layers_inside_blocks():
    for model, inside in ((models.ResNet20(), "*"), (models.Tiny10(), "")):
        image = jnp.zeros((1, 32, 32, 3))
        shapes = jax.eval_shape(model.init, jax.random.key(0), image)
        network = stitching.from_linen(model, shapes)
        layers = layers_of(network, model, image)
        # The paper marks them by hand, we by what leads around them.
        assert [layer.inside for layer in layers] == [
            inside != "" and layer.paper.endswith("*") for layer in layers
        ]
        assert any(layer.inside for layer in layers) == bool(inside)
    assert Layer("block.conv1", "", 4, inside=True).label == "block.conv1*"


def test_report_of_networks(subject):
    results = {
        name: experiments.run(name, subject) for name in ("similarity", "specificity")
    }
    page = report.of_networks(subject, results, {"networks": "abc"})
    assert "5 networks planted" in page
    assert "Specificity of the measures" in page
    assert [row["measure"] for row in report.main(results).rows] == [*FEW]


def test_noise_ceiling_of_known_noise():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=4000)
    halves = [signal + rng.normal(size=4000) for _ in range(2)]
    # The whole has noise of variance 1/2 beside a signal of 1.
    expected = np.corrcoef(signal, np.mean(halves, axis=0))[0, 1]
    assert compared.noise_ceiling(*halves) == pytest.approx(expected, abs=0.02)
    assert compared.noise_ceiling(signal, signal) == pytest.approx(1)
    assert compared.noise_ceiling(signal, -signal) == 0


def test_correlation_without_enough_networks_or_spread():
    pairs = np.array([[0, 1], [0, 2], [1, 2]])
    found = compared.correlation(np.arange(3.0), np.arange(3.0), pairs)
    assert found.rho == pytest.approx(1)
    assert np.isnan(found.low)
    assert np.isnan(compared.spearman(np.ones(5), np.arange(5.0)))


def test_the_command_line_asks_for_what_it_needs(tmp_path):
    parse = lambda *argv: command.main(command.parse(argv))
    with pytest.raises(UserError, match="either a --run or some --networks"):
        parse("similarity")
    with pytest.raises(UserError, match="needs a --run"):
        parse("cka", "--networks", "a.npz", "--out", str(tmp_path / "o"))
    with pytest.raises(UserError, match=r"\['cosine'\] are unknown"):
        parse("similarity", "--networks", "a.npz", "--measures", "cosine")
    with pytest.raises(UserError, match="name a folder with --out"):
        parse("similarity", "--networks", "a.npz")
    with pytest.raises(UserError, match="was not read"):
        parse("similarity", "--networks", "a.npz", "--out", str(tmp_path / "o"))


@pytest.mark.slow
def test_published_networks_from_the_command_line(tmp_path):
    files = [shared(f"data/weights/tiny10_seed{s:02}.npz") for s in range(4)]
    argv = ["specificity", "--networks", *map(str, files), "--images", "200"]
    argv += ["--data-dir", str(shared("data/tfds")), "--out", str(tmp_path / "o")]
    command.main(command.parse(argv))
    table = (tmp_path / "o" / "table.txt").read_text()
    assert "g_relu_cka" in table
    assert "noise ceiling" in table
