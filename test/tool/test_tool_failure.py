from argparse import Namespace
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch

from errors import OtherProcessFailed, UserError
from tool.dist import Dist
from tool.failure import explain, explain_gpu
from tool.settings import MakeCam, TrainAesipe


@pytest.mark.parametrize(
    "error, words",
    [
        (BrokenProcessPool("A process in the process pool was terminated"), "fewer --num_workers"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "fewer --num_workers"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "out of memory (CUDA out of memory."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried\nto allocate"), "out of memory"),
        (MemoryError("Unable to allocate 9 TiB"), "out of memory"),
        (PermissionError(13, "Permission denied", "a/b.txt"), "a/b.txt: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
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


NCCL = (
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:77, unhandled cuda error (run with "
    "NCCL_DEBUG=INFO for details), NCCL version 2.28.9 ncclUnhandledCudaError: Call to CUDA function failed. "
    "Last error: "
)


def test_of_nccls_messages_its_own_reason_is_quoted():
    """Found: the first hundred letters say where in its code it was."""
    lost = explain(RuntimeError(f"{NCCL}remote process exited or there was a network error"))
    assert isinstance(lost, OtherProcessFailed) and "(remote process exited or there was a network error)" in str(lost)
    full = explain(RuntimeError(f"{NCCL}Cuda failure 2 'out of memory'"))
    assert type(full) is UserError and "out of memory (Cuda failure 2 'out of memory')" in str(full)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 cannot be multiplied"), ValueError("x"), KeyError()])
def test_faults_of_the_code_are_not_explained_away(error):
    assert explain(error) is None


@pytest.mark.parametrize(
    "text, words",
    [
        ("ncclInvalidUsage Last error: Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000", "GPUS="),
        (
            "ncclSystemError: Last error: Error while creating shared memory segment /dev/shm/nccl-X (size 9637888), "
            "error: No space left on device (28)",
            "--ipc=host or --shm-size",
        ),
        ("ncclInternalError: Bootstrap : no socket interface found", "NCCL_SOCKET_IFNAME"),
        ("NCCL: Mismatched NCCL version detected : rank 0 version 22703 rank 1 version 22602", "the same torch"),
        ("The client socket has timed out after 600000ms while trying to connect to (n0, 29500).", "MASTER_ADDR"),
        ("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out "
         "of shared memory. Please try to raise your shared memory limit.", "--ipc=host"),
    ],
)  # fmt: skip
def test_processes_that_cannot_start_are_told_why(text, words):
    explained = explain(RuntimeError(text))
    assert type(explained) is UserError and words in str(explained)


GPU = Dist(0, 2, torch.device("cuda", 0))


@pytest.fixture
def card(monkeypatch):
    facts = Namespace(name="NVIDIA T4", total_memory=16 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: facts)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 << 30, 16 << 30))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 9 << 30)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_a_gpu_without_memory_says_what_to_lower(card, error):
    said = str(explain_gpu(error, "train_aesipe", TrainAesipe(batch_size=12, crop_size=320), GPU))
    assert said.startswith("train_aesipe: NVIDIA T4 (16 GiB) is out of memory (15.0 of 16.0 GiB in use, at most 9.0 ")
    assert "batch_size 12, crop_size 320, accumulate 1 on 2 process(es): give --accumulate 2, or lower" in said


def test_the_advice_keeps_a_batch_even(card):
    error = torch.OutOfMemoryError("CUDA out of memory.")
    assert "--accumulate 3," in str(explain_gpu(error, "x", TrainAesipe(batch_size=6), GPU))
    assert "--accumulate" not in str(explain_gpu(error, "x", TrainAesipe(batch_size=6, accumulate=3), GPU))
    assert "largest of the scales" in str(explain_gpu(error, "make_cam", MakeCam(), GPU))


def test_a_wheel_without_code_for_the_card_is_named(card):
    error = RuntimeError("CUDA error: no kernel image is available for execution on the device")
    assert "no code for NVIDIA T4" in str(explain_gpu(error, "make_cam", MakeCam(), GPU))


def test_other_faults_of_a_gpu_keep_their_traceback(card):
    assert explain_gpu(RuntimeError("CUDA error: device-side assert triggered"), "make_cam", MakeCam(), GPU) is None
