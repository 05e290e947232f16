"""Files that are there as a whole or not at all, and one command a folder."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tabdl.kaggle.errors import CompetitionError


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Make a folder, and keep other commands away from it; one process may lock it again.

    Parameters
    ----------
    folder : Path
    wait : bool
        Whether to wait for a command that works in the folder, instead of raising.

    Raises
    ------
    CompetitionError
        When another command works in the folder, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.resolve() / ".lock", is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            if not wait:
                raise CompetitionError(
                    f"Another command works in {folder}: wait for its end (--wait does), or give "
                    f"another --out."
                ) from error
            print(f"Waiting for the command that works in {folder}.", file=sys.stderr, flush=True)
            lock.acquire()
    except OSError as error:
        raise not_written(folder, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Yield a path beside ``path``; what the block writes there takes the place of ``path``.

    The file has its name when it is on the disk: a full disk, a killed process or a power cut
    leaves the old file or the new one, never half of it.

    Raises
    ------
    OSError
        When the disk is full or the file cannot be written.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.stem}.{os.getpid()}.new{path.suffix}")
    try:
        yield new
        sync(new)
        os.replace(new, path)
        if os.name == "posix":
            sync(path.parent)
    finally:
        new.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(
    path: Path,
    save: Callable[[Path], object],
    check: Callable[[Path], object] | None = None,
) -> None:
    """Write a file as a whole, see :func:`new_file`.

    Parameters
    ----------
    path : Path
    save : callable
        Writes the file to the path that it gets.
    check : callable, optional
        Raises where the file that was written is wrong; the file at ``path`` then stays as it is.

    Raises
    ------
    CompetitionError
        When the disk is full or the file cannot be written.
    """
    try:
        with new_file(path) as new:
            save(new)
            if check is not None:
                check(new)
    except OSError as error:
        raise not_written(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, in one step."""
    write_file(path, lambda new: new.write_text(text, encoding="utf-8"))


def not_written(path: Path, error: OSError) -> CompetitionError:
    """Return the error for a file or folder that cannot be written."""
    return CompetitionError(
        f"{path} could not be written ({error}). What was written before is kept; the same command "
        f"goes on there."
    )
