"""Folds on several CUDA devices: one thread for each device, one fold after the other on it."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from tabdl.base.estimator import TabularEstimator
from tabdl.ensemble.boosting import last_step


def devices_for(estimator: Any) -> list[str | None]:
    """Return the devices to share the folds of an estimator out to.

    All CUDA devices, where a network of tabdl has ``device="cuda"`` or ``"auto"`` and the machine
    has several. Else one entry, None: each fold goes where the estimator says.

    Parameters
    ----------
    estimator : estimator, or a Pipeline that ends with one
    """
    last = last_step(estimator)[1]
    is_open = isinstance(last, TabularEstimator) and str(last.device) in ("auto", "cuda")
    n_devices = torch.cuda.device_count() if is_open and torch.cuda.is_available() else 0
    return [f"cuda:{i}" for i in range(n_devices)] if n_devices > 1 else [None]


@contextlib.contextmanager
def placed(estimators: Sequence[Any], device: str | None) -> Iterator[None]:
    """Let estimators train on a device while the context is open; their parameter comes back."""
    if device is None:
        yield
        return
    lasts = [last_step(estimator)[1] for estimator in estimators]
    before = [last.device for last in lasts]
    for last in lasts:
        last.device = device
    try:
        with torch.cuda.device(device):
            yield
    finally:
        for last, own in zip(lasts, before, strict=True):
            last.device = own


class SideBySide:
    """Tasks shared out to devices in turn; open it as a context, in which they begin.

    With one device a task runs in the thread that asks for its result, when it asks. An exception
    that leaves the context, as Ctrl-C does, asks the tasks that run to stop.

    Parameters
    ----------
    task : callable
        ``(number of the task, device)`` to its result.
    devices : list of str or None
    n_tasks : int

    Attributes
    ----------
    is_stopping : threading.Event
        Set when tasks that still run should end; callbacks of training read it.
    """

    def __init__(
        self, task: Callable[[int, Any], Any], devices: Sequence[str | None], n_tasks: int
    ) -> None:
        self.task = task
        self.n_tasks = n_tasks
        self.devices = devices
        self.is_stopping = threading.Event()
        self._pools: list[ThreadPoolExecutor] = []
        self._futures: list[Future] = []

    def __enter__(self) -> "SideBySide":
        if len(self.devices) > 1:
            self._pools = [ThreadPoolExecutor(1, "tabdl") for _ in self.devices]
            self._futures = [
                self._pools[i % len(self.devices)].submit(self.task, i, self.device(i))
                for i in range(self.n_tasks)
            ]
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stop()

    def device(self, i: int) -> str | None:
        """Return the device of a task."""
        return self.devices[i % len(self.devices)]

    def result(self, i: int) -> Any:
        """Return the result of a task, or raise what it raised."""
        return self._futures[i].result() if self._futures else self.task(i, self.device(i))

    def stop(self) -> None:
        """Begin no further task, and wait until those that run have ended."""
        self.is_stopping.set()
        for future in self._futures:
            future.cancel()
        for pool in self._pools:
            pool.shutdown()

    def watched(self, callback: Callable[[dict], Any] | None) -> Callable[[dict], Any] | None:
        """Return a callback of training that also ends it when tasks are to stop."""
        if len(self.devices) == 1:
            return callback

        def watch(record):
            if callback is not None:
                callback(record)
            return self.is_stopping.is_set()

        return watch
