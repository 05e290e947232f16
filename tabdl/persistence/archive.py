"""The container of a saved estimator: a zip with three parts, none of them compressed.

================== ============================================================================
manifest.json      The number of the format, and the versions that wrote the file.
estimator.json     The tree of plain values, see ``tree.py``.
tensors.safetensors The arrays that the tree names.
================== ============================================================================

A new parameter of an estimator needs no new format: a file without it means its default. Another
change of what a state holds is a new format, and the reader lifts the trees of older ones. Format 2
has boosted trees of other libraries (``foreign.py``); a file without these has format 1, so that
older versions read it.
"""

import json
import os
import platform
import secrets
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tabdl.exceptions import tabdl_version
from tabdl.persistence.tensors import from_bytes, to_bytes, unique_dict

FORMAT = 2
FORMAT_WITHOUT_FOREIGN = 1
_MANIFEST, _TREE, _TENSORS = "manifest.json", "estimator.json", "tensors.safetensors"
# Python objects take some thirty times the memory of the JSON text that they come from.
_LARGEST_JSON = 2**26
_TIME = (1980, 1, 1, 0, 0, 0)  # equal estimators give equal files


def write_archive(
    file: str | os.PathLike | BinaryIO,
    tree: Any,
    arrays: Mapping[str, np.ndarray],
    number: int,
) -> None:
    """Write a file; a path holds the whole file or what it held before.

    Parameters
    ----------
    file : path or binary file
    tree : JSON values
    arrays : dict from name to array
    number : int
        The number of the format.
    """
    text = json.dumps(tree, allow_nan=False)
    if len(text) > _LARGEST_JSON:
        raise ValueError(
            f"the plain values of the estimator take {len(text):,} bytes, more than a file may "
            f"have, {_LARGEST_JSON:,}; it has very many categories or classes."
        )
    versions = {name: version(name) for name in ("torch", "numpy", "scikit-learn", "pandas")}
    manifest = {
        "format": number,
        "tabdl": tabdl_version(),
        "python": platform.python_version(),
        **versions,
    }
    parts = {
        _MANIFEST: json.dumps(manifest, indent=1).encode(),
        _TREE: text.encode(),
        _TENSORS: to_bytes(arrays),
    }
    if not isinstance(file, str | os.PathLike):
        _write_parts(file, parts)
        return
    path = Path(file)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(beside, "xb") as stream:
            _write_parts(stream, parts)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _write_parts(stream: BinaryIO, parts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), data)


def read_archive(stream: BinaryIO) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the tree and the arrays of a file.

    No memory is taken beyond a multiple of the size of the file.

    Raises
    ------
    ValueError
        For a file that :func:`write_archive` does not write, or one of a newer format.
    """
    n_bytes = stream.seek(0, os.SEEK_END)
    with zipfile.ZipFile(stream) as archive:
        parts = archive.infolist()
        if sorted(part.filename for part in parts) != sorted([_MANIFEST, _TREE, _TENSORS]):
            raise ValueError(f"it must have the parts {_MANIFEST}, {_TREE} and {_TENSORS} alone")
        for part in parts:
            is_stored = part.compress_type == zipfile.ZIP_STORED and not part.flag_bits & 1
            if not is_stored or part.file_size != part.compress_size or part.file_size > n_bytes:
                raise ValueError(f"{part.filename} must be neither compressed nor encrypted")
        _check_manifest(_read_json(archive, _MANIFEST))
        return _read_json(archive, _TREE), from_bytes(archive.read(_TENSORS))


def _read_json(archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > _LARGEST_JSON:
        raise ValueError(f"{name} is larger than {_LARGEST_JSON:,} bytes")
    return json.loads(
        archive.read(name), object_pairs_hook=unique_dict, parse_constant=_refuse_constant
    )


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _check_manifest(manifest: Any) -> None:
    number = manifest.get("format") if isinstance(manifest, dict) else None
    if type(number) is not int or number < 1:
        raise ValueError(f"{_MANIFEST} has no format")
    if number > FORMAT:
        raise ValueError(
            f"it has format {number}, written by tabdl {str(manifest.get('tabdl'))[:40]!r}; this "
            f"tabdl {tabdl_version()} reads formats up to {FORMAT}. Install a newer tabdl: "
            "pip install -U tabdl"
        )
