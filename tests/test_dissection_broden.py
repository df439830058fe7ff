"""The reader of Broden's layout: drawn data, damaged data, and real photographs."""

import csv
import shutil

import numpy as np
import pytest
from paths import shared
from PIL import Image

from symjax_lib import dissection


@pytest.fixture
def folder(tmp_path):
    dissection.draw(tmp_path / "data", images=3, size=32)
    return tmp_path / "data"


def edit(path, change):
    rows = list(csv.DictReader(path.read_text().splitlines()))
    rows = change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_drawn_images_show_what_their_labels_say(tmp_path):
    data = dissection.draw(tmp_path / "data", images=30, size=32)
    assert data.categories == ("color", "object", "texture")
    assert (data.length, len(data.names)) == (30, 9)
    pure = {"red-c": (255, 0, 0), "yellow-c": (255, 255, 0)}
    seen = set()
    for i in range(data.length):
        item = data.read(i)
        names = [data.names[c] for c in item.concepts]
        seen |= {*names}
        small = item.image[::2, ::2]
        for name, mask in zip(names, item.masks, strict=True):
            if name in pure:
                same = (small == pure[name]).all(axis=-1)
                np.testing.assert_array_equal(mask, same)
        # Every shape has one colour, and every colour is of a shape.
        of = lambda category, item=item: [
            mask
            for c, mask in zip(item.concepts, item.masks, strict=True)
            if data.categories[data.category[c]] == category
        ]
        assert len(of("texture")) == 1
        assert of("texture")[0].all()
        np.testing.assert_array_equal(
            np.sum(of("object"), axis=0), np.sum(of("color"), axis=0)
        )
        assert np.sum(of("object"), axis=0).max() == 1
        grey = item.image[(item.image == item.image[..., :1]).all(axis=-1)]
        assert (len(np.unique(grey)) > 1) == ("striped" in names)
    assert seen == {*data.names}


def test_drawing_is_the_same_for_a_seed(tmp_path):
    one, two = (dissection.draw(tmp_path / n, images=2, size=32) for n in "ab")
    other = dissection.draw(tmp_path / "c", images=2, size=32, seed=1)
    for i in range(2):
        np.testing.assert_array_equal(one.read(i).image, two.read(i).image)
        assert (one.read(i).image != other.read(i).image).any()


def test_labels_of_several_maps_and_numbers_above_255(folder):
    """A second map of objects, a label for the whole image, and one that is large."""
    first = dissection.read(folder).read(0)
    number = 300
    labels = np.zeros((16, 16, 3), np.uint8)
    labels[2:4, 5:9] = number % 256, number // 256, 7
    Image.fromarray(labels).save(folder / "images" / "more.png")
    new = {"number": number, "name": "wheel", "category": "part(1);object(5)"}
    edit(folder / "label.csv", lambda rows: [new, *rows])
    row = "0000_object.png;more.png;7"
    edit(
        folder / "index.csv",
        lambda rows: [{**rows[0], "object": row}, *rows[1:]],
    )
    data = dissection.read(folder)
    assert data.names[-1] == "wheel"  # in the order of numbers
    assert data.categories[data.category[-1]] == "object"  # where it is most often
    item = data.read(0)
    masks = dict(zip(item.concepts.tolist(), item.masks, strict=True))
    expected = np.zeros((16, 16), bool)
    expected[2:4, 5:9] = True
    np.testing.assert_array_equal(masks[data.names.index("wheel")], expected)
    assert masks[data.names.index("cross")].all()  # number 7, of the image
    assert len(first.concepts) <= len(item.concepts)


def test_a_split_has_its_images_only(tmp_path):
    dissection.draw(tmp_path / "data", images=11, size=32)
    lengths = {
        s: dissection.read(tmp_path / "data", split=s).length for s in ("train", "val")
    }
    assert lengths == {"train": 9, "val": 2}
    with pytest.raises(ValueError, match="has no image of 'test'"):
        dissection.read(tmp_path / "data", split="test")


def test_damaged_folders_are_refused(folder):
    (folder / "category.csv").rename(folder / "hidden")
    with pytest.raises(ValueError, match=r"there is no .*category.csv; name a folder"):
        dissection.read(folder)
    (folder / "hidden").rename(folder / "category.csv")
    with pytest.raises(ValueError, match="is not empty"):
        dissection.draw(folder)
    image = folder / "images" / "0001.png"
    shutil.copy(folder / "images" / "0001_color.png", image)
    with pytest.raises(ValueError, match=r"has \(16, 16\) pixels, index.csv says"):
        dissection.read(folder).read(1)
    image.write_text("no picture")
    with pytest.raises(ValueError, match=r"0001.png was not read"):
        dissection.read(folder).read(1)
    image.unlink()
    with pytest.raises(ValueError, match=r"0001.png was not read"):
        dissection.read(folder).read(1)
    dissection.read(folder).read(0)
    edit(folder / "label.csv", lambda rows: rows[4:])
    with pytest.raises(ValueError, match=r"0000.png has the label \d, which label.csv"):
        dissection.read(folder).read(0)
    edit(folder / "label.csv", lambda rows: [{**rows[0], "category": "scene(3)"}])
    with pytest.raises(ValueError, match=r"of 'scene\(3\)', and category.csv has"):
        dissection.read(folder)
    edit(folder / "index.csv", lambda rows: [{"image": row["image"]} for row in rows])
    with pytest.raises(ValueError, match="index.csv has no column split, ih, iw, sh"):
        dissection.read(folder)


def test_real_photographs():
    real = shared("data/minibroden_224")
    data = dissection.read(real)
    assert (data.length, len(data.names)) == (880, 67)
    counts = np.bincount(data.category, minlength=4)
    assert dict(zip(data.categories, counts.tolist(), strict=True)) == {
        "color": 11, "part": 2, "object": 44, "texture": 10,
    }  # fmt: skip
    rows = list(csv.DictReader((real / "index.csv").read_text().splitlines()))
    for i in (0, 1, 3):
        item = data.read(i)
        assert item.image.shape == (224, 224, 3)
        assert item.masks.shape[1:] == (112, 112)
        numbers = {
            int(number)
            for category in data.categories
            for value in filter(None, rows[i][category].split(";"))
            for number in (
                [value]
                if value.isdigit()
                else np.unique(np.array(Image.open(real / "images" / value))[..., 0])
            )
        } - {0}
        assert {*(item.concepts + 1).tolist()} == numbers
    # How many images have each concept is what the table states.
    found = np.zeros(67, int)
    for i in range(880):
        found[data.read(i).concepts] += 1
    table = csv.DictReader((real / "label.csv").read_text().splitlines())
    assert found.tolist() == [int(row["frequency"]) for row in table]
