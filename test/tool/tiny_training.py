"""The training of a tiny network, a tenth of a second long, which tests of the trainer share."""

import math
from argparse import Namespace
from functools import partial

import torch
from torch import nn

from tool.checkpoint import load_state
from tool.dist import Dist
from tool.trainer import Task, Trainer

ALONE = Dist(0, 1, torch.device("cpu"))
STEPS = 12


class Stopped(Exception):
    """As if the machine had gone down."""


def tiny_network(dropout=0.5):
    """Batch norm and dropout, so that running statistics and random draws have to be carried over a stop."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout), nn.Conv2d(4, 1, 3))


def batches(start, steps=STEPS):
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(step)
        image = torch.randint(0, 256, (2, 3, 9, 8), dtype=torch.uint8, generator=generator)
        yield {"image": image, "id": [f"a{step}", f"b{step}"]}


def squares(network, batch):
    loss = (network(batch["image"]) - 1).square().mean()
    return {"loss": loss, "half": loss / 2}


def record_of(images="13 images, 0123", **settings):
    return {"stage": "tiny", "settings": {"lr": 0.05, **settings}, "inputs": {"images": images}, "sources": {}}


def settings_of(run, **changes):
    settings = {"momentum": 0.9, "weight_decay": 1e-4, "batch_size": 2, "seed": 3, "precision": "float32"}
    settings |= {"run": run, "resume": "auto", "save_every": 4, "tracker": "none", "compile": False}
    settings |= {"accumulate": 1, "deterministic": False}
    return Namespace(**settings | changes)


def train(
    run,
    losses=squares,
    record=None,
    steps=STEPS,
    after=None,
    loader=batches,
    clip=math.inf,
    dropout=0.5,
    watch=None,
    watch_every=1,
    **changes,
):
    """Train the tiny network in a run's folder. Returns it, with the number of steps that were done as `steps_done`."""
    model = tiny_network(dropout)
    groups = [
        {"params": model[0].parameters(), "lr": 0.05},
        {"params": [*model[1].parameters(), *model[4].parameters()], "lr": 0.2},
    ]
    task = Task(model, losses, groups, loader, steps, clip, after, watch, watch_every)
    trainer = Trainer(task, settings_of(run, **changes), ALONE, run / "ckpt" / "tiny.pt", record or record_of())
    model.steps_done = trainer.train()
    return model


def trainer_of(run, losses=squares, dist=ALONE, count=None, steps=2, **changes):
    """A `Trainer` of the tiny network as a process of several, which has not begun."""
    network = tiny_network()
    groups = [{"params": network.parameters(), "lr": 0.05}]
    task = Task(network, losses, groups, partial(batches, steps=steps), steps, count=count)
    return Trainer(task, settings_of(run, **changes), dist, run / "ckpt" / "tiny.pt", record_of())


def weights(run):
    return load_state(run / "ckpt" / "tiny.pt")["model"]


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def counted(seen, at=None, do=None):
    """Losses that note their batch's image IDs and at one batch do something first."""

    def losses(network, batch):
        seen.append(batch["id"][0])
        if batch["id"][0] == at:
            do()
        return squares(network, batch)

    return losses


def stop():
    raise Stopped
