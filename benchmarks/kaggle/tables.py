"""Tables from files: CSV in any encoding that can be found out, or Parquet."""

import bz2
import codecs
import gzip
import lzma
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.errors import HarnessError
from benchmarks.kaggle.columns import as_text

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # starts as UTF-16's mark does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OPEN = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_UNREADABLE = (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


@dataclass(frozen=True)
class TableFile:
    """A table and the file that it comes from.

    Attributes
    ----------
    path : Path
    table : DataFrame
        The names of its columns are text, and differ.
    encoding : str or None
        Of a CSV file; None for Parquet.
    """

    path: Path
    table: pd.DataFrame
    encoding: str | None
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
        if self.encoding is None:
            return as_text(self.table.loc[:, name])
        options: Any = {"encoding": self.encoding, "dtype": str, **missing}
        return pd.read_csv(self.path, usecols=[name], **options)[name]


def read_table(path: Path) -> TableFile:
    """Return the table of a file.

    Raises
    ------
    HarnessError
        When the file cannot be read, has no rows, or has a name of a column twice.
    """
    try:
        file = _read_parquet(path) if path.suffix in (".parquet", ".pq") else _read_csv(path)
    except ImportError as error:
        raise HarnessError(f"{path} needs the package pyarrow: pip install pyarrow.") from error
    except _UNREADABLE as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise HarnessError(f"{path} cannot be read as a table: {reason[0]}") from error
    if len(file.table) == 0:
        raise HarnessError(f"{path} has no rows.")
    _refuse_twice(path, list(file.table.columns))
    return file


def _refuse_twice(path, names):
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise HarnessError(
            f"{path} has the column {twice[0]!r} more than once; give each column a name of its "
            f"own."
        )


def _read_parquet(path):
    table = pd.read_parquet(path)
    named = [name for name in table.index.names if name is not None]
    table = table.reset_index(named) if named else table
    table.columns = pd.Index([str(name) for name in table.columns])
    return TableFile(path, table.reset_index(drop=True), None)


def _read_csv(path):
    for encoding in _encodings(path):
        try:
            header = pd.read_csv(
                path, encoding=encoding, header=None, nrows=1, dtype=str, keep_default_na=False
            )
            table = pd.read_csv(path, encoding=encoding, low_memory=False)
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
    return TableFile(path, table, encoding)


def _encodings(path):
    """Return the encodings that a file may have, in the order in which to try them."""
    head = _head(path)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return (encoding,)
    even, odd = head[::2].count(0), head[1::2].count(0)
    if even or odd:
        # Letters of most languages' tables have a zero byte in UTF-16, on one side.
        return ("utf-16-le",) if odd > even else ("utf-16-be",)
    return ("utf-8", "cp1252", "latin-1")


def _head(path, n_bytes=4096):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
            return file.read(n_bytes)
    with _OPEN.get(path.suffix, open)(path, "rb") as file:
        return file.read(n_bytes)
