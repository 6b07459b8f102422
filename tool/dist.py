"""Processes and devices: torchrun's environment in, a `Dist` out."""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed


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
        backend = "nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=timedelta(minutes=timeout_minutes))
    return Dist(rank, world, device)


def close_dist():
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def autocast_dtype(precision, device):
    """`--precision` as a dtype for autocast, or None for float32. auto: see `tool.config.add_training_flags`."""
    if precision == "auto":
        if device.type != "cuda":
            return None
        precision = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
