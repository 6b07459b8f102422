from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.layout import Layout
from errors import UserError
from voc12.classes import CLASS_NAMES
from voc12.palette import save_label_png
from voc12.prepare import COUNTS, prepare_voc12

# Image -> classes of its objects, as the official annotations list them: any order, repeated.
OBJECTS = {"2007_000032": ["person", "aeroplane", "person"], "2007_000039": ["tvmonitor"],
           "2008_000123": ["cat", "sofa"], "2009_000001": ["dog"], "2010_000002": ["bird", "person"]}
TRAIN, VAL = ["2007_000032", "2009_000001"], ["2007_000039"]
SMALL = {"train": 2, "val": 1, "train_aug": 4}


def write_annotation(path, names):
    """An annotation whose parts carry names too, which are no classes of the image."""
    objects = "".join(f"<object><name>{name}</name><difficult>1</difficult><part><name>head</name></part></object>"
                      for name in names)
    path.write_text(f"<annotation><filename>{path.stem}.jpg</filename><source><name>x</name></source>{objects}"
                    "</annotation>")


@pytest.fixture
def voc(tmp_path):
    """A few made-up images in the official structure, with augmented masks beside the official ones."""
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    for part in ("JPEGImages", "Annotations", "ImageSets/Segmentation", "SegmentationClass", "SegmentationClassAug"):
        (voc / part).mkdir(parents=True)
    for image_id, names in OBJECTS.items():
        Image.fromarray(np.full((6, 8, 3), 99, np.uint8)).save(voc / f"JPEGImages/{image_id}.jpg")
        write_annotation(voc / f"Annotations/{image_id}.xml", names)
        save_label_png(voc / f"SegmentationClassAug/{image_id}.png",
                       np.full((6, 8), CLASS_NAMES.index(names[0]), np.uint8))
    (voc / "ImageSets/Segmentation/train.txt").write_text("\n".join(TRAIN) + "\n")
    (voc / "ImageSets/Segmentation/val.txt").write_text("\n".join(VAL) + "\n")
    return voc


def contents(root):
    return {path.relative_to(root): path.read_text() for path in sorted(root.rglob("*.txt"))}


def test_official_numbers():
    assert COUNTS == {"train": 1464, "val": 1449, "train_aug": 10582} and len(CLASS_NAMES) == 21


def test_lists_labels_and_classes(voc, tmp_path):
    prepare_voc12(tmp_path / "set", voc, counts=SMALL)
    layout = Layout(tmp_path / "set")
    assert tuple(layout.class_names) == CLASS_NAMES
    assert layout.ids("train") == TRAIN and layout.ids("val") == VAL
    assert layout.ids("train_aug") == ["2007_000032", "2008_000123", "2009_000001", "2010_000002"]
    lines = (tmp_path / "set/image_labels.txt").read_text().splitlines()
    assert lines == ["2007_000032 aeroplane person", "2007_000039 tvmonitor", "2008_000123 cat sofa",
                     "2009_000001 dog", "2010_000002 bird person"]
    for image_id, names in OBJECTS.items():
        assert layout.labels(image_id).nonzero()[:, 0].tolist() == sorted(
            CLASS_NAMES.index(name) - 1 for name in set(names))
        assert layout.image(image_id).shape == (3, 6, 8)
        assert (layout.mask(image_id) == CLASS_NAMES.index(names[0])).all()


def test_the_official_tree_itself_can_become_the_set(voc):
    prepare_voc12(voc, counts=SMALL)
    assert len(Layout(voc).ids("train_aug")) == 4
    assert not (voc / "JPEGImages").is_symlink()


def test_masks_may_lie_elsewhere(voc, tmp_path):
    (voc / "SegmentationClassAug").rename(tmp_path / "aug")
    prepare_voc12(tmp_path / "set", voc, tmp_path / "aug", counts=SMALL)
    assert Layout(tmp_path / "set").mask("2009_000001").shape == (6, 8)


def test_relative_folders_are_linked_from_anywhere(voc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare_voc12("set", "VOCdevkit/VOC2012", counts=SMALL)
    monkeypatch.chdir("/")
    assert Layout(tmp_path / "set").image(VAL[0]).shape == (3, 6, 8)


def test_a_prepared_set_is_left_alone(voc, tmp_path):
    prepare_voc12(tmp_path / "set", voc, counts=SMALL)
    before = contents(tmp_path / "set")
    (voc / "ImageSets/Segmentation/train.txt").unlink()
    prepare_voc12(tmp_path / "set", voc)
    assert contents(tmp_path / "set") == before


@pytest.mark.parametrize("part", ["JPEGImages", "Annotations", "ImageSets/Segmentation", "SegmentationClassAug",
                                  "ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt",
                                  "Annotations/2008_000123.xml"])
def test_missing_parts_are_named_and_nothing_is_written(voc, tmp_path, part):
    (voc / part).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=str(voc / part)):
        prepare_voc12(tmp_path / "set", voc, counts=SMALL)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("name, message", [("train", "train has 2 images, not 9"), ("val", "val has 1 images, not 9"),
                                           ("train_aug", "train_aug has 4 images, not 9")])
def test_incomplete_trees_are_refused(voc, tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        prepare_voc12(tmp_path / "set", voc, counts={**SMALL, name: 9})
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("text, message", [("<annotation><object>", "cannot be read as an annotation"),
                                           ("<annotation><object><name>unicorn</name></object></annotation>",
                                            "class 'unicorn' is none of VOC's 20")])
def test_broken_annotations_are_named(voc, tmp_path, text, message):
    path = voc / "Annotations/2009_000001.xml"
    path.write_text(text)
    with pytest.raises(UserError, match=f"{path}: {message}"):
        prepare_voc12(tmp_path / "set", voc, counts=SMALL)


def test_links_to_a_tree_that_has_moved_are_mended_or_refused(voc, tmp_path):
    """As after a run that ended between linking and writing the lists."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set/JPEGImages").symlink_to(tmp_path / "gone")
    try:
        prepare_voc12(tmp_path / "set", voc, counts=SMALL)
    except UserError as error:
        assert str(Path("set/JPEGImages")) in str(error)
    else:
        assert Layout(tmp_path / "set").image(VAL[0]).shape == (3, 6, 8)
