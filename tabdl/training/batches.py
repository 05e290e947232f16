"""Where the training rows are: on the device, or on the host and sent to the device in chunks."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tabdl.data.table import Table, take_stacked

_CHUNK_BYTES = 256 * 2**20


def make_batches(
    tables: Sequence[Table], device: torch.device, batch_size: int
) -> "InMemoryBatches":
    """Return the rows on ``device`` when half of its free memory is left, else a stream of rows."""
    n_bytes = sum(table.n_bytes for table in {id(table): table for table in tables}.values())
    if device.type != "cuda" or n_bytes <= torch.cuda.mem_get_info(device)[0] / 2:
        return InMemoryBatches(tables, device)
    chunk_rows = max(1, _CHUNK_BYTES * max(map(len, tables)) // (n_bytes * batch_size)) * batch_size
    return StreamedBatches(tables, device, chunk_rows)


def on_device(table: Any, device: torch.device) -> Any:
    """Return ``table`` on ``device``, or as it is where it would take a quarter of free memory."""
    if table is None or (
        device.type == "cuda" and table.n_bytes > torch.cuda.mem_get_info(device)[0] / 4
    ):
        return table
    return table.to(device)


class InMemoryBatches:
    """All rows on the device; a batch is gathered there.

    Parameters
    ----------
    tables : list of Table
        One for each run; the same object where runs share a table.
    device : torch.device
    """

    def __init__(self, tables: Sequence[Table], device: torch.device) -> None:
        moved = {id(table): table.to(device) for table in tables}
        self.tables = [moved[id(table)] for table in tables]

    def epoch(self, orders: Tensor, batch_size: int) -> Iterator[Tensor]:
        """Yield the indices, (M, B), of the batches of an epoch; ``orders`` is (M, N)."""
        yield from orders.split(batch_size, 1)

    def gather(self, index: Tensor) -> Table:
        """Return the rows of ``index``, (M, B), as a Table of (M, B, ...)."""
        return take_stacked(self.tables, index)


class StreamedBatches(InMemoryBatches):
    """Rows of an epoch that come to the device chunk by chunk, each while one is trained on.

    The host gathers a chunk into pinned memory, and a stream of its own copies the chunk to the
    device. The current chunk always lies at the same place, so that a recorded step can read it.

    Parameters
    ----------
    tables, device
        As for :class:`InMemoryBatches`; the tables stay where they are.
    chunk_rows : int
        A multiple of the batch size.
    """

    def __init__(self, tables: Sequence[Table], device: torch.device, chunk_rows: int) -> None:
        self.host = tables
        self.device = device
        self.chunk_rows = chunk_rows
        is_cuda = device.type == "cuda"
        self.pinned = [table.empty(chunk_rows, "cpu", pin_memory=is_cuda) for table in tables]
        self.arriving = [table.empty(chunk_rows, device) for table in tables]
        self.tables = [table.empty(chunk_rows, device) for table in tables]
        self.copying = torch.cuda.Stream(device) if is_cuda else None

    def epoch(self, orders: Tensor, batch_size: int) -> Iterator[Tensor]:
        """Yield the indices, (M, B), of the batches of an epoch; ``orders`` is (M, N)."""
        chunks = orders.cpu().split(self.chunk_rows, 1)
        self._send(chunks[0])
        for i, chunk in enumerate(chunks):
            self._receive(chunk.shape[1])
            here = torch.arange(chunk.shape[1], device=self.device).expand(len(self.host), -1)
            # The steps are only queued when they are yielded: the next chunk is on its way while
            # the device works on them.
            yield from here.split(batch_size, 1)
            if i + 1 < len(chunks):
                self._send(chunks[i + 1])

    def _send(self, chunk):
        if self.copying is not None:
            # The pinned memory is still being read.
            self.copying.synchronize()
            self.copying.wait_stream(torch.cuda.current_stream(self.device))
        for table, pinned, arriving, index in zip(
            self.host, self.pinned, self.arriving, chunk, strict=True
        ):
            table.take_into(index, pinned)
            with torch.cuda.stream(self.copying):
                arriving.copy_(pinned, len(index))

    def _receive(self, n_rows):
        if self.copying is not None:
            torch.cuda.current_stream(self.device).wait_stream(self.copying)
        for table, arriving in zip(self.tables, self.arriving, strict=True):
            table.copy_(arriving, n_rows)
