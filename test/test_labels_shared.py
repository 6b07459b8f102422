"""The labels that a training needs, looked at in shares before it begins."""

import importlib
from types import SimpleNamespace

import pytest
import torch

from data.layout import Layout
from data.toy import make_toy
from tool.dist import Dist


class Stopped(Exception):
    """What follows is of no interest."""


@pytest.mark.parametrize("script, labels", [("train_irn", "ir_label"), ("deeplab.train", "seg_label")])
def test_a_process_looks_at_its_share_of_the_labels(tmp_path, script, labels):
    """Found: each of them opened all, 82,081 files on a disk across the network."""

    def require(stamps, folder, suffix):
        looked.append((list(stamps), folder, suffix))
        raise Stopped

    make_toy(tmp_path / "toy", train=2, train_aug=5, val=1, size=64)
    layout, looked = Layout(tmp_path / "toy"), []
    ids = layout.ids("train_aug")
    stage = SimpleNamespace(settings=SimpleNamespace(labels=labels), run=tmp_path, require=require)
    for rank in range(2):
        with pytest.raises(Stopped):
            importlib.import_module(script).make_task(stage, layout, ids, Dist(rank, 2, torch.device("cpu")))
    assert looked == [(ids[::2], labels, ".png"), (ids[1::2], labels, ".png")]
