"""Whatever is wrong with extracted trees: one line that names it, and nothing half-made under a final name."""

import os

import numpy as np
import pytest
from miniature import LISTED, TEST, cut, full, refused, write_annotation, write_lines, write_mat
from PIL import Image
from scipy.io import savemat

import voc12.masks
from data.label_png import save_label_png
from voc12.sources import SOURCES


def resave(path, array):
    Image.fromarray(array).save(path)


# What is done to the trees, and what the line must hold; {voc} and {sbd} are the trees.
DAMAGE = {
    "image missing": (
        lambda o: (o.voc / "JPEGImages/2008_000002.jpg").unlink(),
        "{voc}/JPEGImages/2008_000002.jpg: cannot be decoded as an image: No such file",
    ),
    "image damaged": (
        lambda o: (o.voc / "JPEGImages/2008_000002.jpg").write_bytes(b"\xff\xd8 no more"),
        "{voc}/JPEGImages/2008_000002.jpg: cannot be decoded as an image",
    ),
    "annotation missing": (
        lambda o: (o.voc / "Annotations/2008_000002.xml").unlink(),
        "{voc}/Annotations/2008_000002.xml: missing",
    ),
    "annotation cut short": (
        lambda o: cut(o.voc / "Annotations/2008_000002.xml"),
        "{voc}/Annotations/2008_000002.xml: cannot be read as an annotation",
    ),
    "annotation with a size that is none": (
        lambda o: write_annotation(o.voc / "Annotations/2008_000002.xml", ["boat"], ("high", "wide")),
        "{voc}/Annotations/2008_000002.xml: cannot be read as an annotation: could not convert",
    ),
    "unknown class": (
        lambda o: write_annotation(o.voc / "Annotations/2009_000001.xml", ["dog", "unicorn"], (20, 20)),
        "{voc}/Annotations/2009_000001.xml: class 'unicorn' is none of VOC's 20",
    ),
    "VOC mask missing": (
        lambda o: (o.voc / "SegmentationClass/2007_000033.png").unlink(),
        "{voc}/SegmentationClass/2007_000033.png: missing, but an official list names it",
    ),
    "VOC mask cut short": (
        lambda o: cut(o.voc / "SegmentationClass/2007_000033.png", 0.9),
        "{voc}/SegmentationClass/2007_000033.png: cannot be decoded as a PNG",
    ),
    "VOC mask in colours": (
        lambda o: resave(o.voc / "SegmentationClass/2007_000033.png", np.zeros((9, 9, 3), np.uint8)),
        "{voc}/SegmentationClass/2007_000033.png: is an image of mode RGB: labels must be an index PNG",
    ),
    "VOC mask of another size": (
        lambda o: save_label_png(o.voc / "SegmentationClass/2007_000033.png", np.ones((5, 6), np.uint8)),
        "{voc}/SegmentationClass/2007_000033.png: is 6 x 5 pixels (width x height), its image 28 x 23",
    ),
    "mask with a label of no class": (
        lambda o: save_label_png(o.voc / "SegmentationClass/2007_000033.png", np.full((23, 28), 21)),
        "{voc}/SegmentationClass/2007_000033.png: holds the value 21",
    ),
    "mat missing": (lambda o: (o.sbd / "cls/2008_000007.mat").unlink(), "{sbd}/cls/2008_000007.mat: cannot be read as"),
    "mat that is none": (
        lambda o: (o.sbd / "cls/2008_000007.mat").write_text("no\nmat\n" * 99),
        "{sbd}/cls/2008_000007.mat: cannot be read as a mask of SBD",
    ),
    "mat cut short": (lambda o: cut(o.sbd / "cls/2008_000007.mat"), "{sbd}/cls/2008_000007.mat: cannot be read as"),
    "mat of something else": (
        lambda o: savemat(o.sbd / "cls/2008_000007.mat", {"x": 1}),
        "{sbd}/cls/2008_000007.mat: cannot be read as a mask of SBD (it has no struct GTcls)",
    ),
    "mat of instances": (
        lambda o: savemat(o.sbd / "cls/2008_000007.mat", {"GTcls": {"Categories": [1]}}),
        "2008_000007.mat: cannot be read as a mask of SBD (its struct GTcls has no field Segmentation)",
    ),
    "mat with a wrong array": (
        lambda o: savemat(o.sbd / "cls/2008_000007.mat", {"GTcls": {"Segmentation": np.ones((2, 3, 4))}}),
        "2008_000007.mat: cannot be read as a mask of SBD (GTcls.Segmentation is no uint8 array [H,W]",
    ),
    "mat of another size": (
        lambda o: write_mat(o.sbd / "cls/2008_000007.mat", np.ones((5, 6), np.uint8)),
        "{sbd}/cls/2008_000007.mat: is 6 x 5 pixels (width x height), its image",
    ),
    "SBD's list missing": (lambda o: (o.sbd / "val.txt").unlink(), "{sbd}/val.txt: missing"),
    "SBD's list too short": (
        lambda o: write_lines(o.sbd / "val.txt", ["2010_000001"]),
        "train_aug has 6 images, not 7: these are not complete, or not the official ones: {voc}",
    ),
    "train too short": (
        lambda o: write_lines(o.voc / "ImageSets/Segmentation/train.txt", ["2009_000001"]),
        "train has 1 images, not 3",
    ),
    "val missing": (
        lambda o: (o.voc / "ImageSets/Segmentation/val.txt").unlink(),
        "{voc}/ImageSets/Segmentation/val.txt: missing",
    ),
    "list with an image twice": (
        lambda o: write_lines(o.voc / "ImageSets/Segmentation/val.txt", ["a", "b", "a"]),
        "{voc}/ImageSets/Segmentation/val.txt: names a twice",
    ),
    "list that leads elsewhere": (
        lambda o: write_lines(o.voc / "ImageSets/Segmentation/val.txt", ["../../x"]),
        "{voc}/ImageSets/Segmentation/val.txt, line 1: '../../x' is no image ID",
    ),
    "list that is no text": (
        lambda o: (o.voc / "ImageSets/Segmentation/val.txt").write_bytes(b"\xff\xfe\x00"),
        "{voc}/ImageSets/Segmentation/val.txt: is no UTF-8 text file",
    ),
    "no images": (lambda o: (o.voc / "JPEGImages").rename(o.voc / "Pictures"), "{voc}/JPEGImages/2"),
    "no SBD": (
        lambda o: (o.sbd / "cls").rename(o.sbd / "class"),
        "SBD is missing (looked in {root}, {base}): fetch " + SOURCES["sbd"].url,
    ),
    "no VOC": (
        lambda o: o.voc.rename(o.voc.with_name("VOC")),
        "VOC 2012 trainval is missing (looked in {root}, {base}): fetch " + SOURCES["voc"].url,
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_trees(official, prepare, kind):
    damage, message = DAMAGE[kind]
    damage(official)
    refused(prepare(official.root, "--sources", official.base), official.root, message.format(**vars(official)))


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--sources", "no such folder or archive"),
        ("--aug_dir", "missing"),
        ("--voc_root", "train.txt: missing: is the tree complete"),
    ],
)
def test_folders_that_are_not_there(official, prepare, tmp_path, flag, message):
    done = prepare(official.root, "--sources", official.base, flag, tmp_path / "nowhere")
    refused(done, official.root, tmp_path / "nowhere", message)


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            lambda o: (o.test / f"JPEGImages/{TEST[1]}.jpg").unlink(),
            f"JPEGImages/{TEST[1]}.jpg: cannot be decoded as an image: No such file",
        ),
        (lambda o: write_lines(o.test / "ImageSets/Segmentation/test.txt", TEST[:1]), "test has 1 images, not 2"),
    ],
)
def test_damaged_test_tree(official, prepare, damage, message):
    """The rest is whole and stays; the next call makes the test list alone."""
    damage(official)
    done = prepare(official.root, "--sources", official.base, official.test)
    assert done.status == 2 and message in done.err.splitlines()[-1]
    assert (official.root / "image_labels.txt").exists() and not (official.root / "lists/test.txt").exists()


def test_a_full_disk_while_masks_are_made(official, prepare, monkeypatch):
    monkeypatch.setattr("PIL.Image.Image.save", full)
    done = prepare(official.root, "--sources", official.base)
    refused(done, official.root, "SegmentationClassAug/2", "cannot be written: No space left on device: make room")


def test_a_worker_that_is_killed(official, prepare, monkeypatch):
    monkeypatch.setattr(voc12.masks, "save_label_png", lambda path, labels: os._exit(9))
    refused(prepare(official.root, "--sources", official.base), official.root, "a worker process was killed")


def test_a_folder_that_cannot_be_made(official, prepare):
    official.root.write_text("a file, not a folder")
    done = prepare(official.root, "--sources", official.base)
    assert done.status == 2 and str(official.root) in done.err.splitlines()[-1]
    assert done.err.splitlines()[-1].startswith("error: ") and official.root.read_text() == "a file, not a folder"


def test_a_file_in_the_place_of_a_folder(official, prepare):
    official.root.mkdir()
    (official.root / "SegmentationClassAug").touch()
    done = prepare(official.root, "--sources", official.base)
    refused(done, official.root, "SegmentationClassAug: File exists: fix it and run this again")


def test_a_mended_tree_goes_on_where_it_stopped(official, prepare):
    mat = official.sbd / "cls/2010_000001.mat"
    whole = mat.read_bytes()
    cut(mat)
    refused(prepare(official.root, "--sources", official.base), official.root, mat)
    mat.write_bytes(whole)
    assert prepare(official.root, "--sources", official.base).status == 0
    assert {path.stem for path in (official.root / "SegmentationClassAug").iterdir()} == set(LISTED)
