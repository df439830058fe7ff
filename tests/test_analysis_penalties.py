"""Stitches of all classes between noisy copies of one network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from analysis import (
    networks,
    penalties,
    planted,
    presets,
    stitch_cells,
    stitch_classes,
    stitch_file,
    stitch_protocol,
)
from analysis.subject import Images, Layer
from symjax_lib import models, stitching, tracing
from train.configs import UserError

CLASSES = ("full", "rank 1", "G_ReLU", "least squares")
LAYERS = (Layer("first", "", 6), Layer("second", "", 6, inside=True))


def predict(w, images):
    x = tracing.tap(jax.nn.relu(images @ w["a"]), "first")
    return tracing.tap(jax.nn.relu(x @ w["b"]), "second") @ w["c"]


def update(w, images):
    return predict(w, images), w


@pytest.fixture(scope="module")
def subject():
    keys = jax.random.split(jax.random.key(1), 5)
    base = {"a": jax.random.normal(keys[0], (5, 6)), "b": jnp.eye(6)}
    base["b"] += 0.3 * jax.random.normal(keys[1], (6, 6))
    base["c"] = jax.random.normal(keys[2], (6, 3))
    found = []
    for s in range(3):
        noise = 0.05 * jax.random.normal(jax.random.key(s), (6, 6))
        found.append(
            stitching.Network(predict, update, {**base, "b": base["b"] + noise})
        )
    images = jax.random.normal(keys[3], (600, 5))
    labels = predict(base, images).argmax(-1)
    take = lambda part: Images(images[part], labels[part])
    return networks.Networks(
        model="planted",
        seeds=(3, 4, 7),
        networks=tuple(found),
        layers=LAYERS,
        train=take(slice(0, 360)),
        test=take(slice(400, 600)),
        measured=take(slice(400, 500)),
        most_pairs=9,
        key=jax.random.key(0),
    )


@pytest.fixture(scope="module")
def record(subject):
    return penalties.compute(subject, classes=CLASSES, epochs=3)


def test_penalties_are_those_of_the_cells(subject, record):
    assert record.pairs.tolist() == [[3, 4], [3, 7], [4, 7]]
    assert {name: v.shape for name, v in record.penalty.items()} == dict.fromkeys(
        CLASSES, (3, 2)
    )
    row = next(
        row
        for row in record.rows
        if (row["front"], row["back"]) == (0, 2)
        and (row["layer"], row["stitch"]) == ("second", "full")
    )
    clean = [
        float(
            (
                predict(n.variables, subject.test.images).argmax(-1)
                == subject.test.labels
            ).mean()
        )
        for n in subject.networks
    ]
    expected = (clean[0] + clean[2]) / 2 - row["test"]
    assert record.penalty["full"][1, 1] == pytest.approx(expected)
    # The networks are almost the same: a fit of features is, too.
    assert np.abs(record.penalty["least squares"]).max() < 0.1
    assert record.penalty["rank 1"].mean() > 0.1
    assert np.isnan(record.unrounded["full"]).all()
    assert np.isfinite(record.unrounded["G_ReLU"]).all()
    sparsity = {row["sparsity"] for row in record.rows if row["stitch"] == "G_ReLU"}
    assert min(sparsity) >= 1 - 1 / 6 - 1e-6


def test_tables_figure_and_caption(record):
    rows, cells = penalties.tables(record).values()
    assert len(rows) == len(CLASSES) * 2
    assert len(cells) == len(CLASSES) * 2 * 3
    for row in rows:
        values = record.penalty[row["stitch"]][
            :, ["first", "second"].index(row["layer"])
        ]
        assert row["mean"] == pytest.approx(values.mean())
        assert row["sd"] == pytest.approx(values.std(ddof=1))
        assert row["low"] <= row["mean"] <= row["high"]
    main, rounding = penalties.summary(record)
    assert [row["stitch"] for row in rounding] == ["G_ReLU"]
    assert [row["layer"] for row in main] == ["first", "second*"]
    assert "[" in main[0]["full"]
    assert list(penalties.plot(record)) == ["penalties"]
    text = penalties.caption(record)
    assert "300 training images, 3 epochs with Adam" in text
    assert "diverged" not in text


def test_a_run_that_was_stopped_goes_on(subject, record, tmp_path):
    path = tmp_path / "kept"
    seen = []

    def stop(what):
        seen.append(what)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        penalties.compute(subject, classes=CLASSES, epochs=3, kept=path, progress=stop)
    assert len(stitch_file.read(path / stitch_file.NAME)) == 2
    seen.clear()
    again = penalties.compute(
        subject, classes=CLASSES, epochs=3, kept=path, progress=seen.append
    )
    assert len(seen) == 4  # of six cells two were there
    for name in CLASSES:
        np.testing.assert_allclose(again.penalty[name], record.penalty[name], atol=0.02)
    seen.clear()
    read = penalties.compute(
        subject, classes=CLASSES, epochs=3, kept=path, progress=seen.append
    )
    assert seen == []
    assert str(read.rows) == str(again.rows)


def test_fits_that_diverge_are_marked_and_others_go_on(subject, monkeypatch):
    monkeypatch.setitem(stitch_classes.OPTIMIZERS, "adam", optax.sgd(1e30))
    found = penalties.compute(subject, classes=("full", "least squares"), epochs=1)
    assert np.isnan(found.penalty["full"]).all()
    assert np.isfinite(found.penalty["least squares"]).all()
    assert "6 fits diverged" in penalties.caption(found)
    assert penalties.summary(found)[0][0]["full"] == "–"


def test_held_out_images_choose_among_variants(subject, monkeypatch):
    """Watched: the variant with the best accuracy on them is the one that is tested."""
    measured = []

    def accuracies(stitched, front, back, layer, images, labels):
        measured.append((list(stitched), len(labels)))
        return {name: 0.9 if name[1:] == ("1",) else 0.5 for name in stitched}

    monkeypatch.setattr(stitching, "accuracies", accuracies)
    name = "G_ReLU, chosen alpha"
    cell = stitch_cells.Cell(0, 1, LAYERS[0])
    train, test = subject.train, subject.test
    data = stitch_protocol.Data(
        Images(train.images[:300], train.labels[:300]),
        Images(train.images[300:], train.labels[300:]),
        test,
    )
    (row,) = stitch_cells.run(
        subject.networks,
        [cell],
        data,
        stitch_protocol.Protocol((name,), 1),
        subject.key,
    )
    assert row["variant"] == "1"
    variants = [(name, f"{alpha:g}") for alpha in stitch_classes.ALPHAS]
    assert measured == [(variants, 60), ([name], 200), ([name], 200)]


def test_the_papers_protocol_takes_the_best_epoch(subject):
    found = penalties.compute(
        subject, classes=("full", "G_ReLU"), epochs=2, protocol="paper"
    )
    assert found.protocol.optimizer == "paper"
    for values in found.optimism.values():
        assert (values > -0.02).all()  # statistics are refreshed in another order
    _, _, optimism = penalties.summary(found)
    assert [row["stitch"] for row in optimism] == ["full", "G_ReLU"]
    assert "plain SGD" in penalties.caption(found)


def test_planted_stitches_are_found_by_classes_that_have_them(subject, monkeypatch):
    monkeypatch.setattr(planted, "CASES", 3)
    classes = ("rank 1", "least squares", "matching")
    found = planted.compute(subject, classes=classes, epochs=1)
    assert found.penalty["matching"].shape == (3, 2)
    for name in ("least squares", "matching"):
        assert np.abs(found.penalty[name]).max() < 0.01
    assert found.penalty["rank 1"].min() > planted.tolerance(found)
    rows, cells = planted.tables(found).values()
    assert {row["stitch"]: row["found"] for row in rows if row["layer"] == "first"} == {
        "rank 1": 0, "least squares": 3, "matching": 3,
    }  # fmt: skip
    assert len(cells) == 3 * 2 * 3
    assert planted.summary(found)[0][0] == {
        "layer": "first", "rank 1": "0/3", "least squares": "3/3", "matching": "3/3",
    }  # fmt: skip
    assert list(planted.plot(found)) == ["planted"]
    assert "3 random elements" in planted.caption(found)


def test_errors(subject):
    with pytest.raises(UserError, match=r"--classes \['half'\] are unknown, there are"):
        penalties.compute(subject, classes=("half",))
    with pytest.raises(UserError, match="--stitch-epochs is 0, it must be 1 or more"):
        penalties.compute(subject, epochs=0)
    with pytest.raises(UserError, match="20 training images do not fill a batch"):
        penalties.compute(subject, images=20)
    with pytest.raises(UserError, match="`penalties` takes any, with --classes 'fu"):
        presets.check("figure1", subject)


def test_what_images_are_for(subject, monkeypatch):
    """Watched: stitches are fitted on training images, and measured on all others."""
    fitted, measured = [], []
    true_fit, true_measure = stitching.fit_all, stitching.accuracies

    def fit_all(*args, **kwargs):
        fitted.append((kwargs["images"], kwargs["labels"]))
        return true_fit(*args, **kwargs)

    def accuracies(stitched, front, back, layer, images, labels):
        measured.append((images, labels))
        return true_measure(stitched, front, back, layer, images, labels)

    monkeypatch.setattr(stitching, "fit_all", fit_all)
    monkeypatch.setattr(stitching, "accuracies", accuracies)
    one = subject._replace(layers=LAYERS[:1], most_pairs=1)
    penalties.compute(one, classes=("full",), epochs=1)
    train, test = subject.train, subject.test
    same = lambda found, part, where: all(
        jnp.array_equal(x, y[where]) for x, y in zip(found, part, strict=True)
    )
    assert all(same(found, train, slice(300)) for found in fitted)
    first, *rest = measured
    assert same(first, train, slice(300, 360))
    assert rest
    assert all(same(found, test, slice(None)) for found in rest)


def test_settings_that_were_chosen_and_sparsity(subject):
    name = "G_ReLU, chosen alpha"
    one = subject._replace(most_pairs=2)
    found = penalties.compute(one, classes=(name, "L1 0.1", "full"), epochs=1)
    tables = penalties.tables(found)
    counts = tables["penalties_chosen"]
    for layer in LAYERS:
        some = [row for row in counts if row["layer"] == layer.name]
        assert sum(row["pairs"] for row in some) == 2
        cells = [
            row["variant"]
            for row in found.rows
            if (row["layer"], row["stitch"]) == (layer.name, name)
        ]
        expected = {variant: cells.count(variant) for variant in cells}
        assert {row["variant"]: row["pairs"] for row in some} == expected
    figures = penalties.plot(found)
    assert [*figures] == ["penalties", "penalties_chosen", "penalties_sparsity"]
    (axes,) = figures["penalties_sparsity"].axes
    assert [line.get_label() for line in axes.lines] == [name, "L1 0.1", "full"]
    values = found.penalty["L1 0.1"]
    drawn = np.asarray(axes.lines[1].get_ydata(), float)
    np.testing.assert_allclose(drawn, 100 * values.mean(axis=0))


@pytest.mark.slow
def test_planted_networks_are_the_same_with_new_statistics(monkeypatch):
    """Scalings that evaluation mode alone has would be lost when they are refreshed."""
    monkeypatch.setattr(planted, "CASES", 3)
    model = models.MyrtleCNN(width=4)
    images = jax.random.normal(jax.random.key(0), (50, 8, 8, 1))
    network = stitching.from_linen(model, model.init(jax.random.key(1), images))
    logits, _ = network.update(network.variables, images)
    plain = network.predict(network.variables, images)
    taps = jax.jit(tracing.taps(network.predict))
    features = taps(network.variables, images)[1]["conv2"]
    for moved in planted.plant(network, jax.random.key(2), images[:2]):
        found = moved.update(moved.variables, images)[0]
        np.testing.assert_allclose(found, logits, atol=1e-4)
        found = moved.predict(moved.variables, images)
        np.testing.assert_allclose(found, plain, atol=1e-4)
        assert abs(taps(moved.variables, images)[1]["conv2"] - features).max() > 0.1
