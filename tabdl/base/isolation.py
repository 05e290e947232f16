"""What a fit or a prediction expects of torch, whatever the caller has set."""

import contextlib
import functools
import random
import sys
from collections.abc import Iterator

import torch

from tabdl.training.devices import ProcessSetting, is_forked, threads

_NO_CONTEXT = contextlib.nullcontext()
_DEFAULT_DTYPE = ProcessSetting(torch.get_default_dtype, torch.set_default_dtype)


@contextlib.contextmanager
def isolated_torch() -> Iterator[None]:
    """Set what a fit or a prediction expects of torch while the context is open.

    Gradients are on, autocast is off, new tensors are float32 and on the CPU, whatever the caller
    has set. In a process that was forked torch has one thread. The caller's settings come back.
    """
    _import_rich()
    changes = _changes()
    with _all_of(changes) if changes else _NO_CONTEXT, _DEFAULT_DTYPE.held_at(torch.float32):
        yield


def _changes() -> list[contextlib.AbstractContextManager]:
    """Return the contexts that undo what the caller has set; usually there are none."""
    changes: list[contextlib.AbstractContextManager] = []
    if is_forked():
        changes.append(threads(1, 0))
    if torch.is_inference_mode_enabled():
        changes.append(torch.inference_mode(False))
    if not torch.is_grad_enabled():
        changes.append(torch.enable_grad())
    for kind in ("cpu", "cuda", "mps"):
        if torch.is_autocast_enabled(kind):
            changes.append(torch.autocast(kind, enabled=False))
    if torch.empty(0).device.type != "cpu":  # torch's own function takes twice as long
        changes.append(torch.device("cpu"))
    return changes


@contextlib.contextmanager
def _all_of(contexts: list[contextlib.AbstractContextManager]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


@functools.cache
def _import_rich() -> None:
    """Import rich, where it is installed, and leave the state of Python's ``random`` as it is.

    scikit-learn imports rich at the first use of its metrics or preprocessing, and rich draws a
    number when it is imported: a user's seed would mean something else after the first fit.
    """
    if "rich.style" in sys.modules:
        return
    state = random.getstate()
    with contextlib.suppress(ImportError):
        import rich.style  # noqa: F401
    random.setstate(state)
