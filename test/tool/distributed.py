"""Trains a tiny network under torchrun, in which one process fails: python -m tool.launch ... distributed.py RUN HOW

HOW: well; killed (process 1, by kill -9 in step 6); nan (the loss of process 1 in step 6); bad (its input).
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import test_trainer
import torch

from errors import UserError
from tool.config import run_main
from tool.dist import close_dist, init_dist
from tool.trainer import Task, Trainer


def main():
    run, how = Path(sys.argv[1]), sys.argv[2]
    dist = init_dist()

    def losses(network, batch):
        terms = test_trainer.squares(network, batch)
        if how != "well" and dist.rank == 1 and batch["id"] == ["b5"]:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "bad":
                raise UserError("photo.jpg: cannot be decoded")
            terms["loss"] = terms["loss"] * float("nan")
        return terms

    model = test_trainer.tiny_network(dropout=0)
    task = Task(
        model, losses, [{"params": model.parameters(), "lr": 0.05}], partial(own_share, dist), test_trainer.STEPS
    )
    settings = test_trainer.settings_of(run, save_every=2)
    Trainer(task, settings, dist, run / "ckpt/tiny.pt", test_trainer.record_of()).train()
    close_dist()


def own_share(dist, start):
    """One of the two images of each batch, if there are two processes."""
    for batch in test_trainer.batches(start):
        yield {"image": batch["image"][dist.rank :: dist.world], "id": batch["id"][dist.rank :: dist.world]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_main(main)
