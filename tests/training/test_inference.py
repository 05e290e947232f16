"""Prediction in chunks: equal to the whole, and smaller when memory runs out."""

import subprocess
import sys

import pytest
import torch
from conftest import make, numbers

from tabdl.data.columns import read_columns
from tabdl.data.table import Table
from tabdl.training import inference
from tabdl.training.devices import Precision


@pytest.mark.two_networks
def test_chunks_are_the_whole(architecture):
    X, y = numbers(1000)
    model = make(architecture, "Regressor", precision="float64").fit(X, y)
    x_num, x_cat = model.encoder_.transform(read_columns(X, estimator_name="Test"))
    table = Table(torch.from_numpy(x_num).double(), torch.from_numpy(x_cat))
    with torch.inference_mode():
        whole = model.module_(table.x_num, table.x_cat)
    torch.testing.assert_close(
        inference.net_outputs(model.module_, table, Precision(torch.float64)), whole
    )
    model.module_.cpu_chunk_rows = 7
    torch.testing.assert_close(
        inference.net_outputs(model.module_, table, Precision(torch.float64)), whole
    )


class Greedy(torch.nn.Module):
    """A network that cannot take more than ``limit`` rows."""

    cpu_chunk_rows = 64

    def __init__(self, limit):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))
        self.limit, self.sizes = limit, []

    def forward(self, x_num, x_cat):
        self.sizes.append(len(x_num))
        if len(x_num) > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        return (x_num * self.scale).unsqueeze(1)


def test_out_of_memory_halves_the_chunk_and_goes_on():
    table = Table(torch.arange(150.0)[:, None], torch.empty(150, 0, dtype=torch.int32))
    net = Greedy(20)
    torch.testing.assert_close(
        inference.net_outputs(net, table, Precision(torch.float32)).flatten(),
        2 * torch.arange(150.0),
    )
    # Several threads try a size at once.
    assert list(dict.fromkeys(net.sizes)) == [64, 32, 16] and net.sizes[-1] == 16
    with pytest.raises(torch.OutOfMemoryError):
        inference.net_outputs(Greedy(0), table, Precision(torch.float32))


def test_other_errors_go_up():
    class Wrong(Greedy):
        def forward(self, x_num, x_cat):
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        inference.net_outputs(
            Wrong(1),
            Table(torch.ones(3, 1), torch.empty(3, 0, dtype=torch.int32)),
            Precision(torch.float32),
        )


@pytest.mark.skipif(
    sys.platform != "linux", reason="limits the address space of a process, which Linux can"
)
def test_a_real_shortage_of_memory():
    """In a process whose memory is limited: a chunk of 64 rows cannot be had, one of fewer can."""
    script = """
import resource, torch
from tabdl.training import inference
from tabdl.data.table import Table
from tabdl.training.devices import Precision
net = torch.nn.Module()
net.cpu_chunk_rows = 64
net.p = torch.nn.Parameter(torch.ones(1))
sizes = []
def forward(x_num, x_cat):
    sizes.append(len(x_num))
    return x_num.repeat_interleave(5_000_000, 1).sum(1)[:, None, None] * net.p   # 20 MB a row
net.forward = forward
table = Table(torch.ones(100, 1), torch.empty(100, 0, dtype=torch.int32))
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 900_000_000, now + 900_000_000))
outputs = inference.net_outputs(net, table, Precision(torch.float32))
assert outputs.shape == (100, 1, 1) and (outputs == 5_000_000).all()
assert sizes[0] == 64 and sizes[-1] < 64, sizes
print("ok")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "ok\n", done.stderr


class Rounding(torch.nn.Module):
    """A network that rounds the rows of chunks below ``exact_from`` rows in another way."""

    cpu_chunk_rows = 64

    def __init__(self, exact_from):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(3.0))
        self.exact_from, self.sizes = exact_from, []

    def forward(self, x_num, x_cat):
        self.sizes.append(len(x_num))
        outputs = (x_num * self.scale).unsqueeze(1)
        return outputs if len(x_num) >= self.exact_from else outputs.nextafter(outputs + 1)


@pytest.mark.parametrize(("exact_from", "size"), [(1, 4), (16, 16), (64, 64)])
def test_few_rows_have_the_smallest_chunk_that_gives_the_same_bits(exact_from, size):
    net = Rounding(exact_from)
    table = Table(torch.tensor([[0.1]]), torch.empty(1, 0, dtype=torch.int32))
    outputs = inference.net_outputs(net, table, Precision(torch.float32))
    assert torch.equal(outputs, (table.x_num * net.scale).unsqueeze(1))
    n_calls = len(net.sizes)
    inference.net_outputs(net, table, Precision(torch.float32))
    assert net.sizes[n_calls:] == [size]  # the trial is made once
