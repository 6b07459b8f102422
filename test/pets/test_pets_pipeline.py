"""configs/photos_demo.yaml on the miniature of Oxford-IIIT Pet: from its archives to a report, a few steps each."""

import json

import numpy as np
from pets_miniature import TRAIN_AUG, VAL
from scripts import REPOSITORY, pipeline

from data.label_png import read_label_png
from pets.sources import IMAGES
from tool.config import parse
from tool.settings import PrepareDataset

CONFIG = "configs/photos_demo.yaml"
STEPS = (
    "common.num_workers=0",
    "common.weights=none",
    "train_aesipe.crop_size=64",
    "train_aesipe.long_side=[56, 80]",
    "train_aesipe.batch_size=2",
    "train_aesipe.max_epochs=1",
    "make_cam.scales=[1.0]",
    "train_irn.crop_size=64",
    "train_irn.radius=5",
    "train_irn.batch_size=2",
    "train_irn.max_epochs=1",
    "make_seg_labels.steps=16",
    "deeplab_train.crop_size=64",
    "deeplab_train.batch_size=2",
    "deeplab_train.max_iters=3",
    "deeplab_test.scales=[1.0]",
    "report.images=2",
)


def test_the_whole_pipeline(archives, mirror, tmp_path):
    """In this process, where the sums are those of the miniature."""
    places = (f"common.dataset_root={archives.root}", f"common.run_root={tmp_path / 'runs'}")
    pipeline(CONFIG, *STEPS, f"dataset.mirror={mirror}", "dataset.skip_bad=false", *places)
    assert (archives.root / IMAGES).exists()
    folder = tmp_path / "runs/photos_demo"
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = [value for row in rows for key, value in row.items() if "loss" in key and isinstance(value, float)]
    assert losses and np.isfinite(losses).all()
    for name in TRAIN_AUG:
        allowed = {0, 1 if name[0].isupper() else 2}
        assert {*np.unique(read_label_png(folder / f"seg_label/{name}.png")).tolist()} <= allowed
    assert sorted(path.stem for path in (folder / "deeplab/val").glob("*.png")) == sorted(VAL)
    scores = json.loads((folder / "eval/deeplab_val.json").read_text())["crf"]
    assert scores["iou"].keys() == {"background", "cat", "dog"} and 0 <= scores["miou"] <= 1
    assert (folder / "report/index.html").exists()


def test_the_config_needs_no_more_than_its_name():
    settings = parse("dataset", argv=["--config", str(REPOSITORY / CONFIG)])
    assert (settings.kind, settings.download, settings.mirror, settings.check_counts) == ("pets", True, None, True)
    assert settings.dataset_root == "data/pets" != PrepareDataset().dataset_root
    for stage in ("train_aesipe", "train_irn"):
        assert parse(stage, argv=["--config", str(REPOSITORY / CONFIG)]).backbone == "mobilenet_v2"
