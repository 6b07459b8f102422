"""Pseudo labels for other codebases, read by VOC's readers, and what export.py refuses."""

import importlib
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from scripts import error_lines, run
from torchvision.datasets import VOCSegmentation
from trained_run import CLASSES

from data.devkit import write_devkit
from data.label_png import read_label_png, save_label_png, voc_palette
from data.layout import Layout
from tool.run import Run
from tool.settings import MakeSegLabels

# ID, suffix, (H, W) as shown, mode, EXIF orientation
IMAGES = [
    ("plain", ".jpg", (40, 56), "RGB", None),
    ("grey", ".JPEG", (33, 47), "L", 1),
    ("turned", ".jpg", (48, 30), "RGB", 6),
    ("cmyk", ".jpg", (32, 40), "CMYK", None),
    ("deep", ".png", (21, 25), "I;16", None),
    ("a b.c", ".webp", (30, 30), "RGB", None),
    ("val", ".jpg", (36, 50), "RGB", None),
    ("unlabelled", ".jpg", (20, 20), "RGB", None),
]
LISTS = {
    "train": ["plain", "turned"],
    "train_aug": ["plain", "grey", "turned", "cmyk", "deep", "a b.c"],
    "val": ["val"],
    "mixed": ["plain", "val"],
    "test": ["unlabelled"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set of odd images and a run with pseudo labels of train_aug."""
    root = tmp_path_factory.mktemp("export")
    data, run = root / "data", root / "run"
    for folder in (data / "JPEGImages", data / "SegmentationClass", data / "lists", run / "seg_label"):
        folder.mkdir(parents=True)
    (data / "classes.txt").write_text("\n".join(CLASSES))
    (data / "image_labels.txt").write_text("")
    for name, ids in LISTS.items():
        (data / "lists" / f"{name}.txt").write_text("\n".join(ids))
    rng = np.random.default_rng(0)
    for name, suffix, (height, width), mode, orientation in IMAGES:
        stored = (width, height) if orientation == 6 else (height, width)
        pixels = np.repeat(np.repeat(rng.integers(0, 256, (4, 4, 3), np.uint8), 14, axis=0), 14, axis=1)
        pixels = pixels[: stored[0], : stored[1]]
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257 if mode == "I;16" else pixels)
        exif = Image.Exif()
        if orientation:
            exif[0x0112] = orientation
        (picture if mode == "I;16" else picture.convert(mode)).save(data / f"JPEGImages/{name}{suffix}", exif=exif)
        labels = rng.integers(0, len(CLASSES), (height, width)).astype(np.uint8)
        if name in LISTS["train_aug"]:
            save_label_png(run / f"seg_label/{name}.png", labels)
        elif name == "val":
            labels[0] = 255
            Image.fromarray(labels).save(data / "SegmentationClass/val.png")  # grey, as some data sets have them
    Run(run).keep_class_names(CLASSES)
    Run(run).keep_settings("make_seg_labels", MakeSegLabels(dataset_root=str(data)))
    return type("Made", (), {"root": root, "run": run, "layout": Layout(data)})


@pytest.fixture(scope="module")
def devkit(made):
    """The exported tree, written by a process as a user writes it."""
    done = run(sys.executable, "export.py", "--run", made.run, "--what", "masks", "--out", made.root / "out")
    assert done.returncode == 0, done.stderr
    assert "list mixed is left out: only 1 of its 2 images have pseudo labels" in done.stdout
    assert "list test is left out: 1 of its 1 images have no mask" in done.stdout
    assert "train_aug.txt: 6 images with pseudo labels" in done.stdout
    assert "val.txt: 1 images with the dataset's masks" in done.stdout
    return made.root / "out"


def expected_labels(made, image_id):
    path = made.run / "seg_label" / f"{image_id}.png"
    return np.array(Image.open(path)) if path.exists() else made.layout.mask(image_id)


@pytest.mark.parametrize(
    "list_name, ids", [("train", LISTS["train"]), ("val", LISTS["val"]), ("trainval", LISTS["train"] + LISTS["val"])]
)
def test_torchvision_reads_every_pair(made, devkit, list_name, ids):
    read = VOCSegmentation(devkit, year="2012", image_set=list_name, download=False)
    assert len(read) == len(ids)
    for image_id, (image, mask) in zip(ids, read):
        assert image.mode == "RGB" and mask.mode == "P" and image.size == mask.size
        assert np.array_equal(np.array(mask), expected_labels(made, image_id))
        difference = np.array(image).astype(int) - made.layout.image(image_id).permute(1, 2, 0).numpy()
        assert np.abs(difference).mean() < 4
        assert mask.getpalette()[:63] == voc_palette(21).ravel().tolist()


@pytest.mark.parametrize("folder", ["SegmentationClass", "SegmentationClassAug"])
@pytest.mark.parametrize("list_name", ["train_aug", "train", "val"])
def test_pairs_read_by_mmsegmentations_rules(made, devkit, list_name, folder):
    """Its PascalVOCDataset joins the list's lines, stripped, with .jpg and .png, reads images with EXIF's orientation
    ignored and masks as they are, by Pillow: indices, 255 ignored."""
    root = devkit / "VOCdevkit/VOC2012"
    ids = [line.strip() for line in (root / f"ImageSets/Segmentation/{list_name}.txt").read_text().splitlines()]
    assert ids == LISTS[list_name]
    for image_id in ids:
        with (
            Image.open(root / f"JPEGImages/{image_id}.jpg") as image,
            Image.open(root / folder / f"{image_id}.png") as mask,
        ):
            assert image.format == "JPEG" and image.mode in ("RGB", "L") and image.size == mask.size
            assert image.getexif().get(0x0112, 1) == 1
            assert np.array_equal(np.array(mask), expected_labels(made, image_id))


@pytest.mark.parametrize("folder", ["SegmentationClass", "SegmentationClassAug"])
def test_mmsegmentation_itself_reads_every_pair(made, devkit, folder):
    datasets = pytest.importorskip("mmseg.datasets")
    importlib.import_module("mmengine.registry").init_default_scope("mmseg")
    read = datasets.PascalVOCDataset(
        data_root=str(devkit / "VOCdevkit/VOC2012"),
        ann_file="ImageSets/Segmentation/train_aug.txt",
        data_prefix={"img_path": "JPEGImages", "seg_map_path": folder},
        pipeline=[{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}],
    )
    assert len(read) == len(LISTS["train_aug"])
    for image_id, sample in zip(LISTS["train_aug"], read):
        assert sample["img"].shape[:2] == sample["gt_seg_map"].shape
        assert np.array_equal(sample["gt_seg_map"], expected_labels(made, image_id))


def test_plain_jpegs_are_links_and_the_data_set_stays_as_it_is(made, devkit):
    jpegs, source = devkit / "VOCdevkit/VOC2012/JPEGImages", made.layout.root / "JPEGImages"
    assert {path.stem for path in jpegs.iterdir() if path.stat().st_nlink > 1} == {"plain", "grey", "val"}
    assert sorted(path.name for path in jpegs.iterdir()) == sorted(f"{i}.jpg" for i in LISTS["train_aug"] + ["val"])
    assert sorted(path.name for path in source.iterdir()) == sorted(f"{i}{suffix}" for i, suffix, *_ in IMAGES)
    assert not list(made.root.glob(".*"))


def damage_size(run):
    save_label_png(run / "seg_label/plain.png", np.zeros((3, 4), np.uint8))


def damage_class(run):
    save_label_png(run / "seg_label/plain.png", np.full((40, 56), 9, np.uint8))


def test_an_image_that_has_a_mask_too_is_exported_with_its_pseudo_label(made, tmp_path):
    data, devkit = tmp_path / "data", tmp_path / "out"
    shutil.copytree(made.layout.root, data)
    pseudo = read_label_png(made.run / "seg_label/plain.png")
    save_label_png(data / "SegmentationClass/plain.png", np.zeros_like(pseudo))
    write_devkit(devkit, Layout(data), made.run / "seg_label", map)
    for folder in ("SegmentationClass", "SegmentationClassAug"):
        assert np.array_equal(read_label_png(devkit / f"VOCdevkit/VOC2012/{folder}/plain.png"), pseudo)


@pytest.mark.parametrize(
    "change, message",
    [
        (damage_size, "plain.png: is 4 x 3 pixels (width x height), its image 56 x 40"),
        (damage_class, "plain.png: holds the value 9, but classes are 0 to 3 and 255 is ignored"),
        (lambda run: (run / "seg_label/plain.png").write_bytes(b"no"), "plain.png: cannot be decoded"),
        (lambda run: shutil.rmtree(run / "seg_label"), "no list"),
        (lambda run: (run / "config.yaml").unlink(), "give --dataset_root"),
        (lambda run: (run / "config.yaml").write_text("[1"), "config.yaml: is not valid YAML"),
    ],
)
def test_labels_that_cannot_be_exported_leave_nothing(made, script, tmp_path, change, message):
    shutil.copytree(made.run, tmp_path / "run", ignore=shutil.ignore_patterns("*.pt"))
    change(tmp_path / "run")
    done = script(
        "export.py", "--run", tmp_path / "run", "--what", "masks", "--out", tmp_path / "out", "--num_workers", 1
    )
    assert done.status == 2 and len(error_lines(done.err)) == 1 and message in error_lines(done.err)[0]
    assert "Traceback" not in done.err
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--what", "masks"), "--out PATH are needed"),
        (("--out", "x"), "--what masks, aesipe or deeplab"),
        (("--what", "nets", "--out", "x"), "must be one of masks, aesipe, deeplab: nets"),
        (("--what", "deeplab", "--out", "x.onnx"), "a graph of --format pt2 is a .pt2 file"),
    ],
)
def test_bad_arguments_are_one_line(made, script, arguments, message):
    done = script("export.py", "--run", made.run, *arguments)
    assert done.status == 2 and len(done.err.splitlines()) == 1 and message in done.err


def test_a_folder_that_holds_something_stays(made, script, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = script("export.py", "--run", made.run, "--what", "masks", "--out", tmp_path)
    assert done.status == 2 and "exists" in done.err and (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("what", ["masks", "aesipe", "deeplab"])
def test_a_run_that_is_not_there_is_named(made, script, tmp_path, what):
    out = ("--out", tmp_path / "a.pt2", "--dataset_root", made.root)
    done = script("export.py", "--run", tmp_path / "none", "--what", what, *out)
    assert (
        done.status == 2
        and done.err
        == f"error: {tmp_path}/none: no such run folder: give --run RUN, to report.py RUN before the flags\n"
    )


def test_a_run_without_pseudo_labels_is_named(script, tmp_path):
    done = script("export.py", "--run", tmp_path, "--what", "masks", "--out", tmp_path / "out")
    assert done.err == f"error: {tmp_path}: has no pseudo labels yet: run make_seg_labels.py first\n"
    assert done.status == 2 and not os.listdir(tmp_path)


def test_a_run_without_the_network_is_named(made, script, tmp_path):
    Run(tmp_path).keep_class_names(CLASSES)
    done = script("export.py", "--run", tmp_path, "--what", "deeplab", "--out", tmp_path / "a.pt2")
    assert done.status == 2 and f"{tmp_path / 'ckpt/deeplab.pt'} is missing" in done.err
    assert os.listdir(tmp_path) == ["classes.txt"]
