"""The reader of `.safetensors` against files written by hand, and by the package."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from symjax_lib.models import convert, safetensors

VALUES = {
    "BOOL": ("?", [True, False, True]),
    "U8": ("u1", [0, 255, 7]),
    "I8": ("i1", [-128, 127, 0]),
    "U16": ("<u2", [0, 65535, 256]),
    "I16": ("<i2", [-2, 32767, 256]),
    "U32": ("<u4", [0, 2**32 - 1, 65536]),
    "I32": ("<i4", [-2, 2**31 - 1, 65536]),
    "U64": ("<u8", [0, 2**64 - 1, 2**32]),
    "I64": ("<i8", [-2, 2**63 - 1, 2**32]),
    "F16": ("<f2", [0.5, -2.0, 65504.0]),
    "F32": ("<f4", [0.1, -2.0, 1e38]),
    "F64": ("<f8", [0.1, -2.0, 1e308]),
}


def packed(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def read(tmp_path, content, name="weights.safetensors"):
    path = tmp_path / name
    path.write_bytes(content)
    return convert.read(path)


@pytest.mark.parametrize("dtype", VALUES)
def test_each_dtype(tmp_path, dtype):
    numpy_dtype, values = VALUES[dtype]
    array = np.array(values, numpy_dtype)
    # One byte ahead, so that nothing is aligned.
    header = {
        "__metadata__": {"format": "pt"},
        "pad": entry("U8", [1], 0, 1),
        "x": entry(dtype, [3, 1], 1, 1 + array.nbytes),
    }
    state = read(tmp_path, packed(header, b"\7" + array.tobytes()))
    assert list(state) == ["pad", "x"]
    assert state["x"].dtype == array.dtype
    np.testing.assert_array_equal(state["x"], array[:, None])
    assert not state["x"].flags.writeable


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    array = np.array([1.5, -0.0078125, 3e38, 0.1], np.float32)
    halves = array.view(np.uint16).reshape(4, 2)[:, 1]
    data = halves.astype("<u2").tobytes()
    state = read(tmp_path, packed({"x": entry("BF16", [4], 0, 8)}, data))
    assert state["x"].dtype == jnp.bfloat16
    expected = np.stack([np.zeros(4, np.uint16), halves], 1).view(np.float32).ravel()
    np.testing.assert_array_equal(state["x"].astype(np.float32), expected)


def test_names_keep_the_order_of_the_header_and_not_of_the_data(tmp_path):
    data = np.arange(6, dtype="<f4").tobytes()
    header = {
        "b": entry("F32", [2, 2], 8, 24),
        "a": entry("F32", [2], 0, 8),
        "scalar": entry("F32", [], 24, 28),
        "none": entry("F32", [0, 5], 28, 28),
        "empty": entry("F32", [3, 0], 8, 8),
    }
    text = json.dumps(header).encode() + b"   "  # as the package aligns the data
    state = read(tmp_path, packed(text, data + np.float32(9).tobytes()))
    assert list(state) == list(header)
    assert state["b"].tolist() == [[2, 3], [4, 5]]
    assert state["a"].tolist() == [0, 1]
    assert state["scalar"].shape == ()
    assert state["scalar"] == 9
    assert state["none"].shape == (0, 5)
    assert state["empty"].shape == (3, 0)


def test_no_arrays(tmp_path):
    assert read(tmp_path, packed({})) == {}
    assert read(tmp_path, packed({"__metadata__": {"x": "y"}})) == {}


FOUR = entry("F32", [1], 0, 4)
DAMAGED = {
    "empty": (b"", "it has 0 bytes"),
    "short": (b"\1\0\0", "it has 3 bytes"),
    "header_beyond_the_end": (packed({})[:-1], "it has 9 bytes.* header of 2"),
    "enormous_header": (b"\xff" * 8 + b"{}", "header of 18446744073709551615"),
    "pickle": (b"\x80\x02}q\0." + b"x" * 100, "header of"),
    "not_json": (packed(b"{'x': 1}"), "not JSON"),
    "not_utf8": (packed(b'{"\xff": 1}'), "not JSON"),
    "deep": (packed(b'{"x":' + b"[" * 10**5), "not JSON"),
    "list": (packed([]), "not a JSON object"),
    "no_fields": (packed({"x": 3}), "'x' does not have the fields"),
    "another_field": (packed({"x": FOUR | {"y": 1}}, b"0000"), "fields"),
    "name_twice": (packed(b'{"x": {}, "x": {}}'), "twice"),
    "unknown_dtype": (packed({"x": entry("F128", [1], 0, 16)}, bytes(16)), "'F128'"),
    "list_as_dtype": (packed({"x": entry([], [1], 0, 4)}, b"0000"), "dtype"),
    "negative": (packed({"x": entry("F32", [-1], 0, 4)}, b"0000"), "from 0"),
    "fraction": (packed({"x": entry("F32", [1.0], 0, 4)}, b"0000"), "integers"),
    "true": (packed({"x": entry("F32", [True], 0, 4)}, b"0000"), "integers"),
    "three_offsets": (packed({"x": FOUR | {"data_offsets": [0, 4, 4]}}), "of two"),
    "backwards": (packed({"x": entry("F32", [1], 4, 0)}, b"0000"), "takes 4 bytes"),
    "wrong_size": (packed({"x": entry("F32", [3], 0, 8)}, bytes(8)), "takes 12 bytes"),
    "truncated": (packed({"x": entry("F32", [2], 0, 8)}, bytes(7)), "8 bytes, and 7"),
    "left_over": (packed({"x": FOUR}, bytes(5)), "take 4 bytes, and 5"),
    "gap": (
        packed({"x": FOUR, "y": entry("U8", [1], 5, 6)}, bytes(6)),
        "'y' has a gap",
    ),
    "overlap": (
        packed({"x": FOUR, "y": entry("F32", [1], 2, 6)}, bytes(6)),
        "'y' overlaps",
    ),
    "same_bytes": (packed({"x": FOUR, "y": FOUR}, bytes(4)), "'y' overlaps"),
    "axis_beyond_an_integer": (packed({"x": entry("F32", [0, 2**70], 0, 0)}), "shape"),
    "too_many_axes": (packed({"x": entry("U8", [1] * 99, 0, 1)}, b"0"), "shape"),
}


@pytest.mark.parametrize(("content", "problem"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_named(tmp_path, content, problem):
    message = rf"safetensors.read: .*weights\.safetensors.*{problem}.*save_file"
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


def test_any_change_of_the_header_is_an_array_or_a_named_error(tmp_path):
    data = np.arange(6, dtype="<f4").tobytes()
    header = {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2, 2], 8, 24)}
    content, rng = packed(header, data), np.random.default_rng(0)
    messages = []
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content) - len(data), 2):
            damaged[place] = rng.integers(256)
        try:
            state = read(tmp_path, bytes(damaged))
        except ValueError as error:
            messages.append(str(error))
        else:
            assert sum(array.nbytes for array in state.values()) == len(data)
    assert len(messages) > 200
    assert all("not an undamaged .safetensors file" in text for text in messages)


def test_read_of_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        safetensors.read(tmp_path / "none.safetensors")


def test_a_file_of_the_package(tmp_path):
    package = pytest.importorskip("safetensors.numpy", reason="needs safetensors")
    rng = np.random.default_rng(0)
    state = {
        "layer1.0.conv1.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "bn1.num_batches_tracked": np.array(7),
        "half": rng.normal(size=5).astype(np.float16),
        "empty": np.zeros((0, 3)),
    }
    package.save_file(state, tmp_path / "state.safetensors", metadata={"format": "pt"})
    got = convert.read(tmp_path / "state.safetensors")
    assert set(got) == set(state)
    for name, array in state.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)
