"""A function of one tensor as a CUDA graph: recorded once, replayed without Python."""

import contextlib
import gc
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

_WARM_UPS = 3
_OF_THIS_THREAD = threading.local()


class CUDAGraphStep:
    """A call of ``function(index)`` that a CUDA device records for each shape, and then replays.

    The first calls with a shape run as they are, so that libraries and the optimizer have made all
    that they make once. What the function reads and writes beside ``index`` must stay where it is
    in memory. A function that cannot be recorded goes on as it is, with one warning. On another
    device the function is called as it is.

    Parameters
    ----------
    function : callable
        Takes an index tensor; returns nothing.
    device : torch.device
    generators : sequence of torch.Generator
        Those that the function draws from.
    """

    def __init__(
        self,
        function: Callable[[Tensor], None],
        device: torch.device,
        generators: Sequence[torch.Generator],
    ) -> None:
        self.function = function
        self.device = device
        self.generators = generators
        self.calls: dict[tuple[int, ...], int] = {}
        self.graphs: dict[tuple[int, ...], tuple[Any, Tensor]] = {}
        self.can_record = device.type == "cuda"
        self.stream: Any = None
        if self.can_record:
            self.stream = _stream(device)
            self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, index: Tensor) -> None:
        if self.stream is None:
            return self.function(index)
        shape = tuple(index.shape)
        self.calls[shape] = self.calls.get(shape, 0) + 1
        if self.can_record and shape not in self.graphs and self.calls[shape] > _WARM_UPS:
            self._record(index)
        if shape not in self.graphs:
            return self._run_aside(index)
        graph, static_index = self.graphs[shape]
        static_index.copy_(index)
        graph.replay()

    def _run_aside(self, index):
        """Run on the stream of the recording.

        Autograd remembers the stream on which it first met a weight.
        """
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            self.function(index)
        torch.cuda.current_stream(self.device).wait_stream(self.stream)

    def _record(self, index):
        states = [generator.clone_state() for generator in self.generators]
        try:
            graph = torch.cuda.CUDAGraph()
            static_index = index.clone()
            for generator in self.generators:
                graph.register_generator_state(generator)
            with _recording(graph, self.pool, self.stream):
                self.function(static_index)
        except RuntimeError as error:
            self.can_record = False
            self.graphs.clear()
            for generator, state in zip(self.generators, states, strict=True):
                # The state of the generator may believe that the recording goes on.
                generator.graphsafe_set_state(state)
            warnings.warn(
                "The training step cannot be recorded as a CUDA graph and runs slower without: "
                f"{error}",
                stacklevel=2,
            )
        else:
            self.graphs[tuple(index.shape)] = graph, static_index


def _stream(device: torch.device) -> Any:
    """Return the stream of this thread for recordings on a device.

    It is one a thread, since libraries keep a workspace for each stream that they ever met.
    """
    streams = vars(_OF_THIS_THREAD)
    name = str(device)
    if name not in streams:
        streams[name] = torch.cuda.Stream(device)
    return streams[name]


@contextlib.contextmanager
def _recording(graph: Any, pool: Any, stream: Any) -> Iterator[None]:
    """Record what is done inside.

    No garbage is collected meanwhile: freeing an older graph in this thread would spoil the
    recording. Other threads may do what they like. The stream of before comes back, also when the
    recording fails and torch would leave the stream of the recording.
    """
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        with (
            torch.cuda.stream(stream),
            torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
        ):
            yield
    finally:
        if is_collecting:
            gc.enable()
