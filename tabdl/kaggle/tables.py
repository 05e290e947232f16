"""Tables from files: Parquet, or text in any encoding and with any separator that can be found out.

Text may be compressed: gz, bz2, xz, or a zip with one table in it.
"""

import bz2
import codecs
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from tabdl.kaggle.columns import as_text
from tabdl.kaggle.errors import CompetitionError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # starts as UTF-16's mark does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OPEN = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_UNREADABLE = (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_PARQUET = (".parquet", ".pq")
_HEAD_BYTES = 65_536
_SEPARATORS = (",", ";", "\t", "|")
_DECIMAL_COMMA = r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?"


@dataclass(frozen=True)
class TableFile:
    """A table and the file that it comes from.

    Attributes
    ----------
    path : Path
    table : DataFrame
        The names of its columns are text, and differ.
    how : dict or None
        Options of ``pandas.read_csv`` that read the file; None for Parquet and for tables in
        memory.
    """

    path: Path
    table: pd.DataFrame
    how: dict[str, Any] | None
    _parts: "tuple[TableFile, ...]" = ()
    _names: dict[str, pd.Series] = field(default_factory=dict, repr=False)

    def text(self, name: str) -> pd.Series:
        """Return a column as it is written in the file, missing where it is empty or says so."""
        return self._written(name, keep_default_na=True)

    def names(self, name: str) -> pd.Series:
        """Return a column as it is written in the file; "NA" is a text like any other."""
        if name not in self._names:
            self._names[name] = self._written(name, keep_default_na=False, na_values=[""])
        return self._names[name]

    def _written(self, name, **missing):
        if self._parts:
            columns = [
                part._written(name, **missing)
                if name in part.table
                else pd.Series(None, index=part.table.index, dtype=object)
                for part in self._parts
            ]
            return pd.concat(columns, ignore_index=True)
        if self.how is None:
            return as_text(self.table.loc[:, name])
        options: Any = {**self.how, "dtype": str, **missing}
        with _opened(self.path) as file:
            return pd.read_csv(file, usecols=[name], **options)[name]


def read_table(source: Path | str | pd.DataFrame, name: str = "table") -> TableFile:
    """Return the table of a file, or one that is in memory.

    Parameters
    ----------
    source : path or DataFrame
    name : str
        What messages call a table in memory.

    Raises
    ------
    CompetitionError
        When the file cannot be read, has no rows, or has a name of a column twice.
    """
    if isinstance(source, pd.DataFrame):
        file = _from_memory(Path(name), source)
    else:
        file = _from_file(Path(source))
    if len(file.table) == 0:
        raise CompetitionError(f"{file.path} has no rows.")
    _refuse_twice(file.path, list(file.table.columns))
    return file


def stacked(first: TableFile, second: TableFile, table: pd.DataFrame) -> TableFile:
    """Return two files as one, the rows of ``first`` before those of ``second``.

    Parameters
    ----------
    first, second : TableFile
    table : DataFrame
        The rows of both.
    """
    return TableFile(first.path, table, None, (first, second))


def _from_file(path):
    if path.is_dir():
        raise CompetitionError(f"{path} is a folder; give the file in it.")
    try:
        return _read_parquet(path) if path.suffix.lower() in _PARQUET else _read_csv(path)
    except ImportError as error:
        raise CompetitionError(f"{path} needs the package pyarrow: pip install pyarrow.") from error
    except _UNREADABLE as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CompetitionError(f"{path} cannot be read as a table: {reason[0]}") from error


def _refuse_twice(path, names):
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise CompetitionError(
            f"{path} has the column {twice[0]!r} more than once; give each column a name of its "
            f"own."
        )


def _from_memory(path, table):
    named = [name for name in table.index.names if name is not None]
    table = table.reset_index(named) if named else table
    table = table.set_axis(pd.Index([str(name) for name in table.columns]), axis=1)
    return TableFile(path, table.reset_index(drop=True), None)


def _read_parquet(path):
    return _from_memory(path, pd.read_parquet(path))


# --- text


def _read_csv(path):
    with _opened(path) as file:
        head = file.read(_HEAD_BYTES)
    if not head.strip(b"\x00 \r\n\t"):
        raise ValueError("it is empty")
    for encoding in _encodings(head):
        how = {"encoding": encoding, "sep": _separator(head, encoding)}
        try:
            header = _parse(path, how, header=None, nrows=1, dtype=str, keep_default_na=False)
            table = _parse(path, how, low_memory=False)
        except UnicodeError:
            continue
        break
    else:
        raise ValueError("its encoding is unknown; write it as UTF-8")
    _refuse_twice(path, header.iloc[0].tolist())
    if encoding not in ("utf-8", "utf-8-sig"):
        print(f"{path} is not UTF-8; it is read as {encoding}.", flush=True)
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("its rows have more values than its header has names")
    if how["sep"] != "," and _has_decimal_commas(table):
        how["decimal"] = ","
        table = _parse(path, how, low_memory=False)
        print(f"{path} has decimal commas.", flush=True)
    return TableFile(path, table, how)


def _parse(path, how, **more):
    with _opened(path) as file:
        return pd.read_csv(file, **how, **more)


@contextmanager
def _opened(path) -> Iterator[Any]:
    """Open a file of text, compressed or not, as bytes."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(_member(archive)) as file:
            yield file
    else:
        with _OPEN.get(path.suffix.lower(), open)(path, "rb") as file:
            yield file


def _member(archive):
    """Return the name of the one table in a zip."""
    names = [
        name
        for name in archive.namelist()
        if not name.endswith("/") and not name.startswith("__MACOSX") and "/." not in f"/{name}"
    ]
    if len(names) != 1:
        raise ValueError(
            f"a zip must hold one table; this one holds {', '.join(names[:5]) or 'none'}. Unpack it"
        )
    return names[0]


def _encodings(head):
    """Return the encodings that a file may have, in the order in which to try them."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return (encoding,)
    even, odd = head[::2].count(0), head[1::2].count(0)
    if even or odd:
        # Letters of most languages' tables have a zero byte in UTF-16, on one side.
        return ("utf-16-le",) if odd > even else ("utf-16-be",)
    return ("utf-8", "cp1252", "latin-1")


def _separator(head, encoding):
    """Return the sign that stands equally often in each of the first lines; a comma if none does.

    Signs between quotes do not count.
    """
    text = re.sub(r'"[^"]*"', "", head.decode(encoding, errors="replace"))
    lines = [line for line in text.splitlines() if line.strip()]
    lines = lines[:-1][:50] if len(lines) > 1 and len(head) == _HEAD_BYTES else lines[:50]

    def evenness(sign):
        counts = [line.count(sign) for line in lines]
        n_even = sum(count == counts[0] for count in counts)
        return (n_even, counts[0]) if counts[0] else (0, 0)

    best = max(_SEPARATORS, key=evenness)  # of equals the first
    return best if evenness(best)[1] else ","


def _has_decimal_commas(table):
    """Return whether a column of text holds nothing but numbers, some with a comma."""
    for name in table.columns[[not pd.api.types.is_numeric_dtype(t) for t in table.dtypes]]:
        texts = table[name].dropna().astype(str).str.strip()
        is_number = texts.str.fullmatch(_DECIMAL_COMMA)
        if len(texts) and is_number.all() and texts.str.contains(",").any():
            return True
    return False
