import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from scripts import REPOSITORY

from errors import OtherProcessFailed, UserError
from tool.device import agreed_precision, choose_device, resolve_precision, set_precision
from tool.dist import Dist

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def numerics():
    """Leave the process as it was."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize(
    "precision, device, dtype, tf32",
    [
        ("float32", CUDA, None, False),
        ("tf32", CUDA, None, True),
        ("bfloat16", CUDA, torch.bfloat16, False),
        ("float16", CPU, torch.float16, False),
        ("auto", CPU, None, False),
    ],
)
def test_precision_sets_autocast_and_tf32_together(precision, device, dtype, tf32):
    torch.backends.cudnn.allow_tf32 = not tf32
    assert set_precision(precision, device) is dtype
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")


@pytest.mark.parametrize("generation, precision", [(7, "float16"), (8, "bfloat16"), (9, "bfloat16")])
def test_auto_takes_what_the_gpu_computes_in_and_not_what_it_emulates(monkeypatch, generation, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Namespace(major=generation))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)  # as a T4 answers
    assert torch.cuda.is_bf16_supported()
    assert resolve_precision("auto", CUDA) == precision


@pytest.fixture
def machine(monkeypatch):
    """A function that makes torch believe in a machine: its GPUs, whether a driver is loaded, and what CUDA says."""

    def make(gpus=0, driver=False, fault="", built_for="13.0", **environment):
        for name in ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

        def init():
            if fault:
                raise RuntimeError(fault)

        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
        monkeypatch.setattr(torch.version, "cuda", built_for)
        monkeypatch.setattr("tool.device.DRIVER", Path(__file__) if driver else Path("/nowhere"))

    return make


def test_auto_takes_the_gpu_and_the_cpu_where_there_is_none(machine):
    machine(gpus=1)
    assert choose_device("auto") == torch.device("cuda", 0)
    machine()
    assert choose_device("auto") == CPU
    machine(gpus=4, LOCAL_RANK="2", LOCAL_WORLD_SIZE="4")
    assert choose_device("cuda") == torch.device("cuda", 2)


OLD = "The NVIDIA driver on your system is too old (found version 11040)."


@pytest.mark.parametrize("choice", ["auto", "cuda"])
@pytest.mark.parametrize(
    "facts, words",
    [
        ({"driver": True, "fault": OLD}, "too old (found version 11040). (this torch is for CUDA 13.0)"),
        ({"driver": True, "built_for": None}, "built without it: install the wheel for CUDA"),
        ({"driver": True}, "does nvidia-smi list one?"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_said_at_once(machine, choice, facts, words):
    machine(**facts)
    with pytest.raises(UserError, match=re.escape(words)) as error:
        choose_device(choice)
    assert "--device cpu" in str(error.value)
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_who_hides_the_gpus_wants_the_cpu(machine, hidden):
    machine(driver=True, CUDA_VISIBLE_DEVICES=hidden)
    assert choose_device("auto") == CPU
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES hides every GPU"):
        choose_device("cuda")


@pytest.mark.parametrize("rank, kind", [("0", UserError), ("3", OtherProcessFailed)])
def test_two_processes_never_share_a_gpu(machine, rank, kind):
    machine(gpus=2, LOCAL_RANK=rank, LOCAL_WORLD_SIZE="4")
    with pytest.raises(UserError, match=r"4 processes .* has 2 GPU.*GPUS=2") as error:
        choose_device("auto")
    assert type(error.value) is kind


@pytest.mark.parametrize("own", [{}, {"MALLOC_MMAP_THRESHOLD_": "1048576"}])
def test_training_on_a_cpu_keeps_the_memory_of_freed_tensors_unless_the_user_sets_malloc(tmp_path, own):
    """A tensor of 192 MiB needs no new pages where one of 256 was; there are 49,152 of 4 KiB in it, or 96 of 2 MiB."""
    code = """
import resource, sys, torch
from pathlib import Path
from tiny_training import train
train(Path(sys.argv[1]))
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for size in (64, 48):
    before = faults()
    torch.ones(size, 2**20)
    print(faults() - before)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | own
    environment |= {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'test/tool'}"}
    command = [sys.executable, "-c", code, tmp_path]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    first, second = map(int, done.stdout.split()[-2:])
    assert first > 80 and (second > 80 if own else second < 64), done.stderr


def test_an_apple_gpu_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="finds no Apple GPU"):
        choose_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("mps") == torch.device("mps")


@pytest.mark.parametrize("in_float16", [0, 1, 2])
def test_gpus_that_auto_gives_other_precisions_are_refused(monkeypatch, in_float16):
    """Found: gradients scaled by 65536 would be averaged with ones that are not. in_float16: of the two processes."""
    monkeypatch.setattr(Dist, "sum", lambda self, values: torch.full_like(values, in_float16))
    two = Dist(1, 2, CPU)
    assert agreed_precision("bfloat16", two) == "bfloat16"
    if in_float16 == 1:
        with pytest.raises(UserError, match="some of the GPUs compute in bfloat16, others do not: give float16 or"):
            agreed_precision("auto", two)
    else:
        assert agreed_precision("auto", two) == "float32"
    assert agreed_precision("auto", Dist(0, 1, CPU)) == "float32"
