"""A finished run in miniature for tests of what reads one: both networks, with random weights."""

import torch

from deeplab.model import build as build_deeplab
from net.aesipe import build as build_aesipe
from tool.checkpoint import save_result
from tool.record import make_record
from tool.run import Run
from tool.settings import MakeSegLabels, from_plain
from tool.stages import BY_NAME

CLASSES = ("background", "cat", "my dog", "Vögel")
NETWORK = {"backbone": "mobilenet_v2", "weights": "none", "frozen_stages": 0, "batch_norm": "train"}
METHOD = {
    "structure_features": "hierarchical",
    "ae": True,
    "sequence": ["pamr", "prototype", "is_cam"],
    "normalization": "minmax",
    "cam_background": "all",
}


def make_run(run, dataset):
    """A run with both networks, their weights at random, in eval mode as trained ones are."""
    torch.manual_seed(0)
    for name, build, stage, more in (
        ("aesipe", build_aesipe, "train_aesipe", METHOD),
        ("deeplab", build_deeplab, "deeplab_train", {}),
    ):
        settings = from_plain(BY_NAME[stage].settings, NETWORK | more)
        model, _ = build(settings, len(CLASSES), "none")
        save_result(run / "ckpt" / f"{name}.pt", model.state_dict(), make_record(stage, settings, {}))
    Run(run).keep_class_names(CLASSES)
    Run(run).keep_settings("make_seg_labels", MakeSegLabels(dataset_root=str(dataset)))
