"""Warnings, recorded for each thread by itself."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_own = threading.local()
_open: dict[str, Any] = {"n": 0, "filters": None}


@contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Yield a list that the first lines of this thread's warnings are added to.

    Filters of warnings belong to the whole process. The first thread to enter changes them, and the
    last one to leave brings them back.
    """
    _own.texts = texts = []
    with _lock:
        if _open["n"] == 0:
            _open["filters"] = warnings.catch_warnings()
            _open["filters"].__enter__()
            warnings.simplefilter("always")
            warnings.showwarning = _record
        _open["n"] += 1
    try:
        yield texts
    finally:
        with _lock:
            _open["n"] -= 1
            if _open["n"] == 0:
                _open["filters"].__exit__(None, None, None)


def _record(message, *_, **__):
    texts = getattr(_own, "texts", None)
    if texts is not None:
        texts.append((str(message).splitlines() or [""])[0])
