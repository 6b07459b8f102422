from concurrent.futures.process import BrokenProcessPool

import pytest
import torch

from errors import OtherProcessFailed, UserError
from tool.failure import explain


@pytest.mark.parametrize(
    "error, words",
    [
        (BrokenProcessPool("A process in the process pool was terminated"), "fewer --num_workers"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "fewer --num_workers"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "out of memory (CUDA out of memory."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried\nto allocate"), "out of memory"),
        (MemoryError("Unable to allocate 9 TiB"), "out of memory"),
        (UserError("a.jpg: is empty"), "a.jpg: is empty"),
    ],
)
def test_faults_of_the_machine_are_one_line(error, words):
    explained = explain(error)
    assert type(explained) is UserError and words in str(explained) and "\n" not in str(explained)


@pytest.mark.parametrize(
    "text",
    [
        "[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:33",
        "NCCL communicator was aborted on rank 1",
    ],
)
def test_a_lost_process_is_not_the_fault_of_this_one(text):
    assert isinstance(explain(RuntimeError(text)), OtherProcessFailed)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 cannot be multiplied"), ValueError("x"), KeyError()])
def test_faults_of_the_code_are_not_explained_away(error):
    assert explain(error) is None
