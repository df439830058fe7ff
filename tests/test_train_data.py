import functools
import types

import jax.numpy as jnp
import numpy as np
import pytest
from paths import shared

from train import cache, data, sources
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
    monkeypatch.setitem(sources.BUILT_IN, "digits", lambda: arrays(500))
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
        monkeypatch.setitem(sources.BUILT_IN, "digits", lambda fake=fake: fake)
        prints.add(data.load("digits").fingerprint)
    assert len(prints) == 2


def test_missing_data_name_the_folder_and_the_way_out(tmp_path, monkeypatch):
    for name in ("cifar10", "fashion_mnist"):
        message = f"{tmp_path}/{name}; digits needs no files.*--data-dir"
        with pytest.raises(UserError, match=message) as error:
            data.load(name, data_dir=tmp_path)
        assert f"builder('{name}'" in str(error.value)
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

    assert same(cache.cached(path, build))
    assert same(cache.cached(path, build))
    assert len(built) == 1
    for count, damage in enumerate(damages(path)):
        path.write_bytes(damage)
        assert same(cache.cached(path, build)), count
        assert len(built) == 2 + count
    assert {p.name for p in path.parent.iterdir()} == {"a.npz", "other.npz"}


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "cache.npz"
    with pytest.warns(UserWarning, match="cannot be written, so not cached"):
        found = cache.cached(path, arrays)
    np.testing.assert_array_equal(found.train_images, arrays().train_images)


def test_a_damaged_data_set_is_one_error_that_names_it(tmp_path):
    version = tmp_path / "cifar10" / "3.0.2"
    version.mkdir(parents=True)
    (version / "dataset_info.json").write_text('{"name": "cif')
    with pytest.raises(UserError, match=f"the cifar10 in {tmp_path}/cifar10 cannot be"):
        data.load("cifar10", data_dir=tmp_path)


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Three images in a set of TensorFlow Datasets, of the colour that a file says."""

    def source(name, split, _, ids=True, count=3):
        fill = (tmp_path / split).read_bytes()[0]
        image = np.full((4, 4, 3), fill, np.uint8)
        splits = {
            part: types.SimpleNamespace(filepaths=[tmp_path / part], num_examples=count)
            for part in ("train", "test")
        }
        items = [{"image": image + i, "label": i} for i in (2, 0, 1)]
        for item in items if ids else ():
            item["id"] = b"%d" % item["label"]
        info = types.SimpleNamespace(splits=splits)
        return type("Source", (list,), {"dataset_info": info})(items)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "_source", source)
    for name in ("cifar10", "fashion_mnist"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / "dataset_info.json").touch()
    for split in ("train", "test"):
        (tmp_path / split).write_bytes(b"a")
    return source


def test_a_set_without_ids_stays_in_its_order(prepared, tmp_path, monkeypatch):
    without = functools.partial(prepared, ids=False)
    monkeypatch.setattr(sources, "_source", without)
    loaded = data.load("fashion_mnist", data_dir=tmp_path)
    assert loaded.train_labels.tolist() == [2, 0, 1]


def test_a_set_in_another_format_is_one_to_prepare(prepared, tmp_path, monkeypatch):
    def refuse(*_):
        raise NotImplementedError("no random access")

    monkeypatch.setattr(sources, "_source", refuse)
    with pytest.raises(UserError, match=r"no cifar10 in array_record format"):
        data.load("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["", "/nowhere/images", "../images", "a.npy"])
def test_a_name_that_is_no_set_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"a file of images ends in \.npz"):
        data.load(name, data_dir=tmp_path)


def test_a_set_with_images_missing_is_refused(prepared, tmp_path, monkeypatch):
    more = functools.partial(prepared, count=4)
    monkeypatch.setattr(sources, "_source", more)
    with pytest.raises(UserError, match=r"\[3, 3\].*own account \[4, 4\]"):
        data.load("cifar10", data_dir=tmp_path)


def test_a_file_of_images_and_labels(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 5, 6), dtype=np.uint8)
    labels = np.arange(20) % 2
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    loaded = data.load(str(tmp_path / "a.npz"))
    assert loaded.train_images.shape == (16, 5, 6, 1)
    assert loaded.test_labels.tolist() == [0, 1, 0, 1]
    rest, test = data.split(labels, 0.2)
    np.testing.assert_array_equal(loaded.test_images[..., 0], images[test])
    np.testing.assert_array_equal(loaded.train_images[..., 0], images[rest])
    four = arrays()._replace(train_labels=np.arange(6) % 3)
    np.savez(tmp_path / "b.npz", **four._asdict())
    again = data.load(str(tmp_path / "b.npz"))
    for name in data.Arrays._fields:
        np.testing.assert_array_equal(getattr(again, name), getattr(four, name))
    assert again.train_labels.dtype == np.int32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((6, 4, 4, 3))}, "uint8 from 0 to 255.*float64"),
        ({"images": np.zeros((6, 4), np.uint8)}, r"\(N, H, W, C\)"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8), "labels": []}, "fraction|uint8"),
        ({"labels": np.arange(5)}, "6 images and 5 labels"),
        ({"labels": np.arange(6) % 2 + 0.5}, "integers"),
        ({"labels": np.eye(6)}, r"must be 6 integers, .* \(6, 6\) of float64"),
        ({"labels": np.arange(6) // 3 * 2}, "without a gap"),
        ({"labels": np.arange(6) // 3 - 1}, "without a gap"),
        ({"labels": None}, "must have the arrays train_images.*it has images"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, change, message):
    good = {"images": np.zeros((6, 4, 4, 3), np.uint8), "labels": np.arange(6) // 3}
    stored = {k: v for k, v in (good | change).items() if v is not None}
    np.savez(tmp_path / "a.npz", **stored)
    with pytest.raises(UserError, match=message):
        data.load(str(tmp_path / "a.npz"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"test_images": np.zeros((6, 5, 4, 3), np.uint8)},
            r"\(4, 4, 3\).*\(5, 4, 3\)",
        ),
        ({"test_labels": np.full(6, 3)}, "from 0 to 2.*from 3 to 3"),
        ({"test_labels": np.zeros(5, int)}, "must be 6 integers"),
    ],
)
def test_test_images_that_do_not_fit_are_refused(tmp_path, change, message):
    good = arrays()._replace(train_labels=np.arange(6) % 3)._asdict()
    np.savez(tmp_path / "a.npz", **(good | change))
    with pytest.raises(UserError, match=message):
        data.load(str(tmp_path / "a.npz"))


def test_a_file_that_is_no_archive_or_not_there_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no archive")
    for name in ("a.npz", "b.npz"):
        with pytest.raises(UserError, match=f"{tmp_path}/{name} cannot be read"):
            data.load(str(tmp_path / name))


def test_cache_is_named_by_the_content_of_its_source(tmp_path, prepared):
    """Other files, of the same names and sizes, are decoded anew."""
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
    monkeypatch.setattr(sources, "_decode", lambda source: pytest.fail("decoded again"))
    again = data.load("cifar10", data_dir=shared("data/tfds"))
    assert again.fingerprint == cifar10.fingerprint
    np.testing.assert_array_equal(again.train_images, cifar10.train_images)
    np.testing.assert_array_equal(again.test_labels, cifar10.test_labels)


def test_cifar10_in_the_cache_is_what_the_source_has(cifar10):
    source = sources._source("cifar10", "test", shared("data/tfds"))
    for item in (source[i] for i in range(0, len(source), 500)):
        index = int(item["id"].decode().removeprefix("test_"))
        np.testing.assert_array_equal(cifar10.test_images[index], item["image"])
        assert cifar10.test_labels[index] == item["label"]
