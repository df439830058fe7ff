"""The experiments on a run of real digits; statistics and output on their own."""

import csv
import dataclasses
import functools
import io
import json
import re
import xml.etree.ElementTree as ET

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis import (
    __main__ as command,
    accuracy,
    certificate,
    cka,
    experiments,
    features,
    output,
    penalties,
    procrustes,
    report,
    statistics,
    subject,
    tables,
)
from symjax_lib import models, similarity, symmetry
from symjax_lib.stitching import from_linen
from train import data, presets, zoo
from train.configs import UserError

SEEDS = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three MLPs on digits; quick to train, and two layers to compare."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    config = dataclasses.replace(
        presets.PRESETS["digits_quick"],
        model="mlp", width=12, epochs=3, seeds=SEEDS, shift=0,
    )  # fmt: skip
    zoo.train(config, out)
    return out


@pytest.fixture(scope="module")
def loaded(run):
    return subject.load(run, images=100)


def test_subject(loaded):
    assert loaded.seeds == (0, 1, 2)
    assert [layer.name for layer in loaded.layers] == ["dense1", "dense2"]
    assert [layer.channels for layer in loaded.layers] == [12, 12]
    assert len(loaded.measured.images) == 100
    assert len(loaded.test.labels) == 359
    # The held-out images are not among those that stitches are fitted on.
    assert len(loaded.train.labels) == 1438 - 143
    keys = [loaded.stream(name) for name in ("a", "b", "a")]
    data = [jax.random.key_data(key).tolist() for key in keys]
    assert data[0] == data[2] != data[1]
    fresh = subject.untrained(loaded)
    norms = [jnp.linalg.norm(n.variables["params"]["fc"]["kernel"]) for n in fresh]
    assert len({float(x) for x in norms}) == SEEDS


def test_accuracy_measured_anew_is_what_the_run_recorded(loaded):
    record = accuracy.compute(loaded)
    np.testing.assert_allclose(record.test, record.recorded, atol=1e-9)
    assert (record.test > 0.5).all()
    (rows,) = accuracy.summary(record)
    assert rows[-1]["test"].startswith(f"{100 * record.test.mean():.1f} ± ")


def test_certificate_certifies_and_refutes(loaded):
    record = certificate.compute(loaded)
    assert len(record.certificates) == SEEDS
    assert all(c.ok for c in record.certificates)
    assert not any(c.ok for c in record.refuted)
    assert (record.law < 1e-4).all()
    assert (record.moved > 0.1).all()
    assert record.spec.dimension == 24
    assert "3 of 3" in certificate.caption(record)


def test_certificate_sees_a_wrong_action(loaded, monkeypatch):
    """With an action that forgets to undo, nothing is certified."""
    act = symmetry.act

    def wrong(spec, g, variables):
        moved = act(spec, g, variables)
        moved["params"]["fc"] = variables["params"]["fc"]
        return moved

    monkeypatch.setattr(symmetry, "act", wrong)
    record = certificate.compute(loaded)
    assert not any(c.ok for c in record.certificates)


def test_procrustes_is_that_of_the_library(loaded):
    record = procrustes.compute(loaded)
    assert record.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    network = loaded.networks
    images = loaded.measured.images
    hidden = [
        jax.nn.relu(
            jnp.moveaxis(images, -1, 1).reshape(100, -1)
            @ n.variables["params"]["dense1"]["kernel"]
            + n.variables["params"]["dense1"]["bias"]
        )
        for n in network
    ]
    for i, (a, b) in enumerate(record.pairs):
        out = similarity.g_relu_procrustes(hidden[a], hidden[b])
        found = record.trained["G_ReLU"][i, 0]
        np.testing.assert_allclose(found, out.similarity, atol=1e-5)
        out = similarity.orthogonal_procrustes(hidden[a], hidden[b])
        found = record.trained["orthogonal"][i, 0]
        np.testing.assert_allclose(found, out.similarity, atol=1e-5)
    dead = [(np.asarray(h) == 0).all(axis=0).sum() for h in hidden]
    assert record.dead[:, 0].tolist() == dead
    rows = procrustes.tables(record)["procrustes"]
    first = next(r for r in rows if r["measure"] == "orthogonal")
    values = record.trained["orthogonal"][:, 0]
    assert first["mean"] == pytest.approx(values.mean())
    assert first["sd"] == pytest.approx(values.std(ddof=1))


def test_dead_channels_are_counted_and_left_out_of_the_live_similarity(loaded):
    def silence(network):
        bias = network.variables["params"]["dense1"]["bias"].at[:5].set(-1e6)
        layer = {**network.variables["params"]["dense1"], "bias": bias}
        params = {**network.variables["params"], "dense1": layer}
        return network._replace(variables={"params": params})

    dying = loaded._replace(networks=tuple(map(silence, loaded.networks)))
    record = procrustes.compute(dying)
    assert (record.dead[:, 0] >= 5).all()
    assert (record.live[:, 0] < record.trained["G_ReLU"][:, 0] - 0.01).all()
    assert "counts as a match" in procrustes.caption(record)


def test_cka_is_that_of_the_library(loaded):
    record = cka.compute(loaded)
    assert record.maps["G_ReLU"].shape == (3, 2, 2)
    taps = [features.taps(n, loaded.measured.images) for n in loaded.networks]
    for name, measure in {
        "G_ReLU": similarity.g_relu_cka,
        "linear": similarity.linear_cka,
        "linear, unit channels": lambda x, y: similarity.linear_cka(
            x, y, channel_norm=True
        ),
    }.items():
        expected = measure(taps[0]["dense1"], taps[2]["dense2"])
        np.testing.assert_allclose(record.maps[name][1, 0, 1], expected, atol=1e-5)


def test_penalties_of_a_network_with_itself_are_small(loaded):
    same = loaded._replace(networks=(loaded.networks[0],) * 2, seeds=(0, 1))
    record = penalties.compute(same, classes=("full", "G_ReLU", "least squares"))
    assert record.pairs.tolist() == [[0, 1]]
    assert record.images == 1079  # a fifth as many are held out
    assert record.protocol.epochs == 14
    assert np.abs(record.penalty["least squares"]).max() < 0.01
    assert record.penalty["full"].max() < 0.05  # trained on, it may be better
    # Fitted from noise, a G_ReLU stitch does not come back to the identity exactly.
    assert record.penalty["G_ReLU"].max() < record.chance - 0.1
    assert (record.unrounded["G_ReLU"] != record.penalty["G_ReLU"]).any()


def test_untrained_networks_are_other_networks(loaded):
    record = procrustes.compute(loaded)
    for name, values in record.untrained.items():
        assert (np.abs(values - record.trained[name]) > 1e-4).all()
    maps = cka.compute(loaded)
    for name, values in maps.untrained.items():
        assert (np.abs(values - maps.maps[name]) > 1e-4).all()


def test_law_at_the_taps_can_fail(loaded, monkeypatch):
    monkeypatch.setattr(symmetry, "act_on_tap", lambda spec, g, name, value: value)
    record = certificate.compute(loaded)
    assert (record.law > 0.1).all()
    assert "every layer of 0 as predicted" in certificate.caption(record)


def test_a_single_network_has_no_pairs(loaded):
    single = loaded._replace(networks=loaded.networks[:1], seeds=(0,))
    for module in (procrustes, cka, penalties):
        with pytest.raises(UserError, match="has 1 that finished"):
            module.compute(single)
    assert len(accuracy.compute(single).test) == 1
    (rows,) = accuracy.summary(accuracy.compute(single))
    assert "±" not in rows[-1]["test"]  # one network has no sd


def test_values_that_are_not_finite_are_refused(loaded):
    broken = jax.tree.map(lambda x: x * jnp.nan, loaded.networks[0].variables)
    network = loaded.networks[0]._replace(variables=broken)
    with pytest.raises(UserError, match="dense1 has values that are not finite"):
        procrustes.compute(loaded._replace(networks=(network, *loaded.networks[1:])))


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "page"
    command.main(command.Arguments("report", run, out, images=100))
    return out


def test_report_is_one_self_contained_page(written):
    page = (written / "index.html").read_text()
    assert "{{" not in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) > 10
    assert all(source.startswith("data:") for source in sources)
    assert '<meta name="viewport"' in page
    assert "@media print" in page
    for name in experiments.REPORT:
        assert f'<section id="{name}">' in page
    body = re.sub(r'"data:[^"]*"', '""', page).replace("<!doctype html>", "")
    for void in ("meta", "img"):
        body = re.sub(rf"<({void}[^>]*)>", r"<\1/>", body)
    ET.fromstring(body.strip())  # every tag is closed


def test_report_shows_the_numbers_of_its_csv(written):
    page = (written / "index.html").read_text()
    every = list(csv.DictReader(io.StringIO((written / "procrustes.csv").read_text())))
    first = next(
        row for row in every if (row["layer"], row["measure"]) == ("dense1", "G_ReLU")
    )
    shown = f"{float(first['mean']):.3f} ± {float(first['sd']):.3f}"
    assert page.count(f"<td>{shown}</td>") >= 2  # in the main table and its section
    assert shown in (written / "table.txt").read_text()
    assert first["pairs"] == "3"


def test_report_again_is_reused_and_says_so(run, written, capsys):
    before = {path: path.stat().st_mtime_ns for path in written.iterdir()}
    command.main(command.Arguments("report", run, written, images=100))
    assert "is complete, reusing it" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in written.iterdir()}


def test_single_experiment_writes_figures_and_tables(run, tmp_path, capsys):
    out = tmp_path / "cka"
    command.main(command.Arguments("cka", run, out, images=50))
    names = {path.name for path in out.iterdir()}
    assert names == {
        *("cka.csv", "cka_pairs.csv", "cka_1.svg", "cka_2.svg", "cka_3.svg"),
        *("made_of.json", "table.txt"),
    }
    assert "dense1" in capsys.readouterr().out
    ET.parse(out / "cka_1.svg")
    # Other options bring the folder up to date.
    command.main(command.Arguments("cka", run, out, images=60))
    assert json.loads((out / "made_of.json").read_text())["most images"] == 60


def test_what_is_there_is_not_lost(run, tmp_path):
    foreign = tmp_path / "notes"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("keep me")
    with pytest.raises(UserError, match="is no output of this program"):
        command.main(command.Arguments("accuracy", run, foreign))
    assert [path.name for path in foreign.iterdir()] == ["mine.txt"]
    other = tmp_path / "other"
    output.write(other, {"experiment": "cka", "run": "another run"}, [{"a.csv": "1"}])
    with pytest.raises(UserError, match="has cka of another run"):
        command.main(command.Arguments("accuracy", run, other))
    assert (other / "a.csv").read_text() == "1"


def test_incomplete_output_is_not_reused(tmp_path):
    made_of = {"experiment": "cka", "run": "this run"}
    out = tmp_path / "out"

    def killed():
        yield {"a.csv": "1"}
        raise KeyboardInterrupt

    assert not output.is_complete(out, made_of)
    with pytest.raises(KeyboardInterrupt):
        output.write(out, made_of, killed())
    assert (out / "a.csv").read_text() == "1"  # what was finished is there
    assert not output.is_complete(out, made_of)
    output.write(out, made_of, [{"a.csv": "1"}, {"b.csv": "2"}])
    assert output.is_complete(out, made_of)
    assert not output.is_complete(out, {**made_of, "seed": 1})
    (out / "b.csv").unlink()
    assert not output.is_complete(out, made_of)


def test_mistakes_of_the_command_line(run, tmp_path, capsys):
    with pytest.raises(UserError, match="holds no run; make one by"):
        command.main(command.Arguments("report", tmp_path / "nothing"))
    with pytest.raises(UserError, match="--images is 3, debiased CKA needs 4"):
        command.main(command.Arguments("cka", run, tmp_path / "x", images=3))
    with pytest.raises(SystemExit):
        command.parse(["kca", "--run", str(run)])
    assert "cka" in capsys.readouterr().err
    args = command.parse(["report", "--run", str(run)])
    assert (args.out, args.images, args.stitch_epochs) == (None, None, None)


def test_other_data_than_the_run_was_trained_on_are_refused(run, monkeypatch):
    true = data.load

    def changed(name, *, data_dir=None):
        return true(name, data_dir=data_dir)._replace(fingerprint="f" * 64)

    monkeypatch.setattr(data, "load", changed)
    with pytest.raises(UserError, match="these data have ffff"):
        subject.load(run)


def test_statistics():
    values = np.array([[0.1, 0.4, 0.3], [0.2, 0.2, 0.8]])
    summary = statistics.summarise(values)
    np.testing.assert_allclose(summary.mean, values.mean(axis=1))
    np.testing.assert_allclose(summary.sd, values.std(axis=1, ddof=1))
    assert np.isnan(statistics.summarise([1.0]).sd)
    assert len(statistics.unordered_pairs(5, 99)) == 10
    some = statistics.unordered_pairs(9, 18)
    assert np.unique(some, return_counts=True)[1].tolist() == [4] * 9
    text = statistics.describe_pairs(np.array([[0, 1], [2, 3]]))
    assert text.endswith("2 pairs of 4 networks, no two of which share one.")
    assert "One pair" in statistics.describe_pairs(np.array([[0, 1]]))


def test_tables():
    text = tables.to_csv([{"a": 0.1234567, "b": "x, y", "c": np.bool_(True)}])
    assert text == 'a,b,c\n0.123457,"x, y",1\n'
    assert report.cell(np.float64(0.5)) == "0.5"
    none = statistics.summarise([np.nan, 1.0])
    assert tables.mean_sd(none) == "–"


@pytest.mark.slow
def test_certificate_of_a_network_with_norms():
    """Where every channel has two scalings: still certified, and a rotation refuted."""
    model, key = models.MyrtleCNN(width=4), jax.random.key(0)
    images = jax.random.normal(key, (20, 8, 8, 1))
    network = from_linen(model, model.init(key, images))
    spec = symmetry.trace(network.predict, network.variables, images[:1])
    certify = functools.partial(symmetry.certify, network.predict, network.variables)
    rotated = certificate._rotate(key, spec, network.variables)
    assert not certify(rotated, images).ok
    g = symmetry.sample(key, spec)
    assert certify(symmetry.act(spec, g, network.variables), images).ok
