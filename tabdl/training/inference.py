"""The outputs of a network for many rows, chunk by chunk."""

import math
import weakref
from typing import Any

import torch
from torch import Tensor

from tabdl.data.table import Table, TableView
from tabdl.training.devices import Precision
from tabdl.training.threads import Team

_GPU_ROWS = 8192
# Libraries of matrix products round the rows of a small matrix in other ways if it is very small.
_FEWEST_ROWS = 4
_TRIALS = 16
# For each network whether so small chunks gave the bits of large ones, by what that depends on.
_SMALL_IS_EXACT: weakref.WeakKeyDictionary[Any, dict[Any, bool]] = weakref.WeakKeyDictionary()


def net_outputs(
    net: Any,
    table: Table | TableView,
    precision: Precision,
    device: torch.device | None = None,
) -> Tensor:
    """Return the outputs (N, K, C) for all rows of a table, in evaluation mode, on its device.

    Every chunk has the same size, the last one padded, and on a CPU one thread, so that the output
    of a row does not depend on the rows beside it, to the bit. Several threads take chunks at once.
    Few rows get the smallest chunk that gives the same bits on this machine, which is tried once
    for each network and size. A chunk that does not fit into memory is halved, down to one row.

    Parameters
    ----------
    net : TabularNet or NetworkEnsemble
        Its ``cpu_chunk_rows`` is the size of a chunk on a CPU.
    table : Table or TableView
        On any device; its chunks are moved to the device of the network.
    precision : Precision
    device : torch.device, optional
        That of the network, which takes long to find beside a single row.

    Raises
    ------
    torch.OutOfMemoryError, RuntimeError
        When not even one row fits.
    """
    if net.training:
        net.eval()
    if device is None:
        return net_outputs(net, table, precision, next(net.parameters()).device)
    is_cpu = device.type == "cpu"
    n_tasks = math.ceil(len(table) / net.cpu_chunk_rows) if is_cpu else 1

    def chunk_outputs(start):
        is_all = isinstance(table, Table) and len(table) <= n_chunk
        rows = table if is_all else table.take(slice(start, start + n_chunk))
        return _chunk_outputs(net, rows, n_chunk, precision, device)

    chunks = []
    done = 0
    with Team(n_tasks, n_threads_each=1) as team, team.share():
        n_chunk = _cpu_chunk_rows(net, table, precision) if is_cpu else _GPU_ROWS
        while done < len(table):
            try:
                for chunk in team.map(chunk_outputs, range(done, len(table), n_chunk)):
                    chunks.append(chunk)
                    done += len(chunk)
            except RuntimeError as error:
                if n_chunk == 1 or not _is_out_of_memory(error):
                    raise
                n_chunk //= 2
    return chunks[0] if len(chunks) == 1 else torch.cat(chunks)


def _cpu_chunk_rows(net, table, precision):
    """Return the rows of a chunk: those of the network, or a power of two that is enough."""
    n_usual = net.cpu_chunk_rows
    n_small = max(_FEWEST_ROWS, 1 << (len(table) - 1).bit_length())
    known = _SMALL_IS_EXACT.setdefault(net, {})
    while n_small < n_usual:
        conditions = n_small, n_usual, precision
        is_exact = known.get(conditions)
        if is_exact is None:
            is_exact = known[conditions] = _gives_same_bits(net, table, precision, n_small)
        if is_exact:
            return n_small
        n_small *= 2
    return n_usual


@torch.inference_mode()
def _gives_same_bits(net, table, precision, n_small):
    """Return whether chunks of ``n_small`` rows give the outputs of a usual chunk, by trial."""
    n_usual = net.cpu_chunk_rows
    some = table.take(slice(0, n_usual))
    n_copies = n_usual // len(some) + 1
    x_cat = some.x_cat.repeat(n_copies, 1)[:n_usual]
    x_num = torch.empty(n_usual, some.x_num.shape[1], dtype=some.x_num.dtype)
    x_num.normal_(generator=torch.Generator().manual_seed(0))
    step = max(n_small, n_usual // _TRIALS)
    parts = [slice(start, start + n_small) for start in range(0, n_usual - n_small + 1, step)]
    device = x_num.device
    try:
        with precision.autocast(device), precision.matmuls(device):
            whole = net(x_num, x_cat)
            return all(torch.equal(net(x_num[part], x_cat[part]), whole[part]) for part in parts)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        return False


def _chunk_outputs(net, rows, n_chunk, precision, device):
    """Return the outputs of up to ``n_chunk`` rows, on the device of the rows."""
    with torch.inference_mode(), precision.autocast(device), precision.matmuls(device):
        chunk = rows.padded(n_chunk)
        chunk = chunk if chunk.x_num.device == device else chunk.to(device)
        outputs = net(chunk.x_num, chunk.x_cat)[: len(rows)]
        return outputs.to(rows.x_num.device, torch.promote_types(outputs.dtype, torch.float32))


def _is_out_of_memory(error: RuntimeError) -> bool:
    # The CPU's allocator raises a plain RuntimeError.
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in str(error)
        or "not enough memory" in str(error)
    )
