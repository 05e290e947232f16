"""Training in a process of its own, which can be ended at any moment.

Estimators of the user know no time limit. What they do in another process ends with it.
"""

import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

from tabdl.kaggle.models import ModelSpec
from tabdl.kaggle.store import TrainedFold
from tabdl.kaggle.training import Setting, train_fold

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from tabdl.kaggle.worker import work; work()"
)
_READY = "ready"


class TimeIsOver(Exception):
    """A training did not end within its time."""


class Worker:
    """A process that trains folds, one after the other.

    Parameters
    ----------
    setting : Setting
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._process: subprocess.Popen | None = None
        self._is_new = True
        self._messages: queue.Queue = queue.Queue()
        self._answers: queue.Queue = queue.Queue()

    def train(
        self, spec: ModelSpec, number: int, seconds: float, left: float, with_importances: bool
    ) -> TrainedFold:
        """Return what :func:`tabdl.kaggle.training.train_fold` returns in the process.

        Parameters
        ----------
        spec : ModelSpec
            Of the user.
        number : int
        seconds : float
            After which the process is ended; the next call starts another.
        left : float
            The same for the start of the process, which is not among ``seconds``.
        with_importances : bool

        Raises
        ------
        TimeIsOver
            When the training takes longer.
        RuntimeError
            When the process ends by itself, as without memory.
        Exception
            What the model raises.
        """
        self.start()
        self._messages.put((replace(spec, estimator=None), number, with_importances))
        end = time.monotonic() + left
        try:
            answer = self._answers.get(timeout=max(left, 0.0)) if self._is_new else _READY
            if answer == _READY:
                self._is_new = False
                most = min(seconds, end - time.monotonic())
                answer = self._answers.get(timeout=max(most, 0.0))
        except queue.Empty:
            self.end()
            raise TimeIsOver from None
        except KeyboardInterrupt:
            self.end()
            raise
        if isinstance(answer, TrainedFold):
            return answer
        if answer is None:
            self.end()
            answer = RuntimeError("its process ended by itself; perhaps memory was short")
        raise answer

    def start(self) -> None:
        """Start the process, where none runs."""
        if self._process is not None:
            return
        self._is_new = True
        self._messages, self._answers = queue.Queue(), queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the command, which ends the process
        )
        for task, pipe, messages in (
            (_send_all, self._process.stdin, self._messages),
            (_receive_all, self._process.stdout, self._answers),
        ):
            threading.Thread(target=task, args=(pipe, messages), daemon=True).start()
        self._messages.put(self.setting)

    def end(self) -> None:
        """End the process at once, and what it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        self._messages.put(None)
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()


def _send_all(pipe, messages):
    """Write messages to a pipe until one is None or nobody reads."""
    with contextlib.suppress(OSError), pipe:
        while (message := messages.get()) is not None:
            pickle.dump(message, pipe)
            pipe.flush()


def _receive_all(pipe, messages):
    """Read messages from a pipe; None stands for its end."""
    with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError), pipe:
        while True:
            messages.put(pickle.load(pipe))
    messages.put(None)


# --- in the process


def work() -> None:
    """Train what standard input asks for, and write what is trained to standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what estimators print is no answer
    messages: queue.Queue = queue.Queue()
    threading.Thread(target=_receive, args=(messages,), daemon=True).start()
    setting = messages.get()
    answer: Any = _READY
    while True:
        pickle.dump(answer, answers)
        answers.flush()
        answer = _answer(setting, *messages.get())


def _receive(messages):
    """Read messages, and end the process where the command that sent them has ended."""
    with contextlib.suppress(EOFError):
        while True:
            messages.put(pickle.load(sys.stdin.buffer))
    os.kill(os.getpid(), signal.SIGTERM)


def _answer(setting, spec, number, with_importances):
    """Return a trained fold, or the exception that ended the training."""
    try:
        spec = replace(spec, estimator=spec.estimator_of_file())
        return train_fold(spec, number, setting, None, with_importances)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return RuntimeError(f"{type(error).__name__}: {error}")
        return error
