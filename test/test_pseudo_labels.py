"""The stages between maps and pseudo labels, as a user runs them with settings of their own."""

import shutil

import numpy as np
import pytest
import torch
from scripts import read_png

from module.crf import dense_crf_labels
from module.labels import ir_labels, weighted_argmax
from tool.cam_file import load_cam
from tool.json_file import load_json


def test_confident_foreground_has_a_weight_of_its_own(moved):
    """Of the classifier's map: in other maps of so young a network a pixel is all foreground or all background."""
    shutil.rmtree(moved.run / "ir_label")
    done = moved.stage("make_ir_labels.py", "--map", "cam", "--foreground_weight", 1.3, "--background_weight", 1.1)
    assert done.status == 0, done.err
    differ = []
    for image_id in moved.layout.ids("train_aug"):
        image = moved.layout.image(image_id).permute(1, 2, 0).numpy()
        keys, cam = load_cam(moved.run / "cam" / f"{image_id}.npz")
        sure, wide = (keys[dense_crf_labels(image, weighted_argmax(cam, weight), len(keys))] for weight in (1.3, 1.1))
        assert np.array_equal(read_png(moved.run / "ir_label" / f"{image_id}.png"), ir_labels(sure, wide))
        differ.append((sure != wide).mean())
    assert max(differ) > 0.1


def test_irn_learns_from_the_masks_as_an_upper_bound(moved):
    shutil.rmtree(moved.run / "ir_label")
    (moved.run / "ckpt/irn.pt").unlink()
    settings = ("--labels", "truth", "--kernel", 3, "--frozen_stages", 3)
    assert moved.stage("train_irn.py", *settings, "--list", "train").status == 0
    state = torch.load(moved.run / "ckpt/irn.pt", weights_only=True)["model"]
    assert state["boundary.projections.0.0.weight"].shape[2:] == (3, 3)
    shutil.rmtree(moved.run / "seg_label")
    assert moved.stage("make_seg_labels.py").status == 0  # knows the heads by the checkpoint's record
    done = moved.stage("train_irn.py", "--labels", "ir_label", "--resume", "never")
    assert done.status == 2 and "ir_label" in done.err


def test_kept_scores_are_swept_without_another_walk(moved):
    done = moved.stage("eval_seg.py", "--background_weight", 1.0)
    assert done.status == 2 and "seg_score" in done.err and "make_seg_labels.py --keep_scores" in done.err
    labels = {path.name: path.read_bytes() for path in (moved.run / "seg_label").glob("*.png")}
    assert moved.stage("make_seg_labels.py", "--keep_scores").status == 0
    assert labels == {path.name: path.read_bytes() for path in (moved.run / "seg_label").glob("*.png")}
    for image_id in moved.layout.ids("train_aug"):
        keys, scores = load_cam(moved.run / "seg_score" / f"{image_id}.npz", 6, moved.layout.size(image_id))
        same = keys[weighted_argmax(scores)] == read_png(moved.run / "seg_label" / f"{image_id}.png")
        assert same.mean() > 0.99  # float16 decides ties otherwise
    done = moved.stage("eval_seg.py", "--background_weight", 0.5, 1.0)
    assert done.status == 0 and "seg_score  background x0.5   +CRF mIoU" in done.out
    result = load_json(moved.run / "eval/seg.json")
    rows = {(row["background_weight"], row["crf"]): row["miou"] for row in result["swept"]}
    assert [*rows] == [(0.5, False), (1.0, False), (0.5, True), (1.0, True)]
    assert rows[1.0, False] == pytest.approx(result["miou"], abs=0.01)
