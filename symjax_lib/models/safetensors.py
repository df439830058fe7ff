"""Reads `.safetensors` files: a header in JSON, then the arrays as they lie in memory.

Eight bytes hold the length of the header, little-endian; the header gives for every
name a dtype, a shape, and where its bytes begin and end, counted from the header's end.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

_DTYPES = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(jnp.bfloat16),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
_FIELDS = {"dtype", "shape", "data_offsets"}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Reads named arrays from a `.safetensors` file.

    Args:
      path: a file as written by `safetensors.torch.save_file`.

    Returns:
      The arrays by name, in the order of the header. They cannot be written to.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the header is not as the format has it, a dtype is unknown, or the
        arrays do not fill the rest of the file without gap or overlap.

    References:
      `The format <https://huggingface.co/docs/safetensors>`_.
    """
    content = Path(path).read_bytes()
    try:
        header, data = _header(content)
        entries = {name: _entry(name, fields) for name, fields in header.items()}
        _check_layout(entries, len(data))
        return {name: _array(name, entry, data) for name, entry in entries.items()}
    except _FormatError as error:
        raise ValueError(
            f"safetensors.read: {str(path)!r} is not an undamaged .safetensors file: "
            f"{error}; save it again, from PyTorch by "
            "safetensors.torch.save_file(model.state_dict(), path)."
        ) from error


class _FormatError(Exception):
    """What is wrong with a file."""


class _Entry(NamedTuple):
    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def _header(content: bytes) -> tuple[dict[str, Any], memoryview]:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise _FormatError(
            f"it has {len(content)} bytes, where 8 and a header of {length} should be"
        )
    text = content[8 : 8 + length]
    try:
        header = json.loads(text.decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _FormatError(f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise _FormatError("its header is not a JSON object")
    header.pop("__metadata__", None)
    return header, memoryview(content)[8 + length :]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a name is given twice")
    return mapping


def _entry(name: str, fields: Any) -> _Entry:
    if not isinstance(fields, dict) or set(fields) != _FIELDS:
        raise _FormatError(f"{name!r} does not have the fields {sorted(_FIELDS)}")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _FormatError(f"{name!r} has dtype {dtype!r}, not one of {[*_DTYPES]}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise _FormatError(
            f"{name!r} has shape {shape} and data_offsets {offsets}, which must be "
            "lists of integers from 0, the second one of two"
        )
    begin, end = offsets
    size = math.prod(shape) * _DTYPES[dtype].itemsize
    if end - begin != size:
        raise _FormatError(
            f"{name!r} of dtype {dtype} and shape {shape} takes {size} bytes, and its "
            f"data_offsets are {offsets}"
        )
    return _Entry(_DTYPES[dtype], tuple(shape), begin, end)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(x) is int and x >= 0 for x in value)


def _check_layout(entries: dict[str, _Entry], size: int) -> None:
    reached = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1][2:]):
        if entry.begin != reached:
            kind = "overlaps what precedes it" if entry.begin < reached else "has a gap"
            raise _FormatError(f"{name!r} {kind} at byte {entry.begin} of the data")
        reached = entry.end
    if reached != size:
        raise _FormatError(f"its arrays take {reached} bytes, and {size} are there")


def _array(name: str, entry: _Entry, data: memoryview) -> np.ndarray:
    values = np.frombuffer(data[entry.begin : entry.end], entry.dtype)
    try:
        return values.reshape(entry.shape)
    except ValueError as error:  # an empty array may have any number as an axis
        raise _FormatError(f"{name!r} has shape {[*entry.shape]} ({error})") from error
