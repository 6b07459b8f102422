"""What a user waits for before any work is done: start-up, looking at a dataset again, verifying what is read."""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench.measure import compare
from bench.stages import ROOT
from data.content import inputs
from data.label_png import read_label_png, read_labels, save_label_png
from data.layout import Layout
from data.toy import make_toy
from data.usable import check_image, check_labels, usable_ids
from errors import UserError
from tool.cam_file import load_cam, save_cam
from tool.checkpoint import load_state, save_result
from tool.stages import STAGES, TOOLS

DRAWN = 16  # images behind the names of a long list
SIZE = (375, 500)  # H, W of a VOC photograph


def time_start(config, runs, n_images):
    """Print and return {what: seconds}; of commands also their ratio to `python -c pass`.

    config: of a run that is finished, or None. n_images: of the list that is looked at, VOC's train_aug has 10,582.
    Raises UserError if a command fails or the run is not finished.
    """
    python = {
        "python -c pass": ["-c", "pass"],
        **{f"{stage.script} --help": [stage.script, "--help"] for stage in (*STAGES, *TOOLS)},
    }
    commands = {name: partial(_call, sys.executable, *words) for name, words in python.items()}
    if config is not None:
        commands[f"run_pipeline.sh {config}, finished"] = partial(_call_finished, config)
    results, _ = compare(commands, torch.device("cpu"), runs)
    seconds = {name: row["median"] for name, row in results.items()}
    for name, value in seconds.items():
        print(f"{name:45s} {value:7.2f} s {value / seconds['python -c pass']:7.1f} times python -c pass")
    with tempfile.TemporaryDirectory() as folder:
        more = _time_looks(Path(folder), n_images) | _time_reading(Path(folder), runs)
    for name, value in more.items():
        print(f"{name:45s} {value:9.4f} s")
    return seconds | more


def _call(*command):
    """All that a command prints: progress bars go where errors do."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise UserError(f"{' '.join(command)} failed: {(done.stdout.strip().splitlines() or ['?'])[-1]}")
    return done.stdout


def _call_finished(config):
    if "step/s" in _call("env", f"PYTHON={sys.executable}", "bash", "run_pipeline.sh", config):
        raise UserError(f"--start {config}: its run was not finished: run it first")


def _time_looks(folder, n_images):
    """Seconds of the look at a list that each stage begins with: the first time, and when nothing changed."""
    make_toy(folder / "set", train=1, train_aug=DRAWN, val=1, size=max(SIZE), seed=0)
    layout = Layout(folder / "set")
    drawn = layout.ids("train_aug")
    names = [f"copy_{number:06d}" for number in range(n_images)]
    labels = {image_id: " ".join(layout.class_names[1 + c] for c in layout.present(image_id)) for image_id in drawn}
    with open(folder / "set" / "image_labels.txt", "a") as file:
        for number, name in enumerate(names):
            source = layout.path(drawn[number % DRAWN])
            source.with_stem(name).hardlink_to(source)
            file.write(f"{name} {labels[drawn[number % DRAWN]]}\n")
    (folder / "set" / "lists" / "copies.txt").write_text("\n".join(names))

    def look():
        layout = Layout(folder / "set")
        return inputs(layout, usable_ids(layout, "copies", (check_image, check_labels)), "labels", "images")

    # The call that `compare` leaves out warms up; here it is the first look.
    rows = {}
    for name in ("first look", "later look"):
        rows |= compare({f"{name} at {n_images} images": look}, torch.device("cpu"), runs=1, budget=0)[0]
    return {name: row["median"] for name, row in rows.items()}


def _time_reading(folder, runs):
    """Seconds of reading a file as stages do, with all checks, and of reading it without any."""
    weights = {str(number): torch.rand(1024, 1024) for number in range(60)}  # 60 million, as a DeepLabV3 of ResNet-101
    save_result(folder / "net.pt", weights, {})
    save_cam(folder / "cam.npz", np.array([0, 3, 7]), np.random.default_rng(0).random((3, *SIZE)))
    save_label_png(folder / "labels.png", np.random.default_rng(0).integers(0, 21, SIZE).astype(np.uint8))
    pairs = {
        "checkpoint of 240 MB": (
            lambda: load_state(folder / "net.pt"),
            lambda: torch.load(folder / "net.pt", weights_only=True),
        ),
        "CAMs of 500 x 375, 3 classes": (
            lambda: load_cam(folder / "cam.npz", 21, SIZE),
            lambda: _bare(folder / "cam.npz"),
        ),
        "labels of 500 x 375": (
            lambda: read_labels(folder / "labels.png", 21, SIZE),
            lambda: read_label_png(folder / "labels.png"),
        ),
    }
    seconds = {}
    for name, (checked, bare) in pairs.items():
        rows, _ = compare({f"{name}, verified": checked, f"{name}, not verified": bare}, torch.device("cpu"), runs)
        seconds |= {key: row["median"] for key, row in rows.items()}
    return seconds


def _bare(path):
    with np.load(path, allow_pickle=False) as data:
        return data["keys"].astype(np.int64), data["cam"].astype(np.float32)
