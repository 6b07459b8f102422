"""Lists, labels, classes, IDs and masks of a set in VOC layout."""

import numpy as np
import pytest
import torch
from PIL import Image

from data.collect import collect
from data.layout import Layout
from data.usable import check_labels, usable_ids
from errors import UserError


def test_lists_keep_their_order_and_labels_follow_the_classes(root):
    layout = Layout(root)
    assert layout.n_classes == 4 and layout.class_names == ["background", "cat", "dog", "sofa"]
    assert layout.ids("train") == ["b", "a", "c"]
    assert [layout.labels(name).tolist() for name in "abc"] == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert layout.labels("a").dtype == torch.float32


def test_text_files_of_windows_and_blank_lines_are_read(root):
    (root / "lists/train.txt").write_bytes(b"b\r\n\r\na  \r\n")
    (root / "image_labels.txt").write_bytes(b"\r\na dog\r\n\r\nb cat\r\n")
    layout = Layout(root)
    assert layout.ids("train") == ["b", "a"] and layout.labels("b").tolist() == [1, 0, 0]


@pytest.mark.parametrize("image_id", ["../x", "a/b", "/etc/passwd", "..", ".", "x/"])
def test_ids_with_parts_of_a_path_are_refused(root, image_id):
    (root / "lists/bad.txt").write_text(f"a\n{image_id}\n")
    with pytest.raises(UserError, match=rf"bad\.txt, line 2: '{image_id}'"):
        Layout(root).ids("bad")


def test_line_numbers_count_blank_lines_as_an_editor_does(root):
    (root / "lists/bad.txt").write_text("a\n\n\n../x\n")
    (root / "image_labels.txt").write_text("a dog\n\nb cow\n")
    with pytest.raises(UserError, match=r"bad\.txt, line 4"):
        Layout(root).ids("bad")
    with pytest.raises(UserError, match=r"image_labels\.txt, line 3"):
        Layout(root).labels("b")


@pytest.mark.parametrize(
    "name, read",
    [
        ("classes.txt", Layout),
        ("lists/train.txt", lambda root: Layout(root).ids("train")),
        ("image_labels.txt", lambda root: Layout(root).labels("a")),
        ("JPEGImages/a", lambda root: Layout(root).image("a")),
        ("JPEGImages/a", lambda root: Layout(root).size("a")),
        ("SegmentationClass/a.png", lambda root: Layout(root).mask("a")),
    ],
)
def test_missing_files_are_named(root, name, read):
    (root / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match=str(root / name)):
        read(root)


@pytest.mark.parametrize(
    "text, message",
    [("b dog\na cow\n", r"image_labels\.txt, line 2: class 'cow'"), ("b dog\n", r"image_labels\.txt.* no line for a")],
)
def test_missing_classes_and_labels_are_named(root, text, message):
    """The lines of other images are read all the same."""
    (root / "image_labels.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        Layout(root).labels("a")
    assert Layout(root).labels("b").tolist() == [0, 1, 0]


@pytest.mark.parametrize("text", ["background\n", "\n", "background\ncat\ncat\n", "\n".join(map(str, range(256)))])
def test_class_lists_that_cannot_be_used(root, text):
    (root / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=r"classes\.txt"):
        Layout(root)


def test_a_class_in_two_lines_is_named_with_both(root):
    (root / "classes.txt").write_text("background\n\ncat\ndog\n cat\n")
    with pytest.raises(UserError, match=r"classes\.txt, line 5: 'cat' is in line 3 too: name each class once$"):
        Layout(root)


def test_empty_lists_and_files_that_are_no_text(root):
    (root / "lists/train.txt").write_text("\n\n")
    with pytest.raises(UserError, match="lists no image"):
        Layout(root).ids("train")
    (root / "classes.txt").write_bytes(b"background\n\xff\xfe\n")
    with pytest.raises(UserError, match=r"classes\.txt: is no UTF-8"):
        Layout(root)


def test_augmented_masks_come_first(root):
    Image.fromarray(np.full((2, 3), 1, np.uint8)).save(root / "SegmentationClass/a.png")
    assert (Layout(root).mask("a") == 1).all()
    (root / "SegmentationClassAug").mkdir()
    Image.fromarray(np.full((2, 3), 2, np.uint8)).save(root / "SegmentationClassAug/a.png")
    assert (Layout(root).mask("a") == 2).all()


def test_without_masks_images_can_be_read_but_nothing_evaluated(root):
    (root / "SegmentationClass").rmdir()
    layout = Layout(root)
    assert layout.mask_folder is None
    with pytest.raises(UserError, match="has no masks"):
        layout.mask("a")


@pytest.mark.parametrize("line", ["i0,dog", "i0, dog", "i0,dog,cat", "i0,"])
def test_commas_are_said_to_separate_nothing(root, pixels, line):
    Image.fromarray(pixels).save(root / "JPEGImages/i0.png")
    Image.fromarray(pixels).save(root / "JPEGImages/b,c.png")
    (root / "image_labels.txt").write_text(f"{line}\nb,c dog\n")
    says = (
        rf"image_labels\.txt, line 1: '{line.split()[0]}' is no image, and i0 is one: separate an ID and its classes by"
    )
    with pytest.raises(UserError, match=f"{says} spaces or a tab, not commas$"):
        Layout(root).labels("i0")
    with pytest.raises(UserError, match=f"{says} spaces or a tab, not commas$"):
        collect(root)
    assert Layout(root).labels("b,c").tolist() == [0, 1, 0]


@pytest.mark.parametrize("image_id", ["a b", "a.b.c", "naïve Ω", "二", "a.jpg", "$x$", "-a", "a%d"])
def test_any_name_is_an_id(root, pixels, image_id):
    Image.fromarray(pixels).save(root / f"JPEGImages/{image_id}.png")
    (root / "lists/train.txt").write_text(f"{image_id}\n")
    (root / "image_labels.txt").write_text(f"{image_id}\tcat\tdog\nplain sofa\n")
    layout = Layout(root)
    assert layout.ids("train") == usable_ids(layout, "train", (check_labels,)) == [image_id]
    assert layout.image(image_id).shape == (3, 20, 30)
    assert layout.labels(image_id).tolist() == [1, 1, 0] and layout.labels("plain").tolist() == [0, 0, 1]


def test_a_first_line_that_is_no_background_is_said(root):
    (root / "classes.txt").write_text("cat\ndog\nsofa\n")
    with pytest.raises(
        UserError, match=r"line 1: class 'cat' of a is in the first line of .*: put `background` before"
    ):
        Layout(root).labels("a")
    assert Layout(root).labels("b").tolist() == [0, 1]


def test_tabs_part_names_with_spaces(root):
    (root / "classes.txt").write_text("background\ntraffic light\ncat\n", encoding="utf-8-sig")
    (root / "image_labels.txt").write_text("a b\ttraffic light\tcat\nno class\t\nc cat\n")
    layout = Layout(root)
    assert [layout.labels(name).tolist() for name in ("a b", "no class", "c")] == [[1, 1], [0, 0], [0, 1]]
    (root / "image_labels.txt").write_text("a traffic light\n")
    with pytest.raises(UserError, match="line 1: class 'traffic' of .* is not in classes.txt"):
        Layout(root).labels("a")


def test_two_files_of_one_id_are_refused_and_other_files_left_alone(root, pixels):
    for name in ("a.jpg", "b.jpg", "b.PNG", "._a.jpg"):
        Image.fromarray(pixels).save(root / "JPEGImages" / name)
    (root / "JPEGImages/a.xml").write_text("")
    layout = Layout(root)
    assert layout.image("a").shape == (3, 20, 30)
    for read in (layout.image, layout.size):
        with pytest.raises(UserError, match="JPEGImages: b.PNG and b.jpg have the same ID"):
            read("b")


@pytest.mark.parametrize(
    "image_id, hint", [("a.jpg", ": IDs have no suffix: write a"), ("a.txt", ""), ("b.jpg", ""), ("b", "")]
)
def test_a_suffix_in_an_id_is_said(root, pixels, image_id, hint):
    Image.fromarray(pixels).save(root / "JPEGImages/a.png")
    with pytest.raises(UserError) as error:
        Layout(root).path(image_id)
    assert str(error.value) == f"{root}/JPEGImages/{image_id}.jpg: no such image{hint}"


def test_255_classes_fit(root):
    (root / "classes.txt").write_text("\n".join(map(str, range(255))))
    (root / "image_labels.txt").write_text("a 254 1\n")
    labels = Layout(root).labels("a")
    assert labels.shape == (254,) and labels.nonzero()[:, 0].tolist() == [0, 253]


def test_missing_lists_and_labels_are_named(root):
    with pytest.raises(UserError, match="lists/val.txt: no such list: there are train$"):
        Layout(root).ids("val")
    (root / "lists/val.txt").write_text("a\nx\ny\n")
    with pytest.raises(UserError, match="has no line for x; 1 more of the 3 in .*lists/val.txt cannot be used either"):
        usable_ids(Layout(root), "val", (check_labels,))
    (root / "image_labels.txt").write_text("a dog\nb cat\na cat\n")
    with pytest.raises(UserError, match="line 3: a second line for a"):
        Layout(root).labels("a")
