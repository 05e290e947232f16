"""The outputs of a network for many rows, chunk by chunk."""

import math
from typing import Any

import torch
from torch import Tensor

from tabdl.data.table import Table, TableView
from tabdl.devices import Precision
from tabdl.training.threads import Team

_GPU_ROWS = 8192


def net_outputs(net: Any, table: Table | TableView, precision: Precision) -> Tensor:
    """Return the outputs (N, K, C) for all rows of a table, in evaluation mode, on its device.

    Every chunk has the same size, the last one padded, and on a CPU one thread, so that the output
    of a row does not depend on the rows beside it, to the bit. Several threads take chunks at once.
    A chunk that does not fit into memory is halved, down to one row.

    Parameters
    ----------
    net : TabularNet or NetworkEnsemble
        Its ``cpu_chunk_rows`` is the size of a chunk on a CPU.
    table : Table or TableView
        On any device; its chunks are moved to the device of the network.
    precision : Precision

    Raises
    ------
    torch.OutOfMemoryError, RuntimeError
        When not even one row fits.
    """
    net.eval()
    device = next(net.parameters()).device
    is_cpu = device.type == "cpu"
    n_chunk = net.cpu_chunk_rows if is_cpu else _GPU_ROWS
    n_tasks = math.ceil(len(table) / n_chunk) if is_cpu else 1

    def chunk_outputs(start):
        return _chunk_outputs(net, table.take(slice(start, start + n_chunk)), n_chunk, precision)

    chunks = []
    done = 0
    with Team(n_tasks, n_threads_each=1) as team, team.share():
        while done < len(table):
            try:
                for chunk in team.map(chunk_outputs, range(done, len(table), n_chunk)):
                    chunks.append(chunk)
                    done += len(chunk)
            except RuntimeError as error:
                if n_chunk == 1 or not _is_out_of_memory(error):
                    raise
                n_chunk //= 2
    return torch.cat(chunks)


@torch.inference_mode()
def _chunk_outputs(net, rows, n_chunk, precision):
    """Return the outputs of up to ``n_chunk`` rows, on the device of the rows."""
    device = next(net.parameters()).device
    chunk = rows.padded(n_chunk).to(device)
    with precision.autocast(device), precision.matmuls(device):
        outputs = net(chunk.x_num, chunk.x_cat)[: len(rows)]
    return outputs.to(rows.x_num.device, torch.promote_types(outputs.dtype, torch.float32))


def _is_out_of_memory(error: RuntimeError) -> bool:
    # The CPU's allocator raises a plain RuntimeError.
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in str(error)
        or "not enough memory" in str(error)
    )
