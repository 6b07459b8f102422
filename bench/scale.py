"""Seconds and memory of every step that is no network, on a set as large as COCO 2014: 81 classes, tiny images.

Each step is the stage's own script, in a process of its own. Annotations are as long as COCO's, since what they take
does not depend on the size of the images. Maps, which a network would make, are written as make_cam.py writes them.
"""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from bench.stages import run_script
from coco14.classes import CATEGORIES
from data.content import class_input, stamps
from data.layout import Layout
from errors import UserError
from tool.cam_file import save_cam
from tool.parallel import background
from tool.record import make_record
from tool.run import Run
from tool.settings import MakeCam
from tool.usage import append_json
from viz.runs import read_log

SIZE = (24, 32)  # H, W
DRAWN = 64  # images behind the names, since a file may have only so many
OBJECTS = 7.3  # an image, as in COCO
POINTS = 28  # of an outline: 4 KB of text an image, as in COCO
TRAIN = 2 / 3  # of the images
LOG_LINES = 1.5  # an image: COCO's training writes 125,650 for 82,081


def time_scale(n_images, workers):
    """Print and return {step: {"seconds", "mib"}}. Raises UserError if a step fails. n_images: of train and val."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        began = time.perf_counter()
        texts = make_coco(folder / "coco", n_images)
        print(
            f"{n_images} images of {SIZE[1]} x {SIZE[0]}, {texts >> 20} MiB of annotations drawn in {_since(began)} s"
        )
        report = {}
        for name, step in _steps(folder, n_images, workers).items():
            report[name] = step()
            seconds, mib = report[name].values()
            memory = "" if mib is None else f"{mib:7.0f} MiB"
            print(f"{name:34s} {seconds:8.1f} s {1e3 * seconds / n_images:7.3f} ms an image {memory}", flush=True)
    return report


def _since(began):
    return round(time.perf_counter() - began, 1)


def _steps(folder, n_images, workers):
    """{name: function of nothing that returns {"seconds", "mib"}}, in order."""
    common = ["--dataset_root", folder / "set", "--num_workers", workers]
    run = ["--run_root", folder, "--session_name", "run"]
    prepare = ["prepare_dataset.py", "--kind", "coco14", "--no-check_counts", *common]

    def script(*arguments):
        return lambda: dict(zip(("seconds", "mib"), run_script(*arguments)))

    return {
        "prepare: annotations and masks": script(*prepare, "--sources", folder / "coco"),
        "prepare, finished": script(*prepare),
        "data.check": script("-m", "data.check", folder / "set"),
        "maps written (8 bits)": lambda: _timed(lambda: write_maps(folder)),
        "eval_cam": script("eval_cam.py", *common, *run, "--no-crf", "--tracker", "tensorboard"),
        "eval_cam, finished": script("eval_cam.py", *common, *run, "--no-crf"),
        "make_ir_labels (dense CRF)": script("make_ir_labels.py", *common, *run),
        "make_ir_labels, finished": script("make_ir_labels.py", *common, *run),
        "make_seg_labels, refine crf": script("make_seg_labels.py", "--refine", "crf", *common, *run),
        "eval_seg": script("eval_seg.py", *common, *run),
        "log written and read": lambda: _timed(lambda: _write_log(folder / "log.jsonl", round(LOG_LINES * n_images))),
    }


def _timed(function):
    began = time.perf_counter()
    function()
    return {"seconds": time.perf_counter() - began, "mib": None}


def make_coco(folder, n_images, seed=0):
    """COCO 2014's trees with n_images images of few contents. Returns the annotations' bytes."""
    rng = np.random.default_rng(seed)
    drawn = []
    (folder / "annotations").mkdir(parents=True)
    for number in range(min(DRAWN, n_images)):
        drawn.append(folder / f"{number}.jpg")
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).save(drawn[-1])
    ids = np.sort(rng.choice(5 * n_images, n_images, replace=False)) + 1
    n_train, texts = round(TRAIN * n_images), 0
    for split, numbers in (("train", ids[:n_train]), ("val", ids[n_train:])):
        (folder / f"{split}2014").mkdir()
        for number in numbers:
            source = drawn[number % len(drawn)]
            (folder / f"{split}2014/COCO_{split}2014_{number:012d}.jpg").hardlink_to(source)
        texts += _write_annotations(folder / f"annotations/instances_{split}2014.json", split, numbers.tolist(), rng)
    return texts


def _write_annotations(path, split, numbers, rng):
    """Written as it goes: the whole would take gigabytes as objects of Python."""
    names = [*CATEGORIES]
    weights = 1 / np.arange(1, len(names) + 1)  # some classes are hundreds of times as frequent as others, as in COCO
    kinds = iter(
        np.concatenate(
            [np.arange(len(names)), rng.choice(len(names), 12 * len(numbers), p=weights / weights.sum())]
        ).tolist()
    )
    outlines = [json.dumps([outline.tolist()]) for outline in _outlines(rng, 1000)]
    with open(path, "w") as file:
        file.write('{"info": {}, "licenses": [], "images": [')
        entry = '{{"id": {0}, "file_name": "COCO_{1}2014_{0:012d}.jpg", "height": {2}, "width": {3}}}'
        file.write(", ".join(entry.format(number, split, *SIZE) for number in numbers))
        file.write('], "categories": ')
        json.dump([{"id": key, "name": name} for key, name in CATEGORIES.items()], file)
        file.write(', "annotations": [')
        counts = rng.poisson(OBJECTS, len(numbers)).tolist()
        text = '{{"id": {}, "image_id": {}, "category_id": {}, "iscrowd": 0, "area": 9.5, "segmentation": {}}}'
        total, between = 0, ""
        for number, count in zip(numbers, counts):
            for _ in range(min(count, 10)):
                total += 1
                kind = names[next(kinds)]
                file.write(between + text.format(total, number, kind, outlines[total % len(outlines)]))
                between = ", "
        file.write("]}")
    return path.stat().st_size


def _outlines(rng, number):
    """Rough circles, [number, 2 * POINTS]."""
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    radius = rng.uniform(1, 7, (number, 1)) * rng.uniform(0.8, 1.2, (number, POINTS))
    centre = rng.uniform(4, 20, (number, 2, 1))
    points = centre + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)])
    return np.round(points.transpose(0, 2, 1).reshape(number, -1), 2)


def write_maps(folder):
    """The maps of all images of train, as make_cam.py would leave them."""
    run, layout = Run(folder / "run"), Layout(folder / "set")
    settings = MakeCam(dataset_root=str(folder / "set"), cam_bits=8)
    run.claim("ae_is_cam", make_record("make_cam", settings, class_input(layout)))
    rng = np.random.default_rng(0)
    maps = rng.random((12, *SIZE), np.float32)
    with background() as submit:
        for image_id, stamp in stamps(layout, layout.ids("train")).items():
            keys = [0, *(1 + index for index in layout.present(image_id))]
            submit(save_cam, run / f"ae_is_cam/{image_id}.npz", keys, maps[: len(keys)], 8, stamp)


def _write_log(path, lines):
    for step in range(lines):
        append_json(path, {"stage": "train_aesipe", "step": step, "lr": 0.01, "loss": 0.7})
    if len(read_log(path)) != lines:
        raise UserError("--scale: the log is not as it was written")
