"""Arrays by name as one block of bytes in the safetensors format.

The format is eight bytes with the length of a header, the header (JSON: the dtype, the shape and
the place of each array) and the bytes of the arrays. Any library for safetensors reads what
:func:`to_bytes` writes. :func:`from_bytes` takes no memory before all places are checked: each
array has exactly the bytes that its shape asks for, and the arrays stand one behind the other.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("<i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("<u1"),
    "F16": np.dtype("<f2"),
    "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LENGTH = 8  # bytes before the header
_LARGEST_HEADER = 2**23  # some hundred thousand arrays


def has_name(dtype: np.dtype) -> bool:
    """Return whether the format has numbers of this dtype."""
    return dtype.newbyteorder("<") in _NAMES


def to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the arrays in the safetensors format."""
    header: dict[str, Any] = {}
    parts = []
    end = 0
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        part = array.astype(dtype, copy=False).tobytes()
        start, end = end, end + len(part)
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
        parts.append(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that numbers stand at multiples of eight bytes
    return b"".join([len(text).to_bytes(_LENGTH, "little"), text, *parts])


def from_bytes(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a block; they share its memory and cannot be written.

    Raises
    ------
    ValueError
        For what :func:`to_bytes` does not write.
    """
    n_header = int.from_bytes(data[:_LENGTH], "little")
    if len(data) < _LENGTH or n_header > min(len(data) - _LENGTH, _LARGEST_HEADER):
        raise ValueError("the tensors are cut off")
    header = json.loads(data[_LENGTH : _LENGTH + n_header], object_pairs_hook=unique_dict)
    if not isinstance(header, dict):
        raise ValueError("the header of the tensors is no dict")
    body = memoryview(data)[_LENGTH + n_header :]
    arrays = {}
    start = 0
    for name, entry in header.items():
        dtype, shape, n_bytes = _read_entry(name, entry, start)
        if n_bytes > len(body) - start:
            raise ValueError(f"the tensor {name!r} is cut off")
        arrays[name] = np.frombuffer(body[start : start + n_bytes], dtype).reshape(shape)
        start += n_bytes
        if dtype == np.bool_ and (arrays[name].view(np.uint8) > 1).any():
            raise ValueError(f"the tensor {name!r} has values that are no booleans")
    if start != len(body):
        raise ValueError(f"the tensors have {len(body) - start} bytes that belong to none")
    return arrays


def _read_entry(name: str, entry: Any, start: int) -> tuple[np.dtype, list[int], int]:
    """Return dtype, shape and number of bytes of an array that begins at ``start``."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the tensor {name!r} has no dtype, shape and data_offsets")
    shape = entry["shape"]
    is_size = isinstance(shape, list) and all(type(n) is int and 0 <= n < 2**48 for n in shape)
    if entry["dtype"] not in _DTYPES or not is_size or len(shape) > 8:
        raise ValueError(f"the tensor {name!r} has an unknown dtype or a wrong shape")
    dtype = _DTYPES[entry["dtype"]]
    n_bytes = math.prod(shape) * dtype.itemsize
    if entry["data_offsets"] != [start, start + n_bytes]:
        raise ValueError(f"the tensor {name!r} does not stand where the one before it ends")
    return dtype, shape, n_bytes


def unique_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the dict of a JSON object; raise ValueError where a name stands twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found
