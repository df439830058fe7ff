import types

import jax.numpy as jnp
import numpy as np
import pytest
from paths import shared

from train import data
from train.configs import UserError


def arrays(n=6, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, n, 4, 4, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, (2, n)).astype(np.int32)
    return data.Arrays(images[0], labels[0], images[1], labels[1])


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    digits = data.load("digits")
    assert digits.train_images.shape == (1438, 8, 8, 1)
    assert digits.test_images.shape == (359, 8, 8, 1)
    assert digits.train_images.dtype == np.uint8
    assert digits.train_labels.dtype == np.int32
    assert digits.num_classes == 10
    # Every image is in one of the two parts, with its label.
    pixels, targets = map(np.asarray, load_digits(return_X_y=True))
    ours = np.concatenate([digits.train_images, digits.test_images]) / 255 * 16
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    rows = np.column_stack([labels, np.round(ours).reshape(1797, -1)])
    theirs = np.column_stack([targets, pixels])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, theirs))
    for label in range(10):
        count = (targets == label).sum()
        assert (digits.test_labels == label).sum() == round(0.2 * count)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.37, 0.5, 0.9])
def test_split_takes_every_class_evenly(fraction):
    labels = np.random.default_rng(0).integers(0, 5, 1000)
    rest, held_out = data.split(labels, fraction)
    assert sorted([*rest, *held_out]) == list(range(1000))
    for label in range(5):
        chosen = np.isin(np.flatnonzero(labels == label), held_out)
        assert chosen.sum() == round(fraction * len(chosen))
        # Of the first k members, k times the fraction, to within one.
        expected = np.arange(1, len(chosen) + 1) * chosen.mean()
        assert np.abs(np.cumsum(chosen) - expected).max() < 1


@pytest.mark.parametrize("fraction", [0.0, 0.01, 1.0])
def test_split_refuses_an_empty_side(fraction):
    with pytest.raises(UserError, match="fraction"):
        data.split(np.arange(20) % 4, fraction)


def test_normalise_gives_mean_0_and_deviation_1(monkeypatch):
    monkeypatch.setitem(data.DATASETS, "digits", lambda _: arrays(500))
    fake = data.load("digits")
    values = fake.train_images.reshape(-1, 3) / 255
    np.testing.assert_allclose(fake.mean, values.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(fake.std, values.std(axis=0), rtol=1e-6)
    x = data.normalise(fake, fake.train_images)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std((0, 1, 2)), 1, atol=1e-5)


def test_fingerprint_sees_one_pixel(monkeypatch):
    prints = set()
    for change in (0, 1):
        fake = arrays()
        fake.test_images[-1, -1, -1, -1] ^= change
        monkeypatch.setitem(data.DATASETS, "digits", lambda _, fake=fake: fake)
        prints.add(data.load("digits").fingerprint)
    assert len(prints) == 2


def test_unknown_data_set_is_refused_with_a_list():
    with pytest.raises(UserError, match=r"'mnist'.*digits, cifar10"):
        data.load("mnist")


def test_missing_data_name_the_folder_and_the_way_out(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=f"{tmp_path}/cifar10.*--data-dir") as error:
        data.load("cifar10", data_dir=tmp_path)
    assert "download_and_prepare" in str(error.value)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "other"))
    with pytest.raises(UserError, match=f"{tmp_path}/other/cifar10"):
        data.load("cifar10")


def damages(path):
    """Files in the place of a good cache that must not be believed."""
    good = path.read_bytes()
    yield good[: len(good) // 2]
    yield b""
    changed = bytearray(good)
    changed[len(good) // 2] ^= 1
    yield bytes(changed)
    yield b"no archive"
    other = path.with_name("other.npz")
    np.savez(other, fingerprint="0" * 64, **arrays(seed=1)._asdict())
    yield other.read_bytes()
    objects = {name: np.array([None]) for name in data.Arrays._fields}
    np.savez(other, fingerprint="0" * 64, allow_pickle=True, **objects)
    yield other.read_bytes()


def test_cache_is_used_if_whole_and_rebuilt_if_not(tmp_path):
    path, built = tmp_path / "new" / "a.npz", []

    def build():
        built.append(1)
        return arrays()

    def same(result):
        return all(map(np.array_equal, result, arrays()))

    assert same(data._cached(path, build))
    assert same(data._cached(path, build))
    assert len(built) == 1
    for count, damage in enumerate(damages(path)):
        path.write_bytes(damage)
        assert same(data._cached(path, build)), count
        assert len(built) == 2 + count
    assert {p.name for p in path.parent.iterdir()} == {"a.npz", "other.npz"}


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = tmp_path / "file" / "cache.npz"
    with pytest.warns(UserWarning, match="cannot be written, so not cached"):
        found = data._cached(cache, arrays)
    np.testing.assert_array_equal(found.train_images, arrays().train_images)


def test_a_damaged_data_set_is_one_error_that_names_it(tmp_path):
    version = tmp_path / "cifar10" / "3.0.2"
    version.mkdir(parents=True)
    (version / "dataset_info.json").write_text('{"name": "cif')
    with pytest.raises(UserError, match=f"the cifar10 in {tmp_path}/cifar10 cannot be"):
        data.load("cifar10", data_dir=tmp_path)


def test_cache_is_named_by_the_content_of_its_source(tmp_path, monkeypatch):
    """Other files, of the same names and sizes, are decoded anew."""

    class Source(list):
        dataset_info = types.SimpleNamespace(
            splits={
                split: types.SimpleNamespace(filepaths=[tmp_path / split])
                for split in ("train", "test")
            }
        )

    def source(split, _):
        fill = (tmp_path / split).read_bytes()[0]
        image = np.full((4, 4, 3), fill, np.uint8)
        return Source(
            {"id": b"%d" % i, "image": image + i, "label": i} for i in (2, 0, 1)
        )

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(data, "_source", source)
    (tmp_path / "cifar10" / "1").mkdir(parents=True)
    (tmp_path / "cifar10" / "1" / "dataset_info.json").touch()
    for fill in (b"a", b"b"):
        (tmp_path / "train").write_bytes(fill)
        (tmp_path / "test").write_bytes(b"t")
        loaded = data.load("cifar10", data_dir=tmp_path)
        assert loaded.train_labels.tolist() == [0, 1, 2]  # sorted by id
        assert loaded.train_images[:, 0, 0, 0].tolist() == [
            fill[0] + i for i in (0, 1, 2)
        ]
    assert len(list((tmp_path / "cache" / "symjax_lib").iterdir())) == 2


@pytest.fixture(scope="module")
def cifar10():
    """The real one; decoding takes half a minute, the first time on a machine."""
    return data.load("cifar10", data_dir=shared("data/tfds"))


def test_cifar10_is_the_official_one(cifar10):
    assert cifar10.train_images.shape == (50_000, 32, 32, 3)
    assert cifar10.test_images.shape == (10_000, 32, 32, 3)
    # As published with the data, and the first labels of the official files.
    np.testing.assert_allclose(
        cifar10.mean * 255, [125.307, 122.950, 113.865], atol=6e-4
    )
    np.testing.assert_allclose(cifar10.std * 255, [62.993, 62.089, 66.705], atol=6e-4)
    assert cifar10.train_labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert cifar10.test_labels[:5].tolist() == [3, 8, 8, 0, 6]
    assert np.bincount(cifar10.train_labels).tolist() == [5000] * 10
    assert np.bincount(cifar10.test_labels).tolist() == [1000] * 10
    rest, held_out = data.split(cifar10.train_labels, 0.1)
    assert len(rest) == 45_000
    assert np.bincount(cifar10.train_labels[held_out]).tolist() == [500] * 10


def test_cifar10_comes_from_the_cache_the_second_time(cifar10, monkeypatch):
    monkeypatch.setattr(data, "_decode", lambda source: pytest.fail("decoded again"))
    again = data.load("cifar10", data_dir=shared("data/tfds"))
    assert again.fingerprint == cifar10.fingerprint
    np.testing.assert_array_equal(again.train_images, cifar10.train_images)
    np.testing.assert_array_equal(again.test_labels, cifar10.test_labels)


def test_cifar10_in_the_cache_is_what_the_source_has(cifar10):
    source = data._source("test", shared("data/tfds"))
    for item in (source[i] for i in range(0, len(source), 500)):
        index = int(item["id"].decode().removeprefix("test_"))
        np.testing.assert_array_equal(cifar10.test_images[index], item["image"])
        assert cifar10.test_labels[index] == item["label"]
