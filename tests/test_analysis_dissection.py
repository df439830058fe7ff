"""The command `dissect` on drawn images, with an untrained and a planted network."""

import csv
import dataclasses
import json
import re
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import open_nsfw
import pytest
import zoos

from analysis import (
    dissect_command,
    dissect_source,
    dissected,
    dissection,
    gallery,
    kept_state,
    vision,
)
from symjax_lib import dissection as library, models, tracing
from train import data as datasets, zoo as training
from train.configs import UserError


@pytest.fixture
def small(monkeypatch):
    """A small network of the family under a name of its own."""
    model = models.ResNet50(width=2, stem_width=4, num_classes=2, blocks=(1, 1))
    made = vision.Architecture(model, ("layer1.0", "layer2.0"))
    monkeypatch.setitem(vision.MODELS, "small", made)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("drawn") / "data"
    library.draw(path, images=6, size=32)
    return path


def colours(images):
    """Units that are 1 where their colour is and 0 elsewhere."""
    pure = jnp.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    same = jnp.asarray(images)[..., None, :] == 255 * pure
    return {"colours": same.all(axis=-1)[:, ::2, ::2].astype(jnp.float32)}


@pytest.fixture(scope="module")
def record(folder):
    return dissection.compute(
        jax.jit(colours), library.read(folder), ("colours",), model="planted",
        key=jax.random.key(0), rotations=2, alphas=(0.5, 1), fraction=0.4, passes=8,
    )  # fmt: skip


def test_planted_units_are_interpretable_and_rotated_ones_less(record):
    assert record.alphas == (0, 0.5, 1)
    rows = dissected.tables(record)
    counts = rows["dissection"]
    assert len(counts) == 2 * 3
    plain = [row for row in counts if row["alpha"] == 0]
    assert [row["interpretable color"] for row in plain] == [4, 4]
    assert [row["unique"] for row in plain] == [4, 4]
    found = record.detectors["colours"]
    for r, a in np.ndindex(2, 2):
        row = next(
            row
            for row in counts
            if (row["rotation"], row["alpha"]) == (r, record.alphas[a + 1])
        )
        assert row["interpretable"] == found.interpretable[1 + 2 * r + a].sum()
    units = rows["dissection_units"]
    assert [row["iou"] for row in units] == [1, 1, 1, 1]
    assert {row["concept"] for row in units} == {
        "red-c",
        "green-c",
        "blue-c",
        "yellow-c",
    }
    first, breakdown = dissected.summary(record)
    assert first[0]["interpretable"] == "4"
    assert re.fullmatch(r"[\d.]+ ± [\d.]+", first[1]["interpretable"])
    assert [row["interpretable, plain"] for row in breakdown] == ["4", "0", "0"]
    assert sorted(dissected.plot(record)) == [
        "dissection_interpretable", "dissection_unique",
    ]  # fmt: skip
    assert "powers of 2 random rotations" in dissected.caption(record)


def test_units_without_rotation_alone(folder):
    alone = dissection.compute(
        jax.jit(colours), library.read(folder), ("colours",), model="planted",
        key=jax.random.key(0), rotations=2, alphas=(0,), fraction=0.4,
    )  # fmt: skip
    assert alone.alphas == (0,)
    rows = dissected.summary(alone)[0]
    assert [(row["alpha"], row["interpretable"]) for row in rows] == [("0", "4")]


def test_gallery_has_the_images_where_units_are_largest(record):
    data = record.data
    found = gallery.collect(
        jax.jit(colours), data, record.tallies, record.detectors, batch_size=4
    )["colours"]
    assert found.units.tolist() == [0, 1, 2, 3]
    maps = np.moveaxis(
        np.concatenate(
            [colours(data.read(i).image[None])["colours"] for i in range(data.length)]
        ),
        -1, 0,
    )  # fmt: skip
    largest = maps.max(axis=(2, 3))
    for u, unit in enumerate(found.units):
        expected = np.argsort(-largest[unit], kind="stable")[: gallery.IMAGES]
        assert found.images[u].tolist() == expected.tolist()
        np.testing.assert_array_equal(found.maps[u], maps[unit, expected])
    assert "red-c, 1.00" in found.titles[0]
    figure = gallery.draw(data, found, "Best units")
    assert len(figure.axes) == 4 * gallery.IMAGES


def test_command(folder, small, tmp_path, capsys):
    arguments = dissect_command.Arguments(
        "random", str(folder), tmp_path / "out", model="small",
        rotations=1, alphas="0:1:1", passes=1, batch_size=6, fraction=0.05,
    )  # fmt: skip
    page = dissect_command.main(arguments)
    text = page.read_text()
    assert "untrained small, 6 images" in text
    assert text.count("<figure>") == 2
    rows = list(
        csv.DictReader((tmp_path / "out" / "dissection.csv").read_text().splitlines())
    )
    assert [(row["layer"], row["alpha"]) for row in rows] == [
        ("layer1.0", "0"), ("layer1.0", "1"), ("layer2.0", "0"), ("layer2.0", "1"),
    ]  # fmt: skip
    before = page.stat().st_mtime_ns
    assert dissect_command.main(arguments).stat().st_mtime_ns == before
    assert len(list((tmp_path / "out").glob("kept_*/state.npz"))) == 1
    # Other labels are other data.
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "label.csv").write_text(
        (other / "label.csv").read_text().replace("red", "r")
    )
    changed = dataclasses.replace(arguments, data=str(other))
    dissect_command.main(dataclasses.replace(changed, out=tmp_path / "out2"))
    made_of = [
        json.loads((tmp_path / out / "made_of.json").read_text())["data"]
        for out in ("out", "out2")
    ]
    assert made_of[0].split(", ")[1] != made_of[1].split(", ")[1]


def test_a_run_of_train(folder, tmp_path):
    """Its seeds, on images as they were normalised in training, of another size."""
    images = zoos.arrays(channels=3)
    np.savez(tmp_path / "colours.npz", **images._asdict())
    config = dataclasses.replace(
        zoos.TINY, model="myrtle_cnn", width=2, epochs=1,
        dataset=str(tmp_path / "colours.npz"),
    )  # fmt: skip
    run = tmp_path / "run"
    zoo = training.train(config, run)
    network = vision.load_run(run, number=1, data_dir=None)
    assert (network.name, network.layers) == ("myrtle_cnn, seed 1", zoo.model.tap_names)
    found = network.features(images.test_images)
    one = jax.tree.map(lambda leaf: leaf[1], zoo.variables)
    dataset = datasets.load(config.dataset)
    x = datasets.normalise(dataset, images.test_images)
    expected = tracing.taps(zoo.model.apply)(one, x)[1]
    for name in network.layers:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
    arguments = dissect_command.Arguments(
        str(run), str(folder), tmp_path / "out", number=1, layers=("conv2",),
        rotations=1, alphas="0,1", passes=1, batch_size=6,
    )  # fmt: skip
    assert "myrtle_cnn, seed 1, 6 images" in dissect_command.main(arguments).read_text()
    other = dataclasses.replace(arguments, number=0)
    with pytest.raises(UserError, match="out has dissect of run, seed 1, this is"):
        dissect_command.main(other)
    other = dataclasses.replace(other, out=tmp_path / "other")
    with pytest.raises(UserError, match=r"^analysis: 7 is none of its seeds; .*0, 1"):
        dissect_command.main(dataclasses.replace(other, number=7))
    with pytest.raises(UserError, match="is a folder without a run; name a file of"):
        dissect_command.main(dataclasses.replace(other, network=str(tmp_path)))
    training.export(run, tmp_path / "run.npz")
    archived = vision.load_run(tmp_path / "run.npz", number=1, data_dir=None)
    assert archived.layers == network.layers
    name = dissect_source.find(
        str(tmp_path / "run.npz"), model="resnet50", number=1, data_dir=None, seed=0
    ).name
    assert name == "run.npz, seed 1"
    darker = images._replace(train_images=images.train_images // 2)
    np.savez(tmp_path / "colours.npz", **darker._asdict())
    with pytest.raises(UserError, match=r"run was trained on .* with the fingerprint"):
        dissect_command.main(other)


def test_a_model_without_maps_is_refused(tmp_path):
    np.savez(tmp_path / "colours.npz", **zoos.arrays(channels=3)._asdict())
    dataset = str(tmp_path / "colours.npz")
    run = tmp_path / "run"
    config = dataclasses.replace(zoos.TINY, epochs=1, seeds=1, dataset=dataset)
    training.train(config, run)
    with pytest.raises(UserError, match="no layer of MLP is a map"):
        vision.load_run(run, number=0, data_dir=None)


def test_an_untrained_network_in_spite_of_a_folder(small, tmp_path, monkeypatch):
    (tmp_path / "random").mkdir()
    monkeypatch.chdir(tmp_path)
    found = dissect_source.find(
        "random", model="small", number=0, data_dir=None, seed=0
    )
    assert found.load((32, 32)).name == "untrained small"


def test_lite_takes_images_as_it_was_trained():
    """With TensorFlow's mean of 127 and scale of 128, unlike the others."""
    architecture = vision.MODELS["efficientnet_lite0"]
    assert {*architecture.mean} == {127.0}
    assert {*architecture.std} == {128.0}


def test_a_run_on_grey_images_is_refused(tmp_path):
    run = tmp_path / "run"
    training.train(dataclasses.replace(zoos.TINY, epochs=1, seeds=1), run)
    with pytest.raises(UserError, match=r"digits, images of shape \(8, 8, 1\)"):
        vision.load_run(run, number=0, data_dir=None)


def test_images_are_drawn_once_and_whole(small, tmp_path, monkeypatch):
    arguments = dissect_command.Arguments(
        "random", "drawn", tmp_path / "out", model="small", rotations=1, alphas="1",
        passes=1,
    )  # fmt: skip
    draw = library.draw

    def stopped(folder):
        draw(folder, images=3)
        raise KeyboardInterrupt

    monkeypatch.setattr(library, "draw", stopped)
    with pytest.raises(KeyboardInterrupt):
        dissect_command.main(arguments)
    monkeypatch.setattr(library, "draw", lambda folder: draw(folder, images=8))
    assert "untrained small, 8 images" in dissect_command.main(arguments).read_text()
    monkeypatch.setattr(library, "draw", stopped)
    assert dissect_command.main(arguments).exists()


def test_damaged_images_are_said_to_be(folder, small, tmp_path):
    data = shutil.copytree(folder, tmp_path / "data")
    (data / "images" / "0000.png").write_text("no picture")
    arguments = dissect_command.Arguments(
        "random", str(data), tmp_path / "out", model="small"
    )
    with pytest.raises(UserError, match=r"0000.png was not read"):
        dissect_command.main(arguments)


def test_a_state_is_read_as_it_was_written(folder, tmp_path):
    kept = []
    library.dissect(
        jax.jit(colours), library.read(folder), {"colours": jnp.eye(4)[None]},
        passes=1, keep=kept.append,
    )  # fmt: skip
    path = tmp_path / "new" / "state.npz"
    assert kept_state.read(path) is None
    kept_state.write(path, kept[-1])
    found = kept_state.read(path)
    assert found is not None
    assert found.done == kept[-1].done == 2
    jax.tree.map(np.testing.assert_array_equal, found, kept[-1])


def test_errors(folder, small, tmp_path):
    good = dissect_command.Arguments("random", str(folder), tmp_path / "x", "small")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"network": "no.npz"}, "there is no file no.npz"),
        ({"data": str(tmp_path)}, "there is no .*label.csv; name a folder in"),
        ({"model": "vgg"}, "--model is 'vgg', there are"),
        ({"layers": ("layer9",)}, r"--layers \['layer9'\] are unknown, there are"),
        ({"rotations": 0}, "--rotations is 0, it must be at least 1"),
        ({"alphas": "0:1"}, "--alphas is '0:1'; write first:last:step"),
        ({"alphas": "a,b"}, "--alphas is 'a,b'; write"),
        ({"alphas": "0:2:1"}, "numbers with commas, all of them between 0 and 1"),
        ({"alphas": "nan,1"}, "--alphas is 'nan,1'; write"),
        ({"alphas": "0:inf:1"}, "--alphas is '0:inf:1'; write"),
        ({"fraction": 2.0}, "fraction must be between 0 and 1, got 2.0"),
        ({"split": "test"}, "has no image of 'test'"),
    ]
    for settings, message in wrong:
        with pytest.raises(UserError, match=message):
            dissect_command.main(dataclasses.replace(good, **settings))


def test_features_are_those_of_the_reference():
    """Colours in the order and on the scale on which the network was trained."""
    architecture = vision.MODELS["thin_resnet50"]
    state = architecture.renamed(open_nsfw.weights())
    variables = models.convert.from_torch(
        architecture.model, state, image_shape=(224, 224, 3)
    )
    run = vision.features_of(architecture, variables)
    # Red, green, blue from 0 to 255.
    images = open_nsfw.images()[..., ::-1] + np.array(architecture.mean)[::-1]
    maps = run(jnp.asarray(images, jnp.float32))
    expected = open_nsfw.reference()["stage0_out_channel_mean"]
    got = np.asarray(maps["layer1.2"], np.float64).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())
