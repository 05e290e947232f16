"""Tasks side by side on the cores of a processor, without waiting at each operation.

OpenMP's threads share out one operation. They meet at its end, and those that are done spin until
the last is there. Beside another busy process a step so takes several times as long as with one
thread. The threads of a :class:`Team` meet once for many operations and sleep meanwhile. Results do
not depend on their number.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch


class Team:
    """Threads of Python that take tasks from a queue; open it as a context.

    Torch's operations leave Python's lock, so the tasks run at once. The threads that torch has are
    shared out: with six of them and three tasks there are three workers, with two threads each.

    Parameters
    ----------
    n_tasks : int
        The most tasks at once.
    n_threads_each : int, optional
        OpenMP's threads for a task; None: this thread's, shared out.

    Attributes
    ----------
    n_workers : int
        1: the tasks run in the thread that asks for them.
    n_threads_each : int
    """

    def __init__(self, n_tasks: int, n_threads_each: int | None = None) -> None:
        n_threads = torch.get_num_threads()
        self.n_workers = max(1, min(n_threads, n_tasks))
        self.n_threads_each = n_threads_each or n_threads // self.n_workers
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> "Team":
        if self.n_workers > 1:
            self._pool = ThreadPoolExecutor(
                self.n_workers, "tabdl", torch.set_num_threads, (self.n_threads_each,)
            )
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(self, function: Callable[..., Any], *arguments: Iterable[Any]) -> Iterator[Any]:
        """Yield the results of ``function`` in the order of the arguments."""
        return (map if self._pool is None else self._pool.map)(function, *arguments)

    @contextlib.contextmanager
    def share(self) -> Iterator[None]:
        """Leave this thread as many of OpenMP's threads as each worker has."""
        before = torch.get_num_threads()
        if before == self.n_threads_each:
            yield
            return
        torch.set_num_threads(self.n_threads_each)
        try:
            yield
        finally:
            torch.set_num_threads(before)


class Faster:
    """Chooses between two ways of the same work by the time that they take, again and again.

    In each round of 50 pieces of work the first six try both ways in turn. The others take the way
    whose median was smaller.
    """

    def __init__(self) -> None:
        self.n_done = 0
        self.seconds: dict[bool, list[float]] = {True: [], False: []}

    @contextlib.contextmanager
    def timed(self, size: int) -> Iterator[bool]:
        """Yield whether to take the first way, and take its time.

        Parameters
        ----------
        size : int
            The size of the work, which the seconds are divided by.
        """
        number = self.n_done % 50
        if number == 0:
            self.seconds = {True: [], False: []}
        is_trial = number < 6
        way = number % 2 == 0 if is_trial else self._best()
        start = time.perf_counter()
        yield way
        if is_trial:
            self.seconds[way].append((time.perf_counter() - start) / size)
        self.n_done += 1

    def _best(self):
        return bool(np.median(self.seconds[True]) <= np.median(self.seconds[False]))


@contextlib.contextmanager
def one_or_all(faster: Faster, size: int) -> Iterator[None]:
    """Do work with one of OpenMP's threads or with all of this thread's, whichever was faster.

    The last digits of results may depend on the number.

    Parameters
    ----------
    faster : Faster
        Of the same kind of work.
    size : int
        See :meth:`Faster.timed`.
    """
    n_threads = torch.get_num_threads()
    with faster.timed(size) as is_all:
        torch.set_num_threads(n_threads if is_all else 1)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)
