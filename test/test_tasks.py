"""What each training script hands to the trainer: rates, the bound on the gradient and crops, of its settings."""

import sys
from types import SimpleNamespace

import pytest
import torch

import deeplab.train
import train_aesipe
import train_irn
from data.layout import Layout
from data.loader import TrainingSet
from data.toy import make_toy
from data.transforms import CropTransform
from module.irn_loss import pair_counts
from tool.dist import Dist
from tool.frame import StageCall
from tool.run import Run
from tool.settings import DeeplabTrain, TrainAesipe, TrainIrn

ALONE = Dist(0, 1, torch.device("cpu"))
SMALL = {"backbone": "resnet18", "weights": "none", "batch_size": 2, "num_workers": 0, "seed": 5, "lr": 0.02}


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    root = tmp_path_factory.mktemp("tasks") / "toy"
    make_toy(root, train=5, train_aug=5, val=1, size=72)
    return Layout(root)


def aesipe(layout, ids, run):
    settings = TrainAesipe(**SMALL, crop_size=64, long_side=(50, 90), lr_new=0.3, max_epochs=3, val_every=0)
    return train_aesipe.make_task(settings, layout, ids, ALONE), CropTransform(64, long_side=(50, 90)), None


def irn(layout, ids, run):
    settings = TrainIrn(**SMALL, crop_size=96, scale=(0.6, 1.2), max_epochs=3, labels="truth", radius=6)
    stage = SimpleNamespace(settings=settings, run=run)
    return train_irn.make_task(stage, layout, ids, ALONE), CropTransform(96, scale=(0.6, 1.2)), layout.mask


def segmentation(layout, ids, run):
    settings = DeeplabTrain(**SMALL, crop_size=64, scale=(0.6, 1.2), max_iters=6, labels="truth")
    stage = SimpleNamespace(settings=settings, run=run)
    return deeplab.train.make_task(stage, layout, ids, ALONE), CropTransform(64, scale=(0.6, 1.2)), layout.mask


@pytest.mark.parametrize(
    "make, rates, clip, count",
    [
        (aesipe, [0.02, 0.3], 1.0, None),
        (irn, [0.02, 0.2], float("inf"), lambda target: pair_counts(target[:, ::4, ::4], 6)),
        (segmentation, [0.02, 0.2], float("inf"), lambda target: (target != 255).sum()),
    ],
)
def test_a_task_is_that_of_its_settings(layout, tmp_path, make, rates, clip, count):
    ids = layout.ids("train")
    task, transform, target = make(layout, ids, Run(tmp_path))
    assert [group["lr"] for group in task.groups] == pytest.approx(rates)
    assert (task.clip, task.steps) == (clip, 6)
    if make is irn:
        assert task.losses.args == (6,)  # the radius of the pairs
    batches = list(task.batches(3))
    assert len(batches) == 3
    images = TrainingSet(layout, ids, transform, 5, target)
    for step, batch in enumerate(batches, 3):
        for place, image_id in enumerate(batch["id"]):
            expected = images[step // 2, ids.index(image_id)]
            for key in ("image", "box", *(["target"] if target else [])):
                assert torch.equal(batch[key][place], expected[key])
        assert task.count is None if count is None else torch.equal(task.count(batch), count(batch["target"]))


class Stopped(Exception):
    """Before any training."""


def test_initial_weights_are_drawn_from_the_seed(tmp_path, monkeypatch):
    drawn = []

    def make_task(dist):
        drawn.append(torch.rand(3).tolist())
        raise Stopped

    for seed in (0, 1, 1):
        monkeypatch.setattr(sys, "argv", ["train_aesipe.py", "--run_root", str(tmp_path), "--seed", str(seed)])
        with pytest.raises(Stopped):
            StageCall("train_aesipe", "").train("ckpt/aesipe.pt", {}, make_task, ())
    assert drawn[0] != drawn[1] == drawn[2]
