"""The outputs of a network for many rows, chunk by chunk."""

from typing import Any

import torch
from torch import Tensor

from tabdl.data.table import Table, TableView
from tabdl.devices import Precision

_GPU_ROWS = 8192


@torch.inference_mode()
def net_outputs(net: Any, table: Table | TableView, precision: Precision) -> Tensor:
    """Return the outputs (N, K, C) for all rows of a table, in evaluation mode, on its device.

    Every chunk has the same size, the last one padded, so that the output of a row does not depend
    on the rows beside it, to the bit. A chunk that does not fit into memory is halved, down to one
    row.

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
    n_chunk = net.cpu_chunk_rows if device.type == "cpu" else _GPU_ROWS
    chunks = []
    done = 0
    while done < len(table):
        rows = table.take(slice(done, done + n_chunk))
        try:
            chunk = rows.padded(n_chunk).to(device)
            with precision.autocast(device), precision.matmuls(device):
                outputs = net(chunk.x_num, chunk.x_cat)[: len(rows)]
        except RuntimeError as error:
            if n_chunk == 1 or not _is_out_of_memory(error):
                raise
            n_chunk //= 2
            continue
        chunks.append(
            outputs.to(table.x_num.device, torch.promote_types(outputs.dtype, torch.float32))
        )
        done += len(rows)
    return torch.cat(chunks)


def _is_out_of_memory(error: RuntimeError) -> bool:
    # The CPU's allocator raises a plain RuntimeError.
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in str(error)
        or "not enough memory" in str(error)
    )
