"""Rows that come in chunks are the rows that lie on the device."""

import pytest
import torch

from tabdl.data.table import Table
from tabdl.training.batches import InMemoryBatches, StreamedBatches

CPU = torch.device("cpu")


def table(n_rows, first):
    numbers = torch.arange(first, first + n_rows)
    return Table(
        numbers[:, None].float(),
        numbers[:, None].to(torch.int16),
        numbers.float()[:, None],
        numbers.float() / 10,
        numbers[:, None].int() + torch.arange(3).int(),
    )


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize(
    "n_rows, batch_size, chunk_rows", [(100, 16, 32), (96, 16, 32), (10, 16, 32), (100, 16, 160)]
)
def test_streamed_batches_are_resident_batches(n_members, n_rows, batch_size, chunk_rows):
    tables = [table(n_rows, 1000 * i) for i in range(n_members)]
    orders = torch.stack(
        [
            torch.randperm(n_rows, generator=torch.Generator().manual_seed(i))
            for i in range(n_members)
        ]
    )
    batches = [
        [feeder.gather(index) for index in feeder.epoch(orders, batch_size)]
        for feeder in (InMemoryBatches(tables, CPU), StreamedBatches(tables, CPU, chunk_rows))
    ]
    assert [len(batch.y[0]) for batch in batches[0]] == [
        len(rows) for rows in torch.arange(n_rows).split(batch_size)
    ]
    for resident, streamed in zip(*batches, strict=True):
        assert resident.x_num.shape[0] == n_members and resident.x_cat.dtype == torch.int16
        torch.testing.assert_close(vars(resident), vars(streamed), rtol=0, atol=0)


def test_a_streamed_chunk_stays_where_it_is():
    """A recorded step reads the same memory in every epoch."""
    feeder = StreamedBatches([table(100, 0)], CPU, 32)
    places = set()
    for _ in range(2):
        for _ in feeder.epoch(torch.arange(100)[None], 16):
            places.add(feeder.tables[0].x_num.data_ptr())
    assert len(places) == 1


def test_members_with_the_same_rows_share_them():
    rows = table(10, 0)
    feeder = InMemoryBatches([rows, rows], CPU)
    assert feeder.tables[0] is feeder.tables[1]
