"""Odd images without masks, from folders per class to the last stage."""

import io
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scripts import REPOSITORY, SMALL, read_png, stamps

from data.layout import Layout
from tool.cam_file import load_cam
from tool.stages import STAGES

CLASSES = ("cat", "my dog", "Vögel")
# name, class folders, (H, W) as shown, how it is saved
IMAGES = [
    ("grey.jpg", "cat", (70, 90), "L"),
    ("rgba.PNG", "my dog", (80, 60), "RGBA"),
    ("palette.png", "Vögel", (64, 64), "P"),
    ("deep.16.bit.png", "cat", (75, 50), "I;16"),
    ("turned.jpeg", "my dog", (96, 64), "EXIF"),
    ("tall.bmp", "Vögel", (120, 40), "RGB"),
    ("larger image.jpg", "cat", (150, 200), "RGB"),
    ("naïve Ω.v1.2.webp", "my dog", (72, 81), "RGB"),
    ("二.tif", "Vögel", (66, 77), "RGB"),
    ("$a$ 50%.jpg", "cat", (60, 60), "RGB"),
]


def save_image(path, size, kind, seed):
    height, width = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    pixels = cv2.resize(pixels, (width, height))
    if kind == "I;16":
        cv2.imwrite(str(path), pixels[..., 0].astype(np.uint16) * 257)
    elif kind == "EXIF":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.ascontiguousarray(np.rot90(pixels))).save(path, exif=exif)
    else:
        Image.fromarray(pixels).convert(kind).save(path)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """What check and stages of the driver leave of images in folders per class, all within this process to save time;
    one image shows two classes and lies in both."""
    root = tmp_path_factory.mktemp("own")
    for name in CLASSES:
        (root / "data/images_by_class" / name).mkdir(parents=True)
    for seed, (name, folder, size, kind) in enumerate(IMAGES):
        save_image(root / "data/images_by_class" / folder / name, size, kind, seed)
    first = root / "data/images_by_class/cat/grey.jpg"
    (root / "data/images_by_class/Vögel/grey.jpg").write_bytes(first.read_bytes())
    small = [
        each for each in SMALL if not each.startswith(("dataset.", "eval_cam.", "make_cam.maps", "common.backbone"))
    ]
    small += ["train_irn.weights=none", "common.weights=none", "report.images=3"]
    small += [f"common.dataset_root={root / 'data'}", f"common.run_root={root / 'runs'}"]
    config, output, errors = root / "config.yaml", io.StringIO(), io.StringIO()
    calls = [("check_config.py", REPOSITORY / "configs/own_small.yaml", config, *small)]
    calls += [(stage.script, "--config", config) for stage in STAGES]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
        patch.setattr(torch.cuda, "is_available", lambda: False)
        for script, *arguments in calls:
            patch.setattr(sys, "argv", [script, *map(str, arguments)])
            try:
                runpy.run_path(str(REPOSITORY / script), run_name="__main__")
            except SystemExit as stop:
                assert not stop.code, f"{script}: {errors.getvalue()[-3000:]}"
    return SimpleNamespace(
        output=output.getvalue(), errors=errors.getvalue(), run=root / "runs/own_small", layout=Layout(root / "data")
    )


def test_every_image_has_outputs_of_its_own_size(own):
    ids = {"train_aug": own.layout.ids("train_aug"), "val": own.layout.ids("val")}
    assert sorted(ids["train_aug"] + ids["val"]) == sorted(name.rpartition(".")[0] for name, *_ in IMAGES)
    sizes = {name.rpartition(".")[0]: size for name, _, size, _ in IMAGES}
    for image_id in ids["train_aug"]:
        keys, cam = load_cam(own.run / f"ae_is_cam/{image_id}.npz")
        assert cam.shape == (len(keys), *sizes[image_id])
        for folder in ("ir_label", "seg_label"):
            assert read_png(own.run / folder / f"{image_id}.png").shape == sizes[image_id]
    for image_id in ids["val"]:
        for folder in ("val", "val_crf"):
            assert read_png(own.run / "deeplab" / folder / f"{image_id}.png").shape == sizes[image_id]


def test_labels_come_from_the_folders(own):
    assert own.layout.class_names == ["background", "Vögel", "cat", "my dog"]
    assert own.layout.labels("grey").tolist() == [1, 1, 0] and own.layout.labels("turned").tolist() == [0, 0, 1]
    assert own.layout.labels("larger image").tolist() == [0, 1, 0]


def test_evaluation_is_left_out_with_a_line_saying_so(own):
    for stage in ("eval_cam", "eval_seg", "deeplab_test"):
        assert [line for line in own.output.splitlines() if line.startswith(f"{stage}: ") and "no masks" in line], stage
    assert not (own.run / "eval").exists()
    assert "Nothing was evaluated" in (own.run / "report/report.md").read_text()
    assert (own.run / "report/panels.png").stat().st_size > 0
    assert "Traceback" not in own.errors, own.errors


def test_the_checker_agrees(own):
    from data.check import check

    text, findings = check(own.layout.root)
    assert "none: evaluation is left out" in text and not any(findings.found.values()), text


def test_test_images_need_no_labels(own, script, tmp_path):
    """The network predicts on its own; only a stage that makes pseudo labels asks what is in an image."""
    (own.layout.root / "lists/new.txt").write_text("turned\nlarger image\n")
    labels = own.layout.root / "image_labels.txt"
    kept, before = labels.read_bytes(), stamps(own.run / "ae_is_cam")
    flags = [
        "--dataset_root",
        own.layout.root,
        "--run_root",
        own.run.parent,
        "--session_name",
        "own_small",
        "--list",
        "new",
    ]
    flags += ["--scales", "1", "--num_workers", "0"]
    labels.unlink()
    try:
        archive = tmp_path / "out.tgz"
        done = script("deeplab/test.py", *flags, "--no-crf", "--submission", archive)
        assert done.status == 0, done.err
        assert read_png(own.run / "deeplab/new/turned.png").shape == (96, 64) and archive.exists()
        done = script("make_cam.py", *flags)
        assert done.status == 2 and "image_labels.txt: cannot be read" in done.err
        labels.write_text("turned\tcat\n")
        done = script("make_cam.py", *flags)
        assert done.status == 2 and "has no line for larger image" in done.err
        assert stamps(own.run / "ae_is_cam") == before
    finally:
        labels.write_bytes(kept)
        (own.layout.root / "lists/new.txt").unlink()
