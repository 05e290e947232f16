"""Files that are there as a whole or not at all, and one command a folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.errors import HarnessError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder, and keep other commands away from it.

    Raises
    ------
    HarnessError
        When another command works in the folder, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise HarnessError(
            f"Another command works in {folder}: wait for its end, or give another --out."
        ) from error
    except OSError as error:
        raise not_written(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def write_file(
    path: Path,
    save: Callable[[Path], object],
    check: Callable[[Path], object] | None = None,
) -> None:
    """Write a file beside its place, and rename it when it is on the disk.

    Parameters
    ----------
    path : Path
    save : callable
        Writes the file to the path that it gets.
    check : callable, optional
        Raises where the file that was written is wrong; the file at ``path`` then stays as it is.

    Raises
    ------
    HarnessError
        When the disk is full or the file cannot be written.
    """
    path = path.resolve()
    new = path.with_name(f".{path.stem}.new{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(new)
        if check is not None:
            check(new)
        _sync(new, os.O_RDWR)
        os.replace(new, path)
        if os.name == "posix":
            _sync(path.parent, os.O_RDONLY)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        new.unlink(missing_ok=True)


def _sync(path, flags):
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def not_written(path: Path, error: OSError) -> HarnessError:
    """Return the error for a file or folder that cannot be written."""
    return HarnessError(
        f"{path} could not be written ({error}). What was written before is kept; the same command "
        f"goes on there."
    )
