"""The processes that share a stage's work: torchrun's environment in, a `Dist` out."""

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed

from tool.device import choose_device
from tool.parallel import LAUNCHER, end_with_parent


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


def init_dist(choice="auto", timeout_minutes=60):
    """Join torchrun's group (NCCL on GPUs, gloo on CPUs), or stand alone when not started by torchrun.

    choice: of the device, see `tool.device.choose_device`, whose UserErrors it raises.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = choose_device(choice)
    if world > 1:
        # torchrun stops its processes, unless it is killed itself. Another launcher does not say its number.
        end_with_parent(int(os.environ.get(LAUNCHER) or os.getppid()))
        torch.distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            timeout=timedelta(minutes=timeout_minutes),
            device_id=device if device.type == "cuda" else None,  # NCCL then connects at once, and knows its GPU
        )
    return Dist(rank, world, device)


@contextmanager
def together():
    """For work that torchrun's processes share without a group: it begins when all are here, and ends when all are
    done. A group's threads would not survive that the work forks."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        yield
        return
    store, _, _ = next(torch.distributed.rendezvous("env://", timeout=timedelta(minutes=60)))
    _meet(store, "begin", world)
    yield
    _meet(store, "end", world)


def _meet(store, name, world):
    store.add(name, 1)
    while store.add(name, 0) < world:  # its own wait would keep signals out
        time.sleep(0.1)


def close_dist():
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
