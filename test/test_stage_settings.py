"""What a setting says is what its stage does: outputs at other values than the defaults against the functions that a
stage calls, called by hand."""

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scripts import read_png

import infer.segmentation
import viz.failure
from data.content import stamps
from data.transforms import resized, scaled
from infer.maps import load_aesipe, multi_scale_maps
from infer.pseudo import load_irn, mean_boundary
from infer.segmentation import likely_classes, load_deeplab, multi_scale_probabilities
from module.crf import dense_crf_labels, dense_crf_probabilities
from module.labels import weighted_argmax
from module.random_walk import propagate
from tool.cam_file import load_cam, save_cam
from tool.checkpoint import load_state, save_result
from tool.dist import Dist
from tool.run import Run
from tool.settings import MAPS, MakeCam

ALONE = Dist(0, 1, torch.device("cpu"))


def image_of(layout, image_id):
    return layout.image(image_id), layout.image(image_id).permute(1, 2, 0).numpy()


def test_maps_are_exported_at_the_scales_and_with_the_switches_that_are_given(moved):
    for name in MAPS:
        shutil.rmtree(moved.run / name)
    done = moved.stage("make_cam.py", "--scales", 1, 0.5, "--sequence", "prototype", "is_cam", "--normalization", "max")
    assert done.status == 0, done.err
    run, n_classes = Run(moved.run), moved.layout.n_classes
    switches = MakeCam(sequence=("prototype", "is_cam"), normalization="max")
    model = load_aesipe(run, n_classes, ALONE.device, switches)
    for image_id in moved.layout.ids("train"):
        image, labels = moved.layout.image(image_id), moved.layout.labels(image_id)
        keys, maps = multi_scale_maps(model, image, labels, (1.0, 0.5), MAPS)
        for name in MAPS:
            found_keys, found = load_cam(moved.run / name / f"{image_id}.npz")
            assert found_keys.tolist() == keys.tolist() and np.abs(found - maps[name].numpy()).max() < 1e-3
    # Of the report and the pictures too.
    assert load_aesipe(run, n_classes, ALONE.device).sequence == ("prototype", "is_cam")


def test_a_list_is_segmented_at_the_scales_that_are_given_with_and_without_crf(moved):
    """By a network whose last layer is drawn: one of two steps sees the same class everywhere."""
    run, path = Run(moved.run), moved.run / "ckpt/deeplab.pt"
    weights, generator = load_state(path)["model"], torch.Generator().manual_seed(0)
    last = [name for name in weights if name.startswith("head.")][-2:]
    weights |= {name: torch.randn(weights[name].shape, generator=generator) for name in last}
    save_result(path, weights, run.record("ckpt/deeplab.pt"))
    shutil.rmtree(moved.run / "deeplab")
    done = moved.stage("deeplab/test.py", "--scales", 1, 0.5, "--no-flip")
    assert done.status == 0, done.err
    model, differs = load_deeplab(run, moved.layout.n_classes, ALONE.device), set()
    for image_id in moved.layout.ids("val"):
        image, pixels = image_of(moved.layout, image_id)
        probabilities = multi_scale_probabilities(model, image, (1.0, 0.5), False)
        classes, labels = likely_classes(probabilities), probabilities.argmax(dim=0).numpy()
        kept = (probabilities[classes] / probabilities[classes].sum(dim=0)).numpy()
        refined = classes.numpy()[dense_crf_probabilities(pixels, kept).argmax(axis=0)]
        assert np.array_equal(read_png(moved.run / f"deeplab/val/{image_id}.png"), labels)
        assert np.array_equal(read_png(moved.run / f"deeplab/val_crf/{image_id}.png"), refined)
        differs |= {"crf"} if (refined != labels).any() else set()
        for other in (((1.0,), False), ((1.0, 0.5), True)):
            if (multi_scale_probabilities(model, image, *other).argmax(dim=0).numpy() != labels).any():
                differs.add(other)
    assert len(differs) == 3  # each of the three would be noticed


@pytest.mark.parametrize("refine", ["irn", "crf"])
def test_pseudo_labels_follow_every_setting_of_their_stage(moved, refine):
    """From maps that are drawn: those of so young a network are nearly the same at every weight."""
    ids, rng, layout = moved.layout.ids("train_aug"), np.random.default_rng(0), moved.layout
    for image_id, stamp in stamps(layout, ids).items():
        maps = resized(torch.from_numpy(rng.random((1 + len(layout.present(image_id)), 5, 6))), layout.size(image_id))
        keys = [0, *(1 + index for index in layout.present(image_id))]
        save_cam(moved.run / f"cam/{image_id}.npz", keys, maps.clamp(0, 1).numpy(), stamp=stamp)
    shutil.rmtree(moved.run / "seg_label")
    walk = ("--power", 3, "--beta", 4, "--steps", 8, "--radius", 3, "--boundary_scale", 1.5)
    done = moved.stage("make_seg_labels.py", "--refine", refine, "--map", "cam", "--background_weight", 0.6, *walk)
    assert done.status == 0, done.err
    irn = load_irn(Run(moved.run), ALONE.device)
    for image_id in ids:
        image, pixels = image_of(layout, image_id)
        keys, cam = load_cam(moved.run / f"cam/{image_id}.npz")
        if refine == "irn":
            boundary = mean_boundary(irn, scaled(image, 1.5))
            low = F.interpolate(torch.from_numpy(cam)[None], boundary.shape, mode="bilinear", align_corners=False)[0]
            walked = propagate(low**3, boundary, 3, 4, 8)
            walked = F.interpolate(walked[None], cam.shape[1:], mode="bilinear", align_corners=False)[0]
            expected = weighted_argmax((walked / (walked.max() + 1e-5)).numpy(), 0.6)
        else:
            expected = dense_crf_labels(pixels, weighted_argmax(cam, 0.6), len(keys))
        assert np.array_equal(read_png(moved.run / f"seg_label/{image_id}.png"), keys[expected])


def test_ir_labels_are_of_the_map_that_is_named(moved):
    shutil.rmtree(moved.run / "ir_label")
    for name in ("is_cam", "ae_is_cam"):
        shutil.rmtree(moved.run / name)
    assert moved.stage("make_ir_labels.py", "--map", "cam").status == 0
    assert len(list((moved.run / "ir_label").glob("*.png"))) == 13


@pytest.mark.parametrize(
    "name, folder, suffix, maker",
    [
        ("train_irn.py", "ir_label", ".png", "make_ir_labels.py"),
        ("deeplab/train.py", "seg_label", ".png", "make_seg_labels.py"),
        ("eval_cam.py", "cam", ".npz", "make_cam.py"),
        ("eval_seg.py", "seg_label", ".png", "make_seg_labels.py"),
    ],
)
def test_outputs_of_other_images_are_neither_trained_on_nor_scored(moved, name, folder, suffix, maker):
    shutil.rmtree(moved.run / "eval")
    for stem in ("irn", "deeplab"):
        (moved.run / f"ckpt/{stem}.pt").unlink()
    one, other, *_ = moved.layout.ids("train")
    shutil.copy(moved.run / folder / f"{other}{suffix}", moved.run / folder / f"{one}{suffix}")
    done = moved.stage(name)
    assert done.status == 2 and len(done.err.splitlines()) == 1
    assert f"{one}{suffix}: was made from another image or other labels: run {maker}" in done.err


def test_outputs_know_what_auto_stood_for(moved, monkeypatch):
    """Else a machine whose auto is another precision would add its own to them."""
    shutil.rmtree(moved.run / "cam")
    flags = ("make_cam.py", "--maps", "cam", "--precision", "auto")
    assert moved.stage(*flags).status == 0
    (moved.run / "cam" / f"{moved.layout.ids('train')[0]}.npz").unlink()
    monkeypatch.setattr("tool.device.resolve_precision", lambda *given: "bfloat16")
    done = moved.stage(*flags)
    assert done.status == 2 and "cam was made in float32, and this machine computes in bfloat16" in done.err


def test_the_report_asks_as_it_is_told(finished, script, tmp_path, monkeypatch):
    asked = []
    load, count = infer.segmentation.load_predictor, viz.failure.count_failures
    monkeypatch.setattr(infer.segmentation, "load_predictor", lambda *given: asked.append(given[2]) or load(*given))
    monkeypatch.setattr(viz.failure, "count_failures", lambda *given: asked.append(len(given[1])) or count(*given))
    flags = ("--images", 1, "--failure_images", 3, "--scales", 1, 0.5, "--num_workers", 0)
    done = script("report.py", finished.run, "--out", tmp_path / "out", *flags)
    assert done.status == 0 and asked == [(1.0, 0.5), 3], done.err
