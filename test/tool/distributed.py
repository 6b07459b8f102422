"""Trains a tiny network under torchrun, in which one process fails: python -m tool.launch ... distributed.py RUN HOW

HOW: killed (process 1, by kill -9 in step 6); bad (its input, in step 6); again (continues, then trains anew in
RUN/whole, then in RUN/nan, where the loss of process 1 is no number in step 6).
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import tiny_training
import torch

from errors import UserError
from tool.config import run_main
from tool.dist import close_dist, init_dist
from tool.trainer import Task, Trainer


def main():
    run, how = Path(sys.argv[1]), sys.argv[2]
    dist = init_dist()

    def losses(network, batch):
        terms = tiny_training.squares(network, batch)
        if dist.rank == 1 and batch["id"] == ["b5"]:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "bad":
                raise UserError("photo.jpg: cannot be decoded")
            if folder.name == "nan":
                terms["loss"] = terms["loss"] * float("nan")
        return terms

    for folder in (run, run / "whole", run / "nan") if how == "again" else (run,):
        model = tiny_training.tiny_network(dropout=0)
        groups = [{"params": model.parameters(), "lr": 0.05}]
        task = Task(model, losses, groups, partial(own_share, dist), tiny_training.STEPS)
        settings = tiny_training.settings_of(folder, save_every=2)
        Trainer(task, settings, dist, folder / "ckpt/tiny.pt", tiny_training.record_of()).train()
    close_dist()


def own_share(dist, start):
    """One of the two images of each batch, if there are two processes."""
    for batch in tiny_training.batches(start):
        yield {"image": batch["image"][dist.rank :: dist.world], "id": batch["id"][dist.rank :: dist.world]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_main(main)
