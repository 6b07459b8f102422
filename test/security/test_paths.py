"""Names in lists, labels, folders and flags stay names: none leads out of the data set or the run."""

import pytest
from PIL import Image
from scripts import error_lines

from data.collect import collect
from data.layout import Layout
from errors import UserError
from tool.config import parse
from voc12.annotations import read_list
from voc12.prepare import prepare_voc12

HOSTILE = [
    "../x",
    "..",
    ".",
    "/etc/passwd",
    "a/b",
    "a/",
    "a\0b",
    "a\x1b[2Jb",
    "a\x7fb",
    "a\x9bb",
    "n" * 300,
    "二" * 100,
]


def short(name):
    return ascii(name[:12])


def refusal(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value) and not set(map(ord, str(caught.value))) & {0, 0x1B, 0x7F, 0x9B}
    return str(caught.value)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "set"
    for folder in ("JPEGImages", "SegmentationClass", "lists", "Annotations", "images_by_class"):
        (root / folder).mkdir(parents=True)
    (root / "classes.txt").write_text("background\ncat\n")
    (root / "image_labels.txt").write_text("a cat\n")
    for path in (root / "JPEGImages/a.png", tmp_path / "x.png", root / "x.png"):
        Image.new("L", (4, 3)).save(path)
    (tmp_path / "x.txt").write_text("a\n")
    return root


@pytest.mark.parametrize("name", HOSTILE, ids=short)
def test_ids_of_lists_and_labels(root, name):
    (root / "lists/train.txt").write_text(f"a\n{name}\n", encoding="utf-8")
    place = "" if "\0" in name else ", line 2"  # what holds zero bytes is no text at all
    assert f"{root}/lists/train.txt{place}" in refusal(Layout(root).ids, "train")
    (root / "image_labels.txt").write_text(f"a cat\n{name}\tcat\n", encoding="utf-8")
    assert f"{root}/image_labels.txt{place}" in refusal(Layout(root).labels, "a")
    (root / "classes.txt").unlink()
    (root / "lists/train.txt").unlink()
    assert f"{root}/image_labels.txt{place}" in refusal(collect, root)
    assert not (root / "classes.txt").exists() and not list((root / "lists").iterdir())


@pytest.mark.parametrize("name", HOSTILE, ids=short)
def test_voc_lists(tmp_path, name):
    (tmp_path / "val.txt").write_text(f"2008_000001\n{name}\n", encoding="utf-8")
    assert f"{tmp_path}/val.txt" in refusal(read_list, tmp_path / "val.txt")


@pytest.mark.parametrize("name", ["../../x", "../lists/train", "/etc/passwd", "a\0b", "..", ""])
def test_names_of_lists(root, name, script):
    """Flags, but a config that someone else wrote sets them too, and outputs are named by them."""
    (root / "lists/train.txt").write_text("a\n")
    assert "is no name of a list" in refusal(Layout(root).ids, name)
    if "\0" not in name:
        done = script("eval_seg.py", "--dataset_root", root, "--run_root", root, "--list", name)
        assert done.status == 2 and len(error_lines(done.err)) == 1
        assert ("is no name of a list" if name else "--list: must be a text that is not empty") in done.err


@pytest.mark.parametrize("name", ["c\x1b[2Jat", "c\nat", "\x7f", "c\tat"])
def test_names_of_classes_and_images_by_folder(root, name):
    for place in (root / f"images_by_class/{name}/a.png", root / f"images_by_class/cat/{name}.png"):
        place.parent.mkdir(parents=True)
        Image.new("L", (4, 3)).save(place)
        assert "cannot have this name" in refusal(collect, root, "folders", True)
        place.unlink()
        place.parent.rmdir()
    assert [path.name for path in (root / "JPEGImages").iterdir()] == ["a.png"]
    (root / "classes.txt").write_text(f"background\ncat\x1b[2J{name}\n")
    assert "classes.txt: " in refusal(Layout, root)


@pytest.mark.parametrize("name", ["a\x1bb", "a\nb", "n" * 240])
def test_names_of_annotations(root, name):
    """The file's name is the ID, so it needs an image of that name."""
    Image.new("L", (4, 3)).save(root / f"JPEGImages/{name}.png")
    (root / f"Annotations/{name}.xml").write_text("<a><object><name>cat</name></object></a>")
    assert "cannot have this name" in refusal(collect, root, "xml", True)
    assert (root / "image_labels.txt").read_text() == "a cat\n"


@pytest.mark.parametrize("name", ["../../up", "/abs", "cat\x1b[2J"])
def test_names_of_classes_in_annotations_become_no_paths(root, name):
    (root / "Annotations/a.xml").write_text(f"<a><object><name>{name}</name></object></a>")
    before = sorted(path for path in root.parent.rglob("*"))
    assert "a.xml: cannot be read" in (line := refusal(collect, root, "xml", True)) or "lacks class" in line
    assert sorted(path for path in root.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["2008_000001 person", "a\nb", "..b"])
def test_names_of_augmented_masks(tmp_path, name):
    voc, masks = tmp_path / "voc", tmp_path / "masks"
    for folder in (voc / "JPEGImages", voc / "Annotations", voc / "ImageSets/Segmentation", masks):
        folder.mkdir(parents=True)
    for list_name in ("train", "val"):
        (voc / f"ImageSets/Segmentation/{list_name}.txt").write_text(f"2008_00000{len(list_name)}\n")
    Image.new("L", (4, 3)).save(masks / "x.png")
    (masks / "x.png").rename(masks / f"{name}.png".replace("..b", "b b"))
    flags = ["--dataset_root", tmp_path / "set", "--voc_root", voc, "--aug_dir", masks]
    settings = parse("dataset", argv=[str(flag) for flag in flags])
    assert "has the name of no image of VOC" in refusal(prepare_voc12, settings)
