"""What is no file: to open a pipe would wait for ever, and /dev/zero has no end."""

import os

import pytest
from damaging import write_dataset
from PIL import Image

from data.index import INDEX
from data.layout import Layout
from data.usable import check_image, usable_ids
from data.xml_tree import parse_xml
from errors import UserError
from net.backbone import build_backbone
from tool.cam_file import load_cam
from tool.checkpoint import load_state
from tool.record import weights_input
from tool.run import Run
from tool.settings import TrainAesipe
from viz.runs import collect_scores, content, read_runs
from voc12.annotations import read_list
from voc12.matlab import read_sbd


def read_dataset(root):
    layout = Layout(root)
    layout.ids("train")
    layout.present("a")
    return layout.image_facts("a"), layout.mask_facts("a"), layout.image("a"), layout.mask("a")


READERS = {  # a file's name below a folder, and what reads it
    "classes.txt": read_dataset,
    "image_labels.txt": read_dataset,
    "lists/train.txt": read_dataset,
    "JPEGImages/a.png": read_dataset,
    "SegmentationClass/a.png": read_dataset,
    "config.yaml": lambda root: Run(root).config(),
    "log.jsonl": lambda root: read_runs([root]),
    "eval/cam.json": lambda root: collect_scores(root),
    "ckpt/settings.yaml": lambda root: content(read_runs([root])),
    "ckpt/aesipe.pt": lambda root: Run(root).trained_settings("ckpt/aesipe.pt", "train_aesipe"),
    "a.npz": lambda root: load_cam(root / "a.npz"),
    "a.pt": lambda root: load_state(root / "a.pt"),
    "weights.pth": lambda root: build_backbone("resnet18", str(root / "weights.pth")),
    "start.pth": lambda root: weights_input(TrainAesipe(weights=str(root / "start.pth"))),
    "a.xml": lambda root: parse_xml(root / "a.xml"),
    "a.mat": lambda root: read_sbd(root / "a.mat"),
    "val.txt": lambda root: read_list(root / "val.txt"),
}


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_not_opened(tmp_path, name):
    """To open a pipe would wait for ever, and /dev/zero has no end."""
    for folder in ("JPEGImages", "SegmentationClass", "lists", "eval", "ckpt"):
        (tmp_path / folder).mkdir()
    write_dataset(tmp_path)
    for image in ("JPEGImages/a.png", "SegmentationClass/a.png"):
        Image.new("L", (4, 3)).save(tmp_path / image)
    path = tmp_path / name
    for kind in ("pipe", "folder", "device"):
        path.unlink(missing_ok=True)
        {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}[kind](path)
        with pytest.raises(UserError, match=f"^{path}: cannot be read: is a {kind}, where a file is needed$"):
            READERS[name](tmp_path)
        if kind == "folder":
            path.rmdir()


def test_an_index_that_is_no_file_is_passed_over(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "lists").mkdir()
    write_dataset(tmp_path)
    Image.new("L", (4, 3)).save(tmp_path / "JPEGImages/a.png")
    os.mkfifo(tmp_path / INDEX)
    assert usable_ids(Layout(tmp_path), "train", (check_image,)) == ["a"] and (tmp_path / INDEX).is_file()
