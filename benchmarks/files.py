"""Files that are there as a whole or not at all, and folders in which one process works at a time.

What is written stands beside its place until the disk has it, and is then renamed: a full disk, a
killed process or a power cut leaves the old file or the new one, never half of it.
"""

import json
import shutil
import sys
import tempfile
from argparse import ArgumentTypeError
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.errors import HarnessError
from tabdl.kaggle.files import new_file, sync

WAIT_S = 5
"""Seconds after which a command says that it waits for another."""


def write_text(path, text):
    """Write a text file, UTF-8, in one step."""
    with new_file(path) as new:
        new.write_text(text, encoding="utf-8")


def write_json(path, value):
    """Write a value as JSON in one step."""
    write_text(path, json.dumps(value, indent=1) + "\n")


@contextmanager
def new_folder(folder):
    """Yield a new folder beside ``folder``; it takes the place of ``folder``, which may exist."""
    folder = Path(folder)
    new = folder.with_name(f".{folder.name}.new")
    old = folder.with_name(f".{folder.name}.old")
    for left_over in (new, old):  # of a command that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        yield new
        for path in (*new.rglob("*"), new):
            sync(path)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        sync(folder.parent)
    finally:
        for left_over in (new, old):
            shutil.rmtree(left_over, ignore_errors=True)


def writable_folder(text):
    """Return the path of a folder, a type of argparse: made where it is not there, and tried."""
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ArgumentTypeError(f"{text}: nothing can be written there ({error})") from error


def writable_file(text):
    """Return the path of a file to write, a type of argparse; its folder is made and tried."""
    path = Path(text)
    if path.is_dir():
        raise ArgumentTypeError(f"{text}: is a folder, not a file")
    writable_folder(path.parent)
    return path


@contextmanager
def locked(folder, wait=True):
    """Keep other processes away from a folder; the lock is a file beside it.

    Parameters
    ----------
    folder : path
    wait : bool
        Whether to wait for a process that works there, instead of raising a HarnessError.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        _acquire(lock, folder, wait)
    except OSError as error:
        raise HarnessError(f"{folder} could not be locked ({error})") from error
    try:
        yield
    finally:
        lock.release()


def _acquire(lock, folder, wait):
    try:
        lock.acquire(timeout=WAIT_S if wait else 0)
    except Timeout:
        if not wait:
            raise HarnessError(
                f"another command writes to {folder}: wait for its end, or give another --out"
            ) from None
        print(f"waiting for another command, which works on {folder}", file=sys.stderr, flush=True)
        lock.acquire()


def read_json(path, check):
    """Return the value in a JSON file; None if there is none, or a damaged one, which is named.

    Parameters
    ----------
    path : path
    check : callable
        Gets the value and raises ValueError where it is not what it has to be.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        check(value)
    except FileNotFoundError:
        return None
    except (ValueError, OSError, RecursionError) as error:
        tell_damaged(path, error)
        return None
    return value


def check_dict(value, what="it"):
    """Raise ValueError where a value is no dict."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no dict")


def tell_damaged(what, error):
    """Say that something in a folder cannot be read, once."""
    tell(f"{what} is damaged ({type(error).__name__}: {error}): it counts as absent")


@lru_cache(maxsize=1000)
def tell(line):
    """Print a line on stderr, the same one only once."""
    print(line, file=sys.stderr, flush=True)
