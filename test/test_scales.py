"""What both networks export is what they say of an image at the scales, with its mirror or not, of the settings."""

import shutil

import numpy as np
import torch
from scripts import read_png

from infer.maps import load_aesipe, multi_scale_maps
from infer.segmentation import load_deeplab, multi_scale_probabilities
from tool.cam_file import load_cam
from tool.run import Run

CPU = torch.device("cpu")


def test_maps_are_those_of_the_scales(moved):
    shutil.rmtree(moved.run / "ae_is_cam")
    done = moved.stage("make_cam.py", "--scales", 1, 0.5, "--maps", "ae_is_cam", "--list", "train")
    assert done.status == 0, done.err
    model, differences = load_aesipe(Run(moved.run), 6, CPU), []
    for image_id in moved.layout.ids("train"):
        keys, cam = load_cam(moved.run / f"ae_is_cam/{image_id}.npz")
        arguments = moved.layout.image(image_id), moved.layout.labels(image_id)
        (own, both), (_, one) = (
            multi_scale_maps(model, *arguments, scales, ["ae_is_cam"]) for scales in ((1, 0.5), (1,))
        )
        assert keys.tolist() == own.tolist() and np.abs(cam - both["ae_is_cam"].numpy()).max() < 2e-3
        differences.append(np.abs(cam - one["ae_is_cam"].numpy()).max())
    assert min(differences) > 0.01


def test_labels_are_those_of_the_scales_without_the_mirror_image_if_told_so(moved, monkeypatch):
    """Two steps of training leave one class everywhere, so what the network is asked for is looked at too."""
    asked = []

    def noted(model, image, scales, flip, *more):
        asked.append((tuple(scales), flip))
        return multi_scale_probabilities(model, image, scales, flip, *more)

    monkeypatch.setattr("infer.segmentation.multi_scale_probabilities", noted)
    model, ids = load_deeplab(Run(moved.run), 6, CPU), moved.layout.ids("val")
    for flip, flags in ((True, ()), (False, ("--no-flip",))):
        shutil.rmtree(moved.run / "deeplab")
        asked.clear()
        done = moved.stage("deeplab/test.py", "--scales", 1, 0.5, "--no-crf", *flags)
        assert done.status == 0, done.err
        assert asked == [((1.0, 0.5), flip)] * len(ids)
        for image_id in ids:
            expected = multi_scale_probabilities(model, moved.layout.image(image_id), (1.0, 0.5), flip).argmax(dim=0)
            assert (read_png(moved.run / f"deeplab/val/{image_id}.png") == expected.numpy()).mean() > 0.999
