"""The whole pipeline on the miniature of COCO 2014: from its archives to a score over 81 classes, a few steps each."""

import json

import numpy as np
import pytest
from coco_miniature import IMAGES, OBJECTS, SMALL, TRAIN, VAL, make_trees
from scripts import run

from data.layout import Layout
from tool.config import parse

STEPS = (
    "dataset.download=false",
    "dataset.check_counts=false",
    "common.num_workers=1",
    "common.backbone=resnet18",
    "common.weights=none",
    "common.precision=float32",
    "train_aesipe.crop_size=64",
    "train_aesipe.long_side=[56, 80]",
    "train_aesipe.batch_size=3",
    "train_aesipe.max_epochs=3",
    "make_cam.scales=[1.0]",
    "train_irn.crop_size=64",
    "train_irn.radius=5",
    "train_irn.batch_size=1",
    "make_seg_labels.steps=16",
    "deeplab_train.crop_size=64",
    "deeplab_train.batch_size=3",
    "deeplab_train.max_iters=3",
    "deeplab_test.scales=[1.0]",
    "report.images=2",
)


@pytest.mark.parametrize("config", [pytest.param("coco14_resnet101", marks=pytest.mark.slow), "coco14_sipe_resnet101"])
def test_the_whole_pipeline(tmp_path, config):
    make_trees(tmp_path / "trees")
    done = run(
        "bash",
        "run_pipeline.sh",
        f"configs/{config}.yaml",
        *STEPS,
        f"dataset.sources=[{tmp_path / 'trees'}]",
        f"common.dataset_root={tmp_path / 'set'}",
        f"common.run_root={tmp_path / 'runs'}",
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    folder = tmp_path / "runs" / config
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = [value for row in rows for key, value in row.items() if "loss" in key and isinstance(value, float)]
    assert losses and np.isfinite(losses).all()
    with np.load(folder / f"ae_is_cam/{TRAIN[1]}.npz", allow_pickle=False) as cam:
        assert cam["keys"].tolist() == [0, 40, 80] and cam["cam"].dtype == np.uint8
    scores = json.loads((folder / "eval/deeplab_val.json").read_text())["crf"]
    assert len(scores["confusion"]) == 81 and len(scores["iou"]) == 81 and 0 <= scores["miou"] <= 1
    assert {name for name, value in scores["iou"].items() if value is not None} == {"background", "stop sign", "chair"}
    assert sorted(path.stem for path in (folder / "deeplab/val").glob("*.png")) == VAL
    by_crf = config == "coco14_sipe_resnet101"
    assert (folder / "ckpt/irn.pt").exists() != by_crf and (folder / "ir_label").exists() != by_crf
    assert ("train_irn: not needed: refine is crf" in done.stdout) == by_crf
    layout = Layout(tmp_path / "set")
    for image_id in TRAIN:
        present = {0, *(1 + index for index in layout.present(image_id))}
        labels = np.unique(layout_labels(folder / f"seg_label/{image_id}.png"))
        assert set(labels.tolist()) <= present


def layout_labels(path):
    from data.label_png import read_label_png

    return read_label_png(path)


def test_the_configs_hold_the_familys_settings():
    for name, refine in (("coco14_resnet101", "irn"), ("coco14_sipe_resnet101", "crf")):
        config = ["--config", f"configs/{name}.yaml"]
        dataset, training = parse("dataset", argv=config), parse("train_aesipe", argv=config)
        assert (dataset.kind, dataset.download, dataset.overlap, dataset.crowd) == (
            "coco14",
            True,
            "later",
            "background",
        )
        assert training.max_epochs * (82_081 // training.batch_size) == 25_650
        assert (training.crop_size, training.long_side) == (512, (320, 640))
        assert parse("make_cam", argv=config).cam_bits == 8
        assert parse("make_seg_labels", argv=config).refine == parse("train_irn", argv=config).refine == refine
        deeplab = parse("deeplab_train", argv=config)
        assert (deeplab.max_iters, deeplab.batch_size, deeplab.crop_size) == (100_000, 10, 321)


def test_the_miniature_has_what_trips_masks_up():
    assert {key for _, key, _, _ in OBJECTS} >= {1, 13, 90} and {crowd for _, _, crowd, _ in OBJECTS} == {0, 1}
    assert SMALL["train_all"] == sum(split == "train" for split, _ in IMAGES.values())
