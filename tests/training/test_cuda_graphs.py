"""Recording a step: what can be seen without a CUDA device. The rest is in test_gpu.py."""

import pytest
import torch

from tabdl.training.cuda_graphs import CUDAGraphStep


def test_a_cpu_just_calls():
    seen = []
    replayed = CUDAGraphStep(seen.append, torch.device("cpu"), [])
    for i in range(6):
        replayed(torch.tensor([i]))
    assert [index.item() for index in seen] == list(range(6))


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="recording works on this machine: tests/test_gpu.py tries it"
)
def test_what_cannot_be_recorded_runs_on_with_one_warning():
    """A torch without CUDA really fails to record."""
    seen = []
    replayed = CUDAGraphStep(lambda index: seen.append(index.item()), torch.device("cpu"), [])
    replayed.can_record, replayed.pool, replayed.stream = True, None, None
    with pytest.warns(
        UserWarning, match="cannot be recorded as a CUDA graph and runs slower"
    ) as caught:
        replayed._record(torch.tensor([1]))
    assert len(caught) == 1
    for i in range(5):
        replayed(torch.tensor([i]))
    assert seen == list(range(5))
