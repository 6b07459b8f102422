"""Processes and devices: torchrun's environment in, a `Dist` out."""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed

from tool.parallel import end_with_parent


@dataclass(frozen=True)
class Dist:
    """rank: of this process among `world` processes on all machines. device: what this process computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def main(self):
        return self.rank == 0

    def barrier(self):
        """Wait for all processes."""
        if self.world > 1:
            torch.distributed.barrier()

    def sum(self, values):
        """The sum of a tensor over all processes."""
        if self.world > 1:
            torch.distributed.all_reduce(values)
        return values


def init_dist(timeout_minutes=60):
    """Join torchrun's group (NCCL on GPUs, gloo on CPUs), or stand alone when not started by torchrun."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    if world > 1:
        end_with_parent()  # torchrun stops its processes, unless it is killed itself
        backend = "nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=timedelta(minutes=timeout_minutes))
    return Dist(rank, world, device)


def close_dist():
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def set_precision(precision, device):
    """Apply `--precision` to this process. Returns the dtype for autocast of the networks, or None for none.

    float32 is exact: TF32 is off. tf32 lets a GPU round the factors of convolutions and matrix products to 10 bits of
    mantissa. bfloat16 and float16 hold the networks' maps in 16 bits; what follows them is in float32. auto is
    bfloat16 on a GPU that has it, else float16, and float32 on the CPU.
    """
    if precision == "auto":
        if device.type != "cuda":
            precision = "float32"
        else:
            precision = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)


def set_deterministic():
    """Only algorithms that give the same bits for the same inputs; a step without one raises. Call before any CUDA."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
