"""Where tasks run: this process, joblib's worker processes, or Ray. A task is a function that may
be repeated."""

import os
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.errors import HarnessError

RETRIES = 3
_GPU_SHARE = "TABDL_GPU_SHARE"
_MODEL_FILE = "TABDL_MODEL_FILE"


@dataclass(frozen=True)
class Executor:
    """Runs tasks.

    Attributes
    ----------
    kind : {"local", "ray"}
    workers : int
        Processes on this machine (local), or tasks at once (ray: as many as the cluster has room
        for).
    ray_address : str or None
        A cluster; None starts Ray here.
    cpus, gpus : float
        What a Ray task takes.
    """

    kind: str = "local"
    workers: int = 1
    ray_address: str | None = None
    cpus: float = 1
    gpus: float = 0

    @property
    def gpu_share(self):
        """The part of a GPU's memory that a task may fill; ``TABDL_GPU_SHARE`` overrides it."""
        return gpu_share(min(self.gpus or 1, 1) if self.kind == "ray" else 1 / self.workers)

    def run(self, tasks, start=None):
        """Yield ``(i, result, error)`` for each task as it ends; ``error`` is None or a text.

        ``start`` is told the number of a task that begins, where it runs in this process.
        """
        if not tasks:
            return iter(())
        if self.kind == "ray":
            return self._ray(tasks)
        return self._processes(tasks) if self.workers > 1 else self._here(tasks, start)

    def _here(self, tasks, start):
        for i, task in enumerate(tasks):
            if start is not None:
                start(i)
            yield _attempt(i, task)

    def _processes(self, tasks):
        """Run in worker processes; when one is killed, joblib's pool is gone, and another does what
        is left."""
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        left = dict(enumerate(tasks))
        for attempt in range(RETRIES + 1):
            pool = Parallel(self.workers, backend="loky", return_as="generator_unordered")
            try:
                for i, result, error in pool(
                    delayed(_attempt)(i, task, self.gpu_share, os.environ.get(_MODEL_FILE))
                    for i, task in left.copy().items()
                ):
                    del left[i]
                    yield i, result, error
                return
            except TerminatedWorkerError:
                times = f"worker processes were killed {RETRIES + 1} times"
                if attempt == RETRIES:
                    yield from ((i, None, f"{times} (out of memory? fewer --workers)") for i in left)

    def _ray(self, tasks):
        try:
            import ray
        except ImportError:
            raise HarnessError("--executor ray needs Ray: pip install 'tabdl[ray]'") from None
        if not ray.is_initialized():  # once for all stages; Ray ends with the process
            root = str(Path(__file__).parent.parent.parent)
            path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
            place = {"address": self.ray_address} if self.ray_address else self._this_machine()
            names = {_MODEL_FILE, "TABDL_DATA"} & os.environ.keys()
            variables = {name: os.environ[name] for name in names}
            variables["PYTHONPATH"] = path
            ray.init(**place, runtime_env={"env_vars": variables}, log_to_driver=False)
        remote = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=RETRIES)(_attempt)
        waiting = {remote.remote(i, task, self.gpu_share): i for i, task in enumerate(tasks)}
        while waiting:
            [ended], _ = ray.wait(list(waiting))
            i = waiting.pop(ended)
            try:
                yield ray.get(ended)
            except ray.exceptions.RayError as error:
                yield i, None, f"{type(error).__name__}: {error}"

    def _this_machine(self):
        """Return what Ray is started with; it would wait for ever for what is not there."""
        there = {"cpus": os.cpu_count(), "gpus": torch.cuda.device_count()}
        for name, number in there.items():
            if getattr(self, name) > number:
                raise HarnessError(
                    f"--{name} {getattr(self, name):g} is more than this machine has: {number}"
                )
        return {"num_cpus": there["cpus"], "num_gpus": there["gpus"], "include_dashboard": False}


def gpu_share(default=1.0):
    """Return ``TABDL_GPU_SHARE``, the part of a GPU's memory that a process may fill, or
    ``default``."""
    text = os.environ.get(_GPU_SHARE, str(default))
    try:
        if 0 < float(text) <= 1:
            return float(text)
    except ValueError:
        pass
    raise HarnessError(f"{_GPU_SHARE}: must be a number > 0 and <= 1, got {text!r}")


def _attempt(i, task, share=None, model_file=None):
    """Return ``(i, result, error)``: one task's failure must not end the others."""
    if share is not None:  # in a process of its own
        os.environ[_GPU_SHARE] = str(share)
    try:
        if model_file is not None:  # joblib's processes may be older than it
            from benchmarks.models.registry import add_models_of  # which imports this module

            add_models_of(model_file)
        return i, task(), None
    except HarnessError as error:
        return i, None, str(error)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}, line {where.lineno}"
        return i, None, f"{type(error).__name__}: {error} ({place})"
