"""What tests of whole scripts share: a pipeline of seconds, and calls as a user makes them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from data.label_png import voc_palette

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = (
    "dataset.train=6",
    "dataset.train_aug=13",
    "dataset.val=4",
    "dataset.size=80",
    "common.num_workers=1",
    "train_aesipe.crop_size=64",
    "train_aesipe.long_side=[56, 80]",
    "train_aesipe.batch_size=4",
    "train_aesipe.max_epochs=1",
    "train_aesipe.batch_norm=frozen",
    "train_aesipe.precision=float32",
    "train_aesipe.lr=0.01",
    "train_aesipe.lr_new=0.1",
    "make_cam.scales=[1.0]",
    "make_cam.maps=[ae_is_cam, is_cam, cam]",
    "eval_cam.maps=[cam, is_cam, ae_is_cam]",
    "eval_cam.background_weight=[0.8, 1.0]",
    "eval_cam.sweep=[0.3, 0.5]",
    "train_irn.crop_size=64",
    "train_irn.radius=5",
    "train_irn.batch_size=4",
    "train_irn.max_epochs=1",
    "make_seg_labels.steps=16",
    "deeplab_train.crop_size=64",
    "deeplab_train.batch_size=4",
    "deeplab_train.max_iters=2",
    "deeplab_test.scales=[1.0]",
    "report.images=2",
)


def run(*command, **variables):
    """A command in the repository, on the CPU; this test's Python is the driver's."""
    distributed = ("RANK", "WORLD_SIZE", "GPUS", "NNODES")
    environment = {key: value for key, value in os.environ.items() if key not in distributed}
    environment |= {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(
        [str(part) for part in command], cwd=REPOSITORY, capture_output=True, text=True, env=environment, timeout=600
    )


def error_lines(text):
    return [line for line in text.splitlines() if line.startswith("error: ")]


def stamps(folder):
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
        and path.parent.name not in ("eval", "report")
        and path.name not in ("config.yaml", "log.jsonl", ".lock")
    }


def read_png(path):
    with Image.open(path) as image:
        assert image.mode == "P" and image.getpalette()[: 3 * 256] == voc_palette().ravel().tolist()
        return np.array(image)
