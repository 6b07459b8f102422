"""What tests of whole scripts share: a pipeline of seconds, and calls as a user makes them."""

import contextlib
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
from PIL import Image

from data.label_png import voc_palette
from tool.stages import STAGES

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = (
    "dataset.train=6",
    "dataset.train_aug=13",
    "dataset.val=4",
    "dataset.size=80",
    "common.backbone=mobilenet_v3_small",
    "common.num_workers=0",
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
    "common.seed=0",
)


def run(*command, folder=REPOSITORY, **variables):
    """A command in the repository or a copy of it, on the CPU; this test's Python is the driver's."""
    distributed = ("RANK", "WORLD_SIZE", "GPUS", "NNODES")
    environment = {key: value for key, value in os.environ.items() if key not in distributed}
    environment |= {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, env=environment, timeout=600
    )


def in_turn(lines, *unwanted, folder=REPOSITORY):
    """Lines of words that would follow `python`, in one process of their own: see in_turn.py."""
    lines = [[str(word) for word in line] for line in lines]
    return run(sys.executable, REPOSITORY / "test/in_turn.py", json.dumps(lines), *unwanted, folder=folder)


def call(name, *arguments):
    """status, out and err of a script, run within this process: PyTorch's start takes longer than what it does."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="\n", write_through=True) for _ in range(2))
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), patch.object(sys, "argv", [name]):
        sys.argv += map(str, arguments)
        try:
            runpy.run_path(str(REPOSITORY / name), run_name="__main__")
        except SystemExit as stop:
            status = stop.code or 0
    return SimpleNamespace(status=status, out=out.buffer.getvalue().decode(), err=err.buffer.getvalue().decode())


def pipeline(config, *assignments, to="report"):
    """All that run_pipeline.sh runs up to a stage, within this process, with the settings in the folder of the run."""
    folder = Path(next(each.partition("=")[2] for each in assignments if each.startswith("common.run_root=")))
    folder.mkdir(parents=True, exist_ok=True)
    steps = [("check_config.py", config, folder / "settings.yaml", *assignments)]
    for stage in STAGES:
        steps.append((stage.script, "--config", folder / "settings.yaml"))
        if stage.name == to:
            break
    for name, *arguments in steps:
        done = call(name, *arguments)
        assert done.status == 0, f"{name}: {done.err[-3000:]}"


def copy_run(run, target):
    """A copy of a run, whose checkpoints are links: they are large, and no stage writes into a file that is there."""

    def link_or_copy(source, copy):
        (os.link if source.endswith(".pt") else shutil.copy2)(source, copy)

    shutil.copytree(run, target, copy_function=link_or_copy)


HEAVY = ("torch", "torchvision", "numpy", "cv2", "scipy", "matplotlib", "onnxruntime")  # what takes long to import


def finished_stages(run):
    """The records of what each stage took."""
    return [line for line in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if line.get("finished")]


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
