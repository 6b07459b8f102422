"""Labels from text, XML and folders; nothing of the user's is ever changed."""

import shutil

import numpy as np
import pytest
from PIL import Image

from data.collect import collect
from data.layout import Layout
from errors import UserError


def save(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)).save(path)


def annotate(root, image_id, *names):
    (root / "Annotations").mkdir(exist_ok=True)
    objects = "".join(
        f"<object><name>{name}</name><difficult>1</difficult><part><name>head</name></part></object>" for name in names
    )
    (root / f"Annotations/{image_id}.xml").write_text(f"<annotation>{objects}</annotation>")


@pytest.fixture
def folders(tmp_path):
    for seed, name in enumerate(("cat/a.jpg", "cat/b b.png", "traffic light/c.jpg", "background/d.jpg")):
        save(tmp_path / "images_by_class" / name, seed)
    save(tmp_path / "images_by_class/traffic light/a.jpg", 0)
    return tmp_path


def stamps(root):
    return {path: path.lstat().st_mtime_ns for path in root.rglob("*") if not path.is_dir()}


def test_folders(folders):
    collect(folders, "folders")
    layout = Layout(folders)
    assert layout.class_names == ["background", "cat", "traffic light"]
    assert [layout.labels(name).tolist() for name in ("a", "b b", "c", "d")] == [[1, 1], [1, 0], [0, 1], [0, 0]]
    assert layout.ids("val") == ["a"] and layout.ids("train") == layout.ids("train_aug") == ["b b", "c", "d"]
    assert layout.image("b b").shape == (3, 8, 9)
    before = stamps(folders)
    collect(folders, "folders")
    assert stamps(folders).keys() == before.keys()


@pytest.mark.parametrize("moved, place", [("cat", "kitty"), ("cat/b b.png", "background/b b.png")])
def test_links_follow_images_that_have_moved(folders, moved, place):
    collect(folders, "folders")
    (folders / "images_by_class" / moved).rename(folders / "images_by_class" / place)
    message = "classes.txt: lacks class 'kitty'" if place == "kitty" else r"differs from .* for 1 image \(b b\): give"
    with pytest.raises(UserError, match=message):
        collect(folders, "folders", overwrite=place == "kitty")
    (folders / "classes.txt").unlink()
    collect(folders, "folders", overwrite=True)
    layout = Layout(folders)
    assert [layout.image(name).shape for name in layout.files] == [(3, 8, 9)] * 4
    assert layout.labels("b b").tolist() == ([1, 0] if place == "kitty" else [0, 0])


def test_images_whose_classes_nothing_tells_are_named(tmp_path, capsys):
    for name in "abcdefgh":
        save(tmp_path / f"JPEGImages/{name}.jpg")
    (tmp_path / "image_labels.txt").write_text("a cat\nb dog\n")
    collect(tmp_path)
    said = "without a class and so in no list: c, d, e, f, g and 1 more\n"
    assert capsys.readouterr().out.endswith(said)
    collect(tmp_path)  # the lists are there, and may leave out what they like
    assert not capsys.readouterr().out


def test_labelled_images_that_existing_lists_leave_out_are_counted(folders, capsys):
    collect(folders, "folders")
    assert not capsys.readouterr().out
    lists = {path: path.read_text() for path in (folders / "lists").iterdir()}
    for seed, name in enumerate("xy"):
        save(folders / f"images_by_class/cat/{name}.jpg", seed)
    collect(folders, "folders", overwrite=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert f"2 labelled images, such as x, are in no list: add their IDs to one, or delete {folders / 'lists'}" in line
    assert {path: path.read_text() for path in (folders / "lists").iterdir()} == lists
    shutil.rmtree(folders / "lists")
    collect(folders, "folders")
    assert not capsys.readouterr().out and {"x", "y"} < {*Layout(folders).ids("train_aug")}
    save(folders / "images_by_class/cat/z.jpg", 2)
    collect(folders, "folders", overwrite=True)
    assert "1 labelled image, z, is in no list: add its ID to one, or delete" in capsys.readouterr().out


def test_files_whose_suffix_is_not_read_are_counted(folders, capsys):
    for name in ("cat/x.heic", "background/y.AVIF", "cat/.DS_Store"):
        (folders / "images_by_class" / name).touch()
    collect(folders, "folders")
    said = f"{folders}/images_by_class: files left out for their suffix: 2, such as background/y.AVIF: of an image make"
    assert capsys.readouterr().out == f"{said} a JPEG or PNG\n"


def test_the_same_name_of_two_images_is_refused_before_anything_is_written(folders):
    save(folders / "images_by_class/cat/c.jpg", 9)
    before = stamps(folders)
    with pytest.raises(UserError, match="cat/c.jpg and .*light/c.jpg share a name"):
        collect(folders, "folders")
    assert stamps(folders) == before
    (folders / "images_by_class/cat/c.jpg").unlink()
    save(folders / "JPEGImages/c.jpg", 9)
    with pytest.raises(UserError, match="JPEGImages/c.jpg and .* share a name"):
        collect(folders, "folders")


def test_xml(tmp_path):
    for name in "abc":
        save(tmp_path / f"JPEGImages/{name}.jpg")
    annotate(tmp_path, "a", "dog", "traffic light", "dog")
    annotate(tmp_path, "b")
    collect(tmp_path, "xml")
    layout = Layout(tmp_path)
    assert layout.class_names == ["background", "dog", "traffic light"]
    assert layout.labels("a").tolist() == [1, 1] and layout.labels("b").tolist() == [0, 0]
    assert not layout.is_labelled("c") and layout.ids("train_aug") == ["b"]


def test_text_makes_classes_and_lists(tmp_path):
    (tmp_path / "image_labels.txt").write_text(
        "a cat\nb dog cat\nc c\td\nc d\ttraffic light\te\n", encoding="utf-8-sig"
    )
    collect(tmp_path)
    layout = Layout(tmp_path)
    assert layout.class_names == ["background", "cat", "d", "dog", "e", "traffic light"]
    assert layout.labels("c d").tolist() == [0, 0, 0, 1, 1]
    assert layout.ids("val") == ["a"] and layout.ids("train") == ["b", "c c", "c d"]


def test_lists_and_classes_that_exist_stay(tmp_path):
    (tmp_path / "image_labels.txt").write_text("a cat\nb dog\n")
    (tmp_path / "classes.txt").write_text("nothing\ndog\ncat\n")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/all.txt").write_text("a\nb\n")
    before = stamps(tmp_path)
    collect(tmp_path)
    assert stamps(tmp_path) == before
    with pytest.raises(UserError, match=r"lists/train.txt: no such list: there are all$"):
        Layout(tmp_path).ids("train")


def test_only_images_with_masks_are_evaluated(tmp_path):
    (tmp_path / "image_labels.txt").write_text("".join(f"{number:02d} cat\n" for number in range(40)))
    for number in range(0, 40, 2):
        save(tmp_path / f"SegmentationClass/{number:02d}.png")
    collect(tmp_path)
    layout = Layout(tmp_path)
    assert layout.ids("val") == ["00", "20"] and len(layout.ids("train")) == 18 and len(layout.ids("train_aug")) == 38
    assert set(layout.ids("train")) < set(layout.ids("train_aug"))


def test_other_labels_are_replaced_only_when_told(folders):
    (folders / "image_labels.txt").write_text("a cat\nmine cat\n")
    with pytest.raises(
        UserError,
        match=r"labels.txt: differs from --labels_from folders for 5 images \(a, b b, c, d, mine\): give --overwrite",
    ):
        collect(folders, "folders")
    assert (folders / "image_labels.txt").read_text() == "a cat\nmine cat\n" and not (folders / "classes.txt").exists()
    collect(folders, "folders", overwrite=True)
    assert Layout(folders).labels("a").tolist() == [1, 1]


def write(labels, classes=None):
    def texts(root):
        (root / "image_labels.txt").write_text(labels)
        if classes:
            (root / "classes.txt").write_text(classes)

    return texts


@pytest.mark.parametrize(
    "prepare, source, message",
    [
        (lambda root: None, "folders", "by_class: does not exist: make it and move the class folders into it"),
        (lambda root: (root / "images_by_class").mkdir(), "folders", "images_by_class: holds no folders"),
        (lambda root: (root / "images_by_class/cat").mkdir(parents=True), "folders", "cat: holds no image"),
        (lambda root: save(root / "images_by_class/ cat/a.jpg"), "folders", "' cat': an image or a class cannot"),
        (lambda root: save(root / "images_by_class/c\tat/a.jpg"), "folders", r"'c\\tat': an image or a class cannot"),
        (lambda root: save(root / "images_by_class/cat/a.jpg"), "folders", "1 labelled image"),
        (
            lambda root: (
                save(root / "images_by_class/cat/a.jpg"),
                (root / "images_by_class/dog").mkdir(),
                (root / "images_by_class/dog/a.jpg").symlink_to("gone.jpg"),
            ),
            "folders",
            "dog/a.jpg: cannot be read: No such file or directory: fix or remove it",
        ),
        (lambda root: None, "xml", "JPEGImages: no such folder"),
        (lambda root: save(root / "JPEGImages/a.jpg"), "xml", "Annotations: holds no annotations"),
        (lambda root: (save(root / "JPEGImages/a.jpg"), annotate(root, "b", "cat")), "xml", "b.xml: there is no image"),
        (lambda root: (save(root / "JPEGImages/a.jpg"), annotate(root, "a", "<")), "xml", "a.xml: cannot be read"),
        (lambda root: (save(root / "JPEGImages/a.jpg"), annotate(root, "a", "")), "xml", "'': an image or a class"),
        (lambda root: (save(root / "JPEGImages/a.jpg"), annotate(root, "a", "")), "xml", r"Annotations/a\.xml: '': an"),
        (
            lambda root: None,
            "text",
            r"image_labels\.txt: is missing: write it, .*, tabs between; or give --labels_from",
        ),
        (write("a cat\nb background cat\n"), "text", r"labels\.txt, line 2: `background` is in every image .*: take"),
        (write("a cat\nb c\x01t\n"), "text", r"labels\.txt, line 2: 'c\\x01t': an image or a class"),
        (write("a\nb\n"), "text", "--labels_from text finds 0 classes besides the background"),
        (write("a cat\nb dog\n", "cat\ncat\n"), "text", "classes.txt, line 2: 'cat' is in line 1 too: name each"),
        (
            lambda root: (
                save(root / "images_by_class/background/a.jpg"),
                save(root / "images_by_class/background/b.jpg"),
            ),
            "folders",
            "--labels_from folders finds 0 classes besides the background, .*: at least one image must show a class",
        ),
        (
            lambda root: [save(root / f"images_by_class/{n}/{n}.jpg", n) for n in range(255)],
            "folders",
            "--labels_from folders finds 255 classes besides the background, .*: join classes or leave some out",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, prepare, source, message):
    prepare(tmp_path)
    before = stamps(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        collect(tmp_path, source)
    assert "\n" not in str(error.value) and stamps(tmp_path) == before


def test_a_class_that_the_users_list_lacks_is_named(folders):
    (folders / "classes.txt").write_text("background\ncat\n")
    with pytest.raises(UserError, match="classes.txt: lacks class 'traffic light' of image "):
        collect(folders, "folders")


@pytest.mark.parametrize("with_masks", [True, False])
def test_a_new_class_does_not_renumber_those_of_masks(folders, with_masks):
    """Found: the advice to delete classes.txt let the values of masks mean other classes."""
    (folders / "classes.txt").write_text("background\ncat\n")
    if with_masks:
        (folders / "SegmentationClass").mkdir()
    with pytest.raises(UserError) as error:
        collect(folders, "folders")
    remedy = ": masks number the classes by its lines" if with_masks else ", or delete the file to have it made anew"
    assert str(error.value).endswith(f": add it as the last line{remedy}")


def test_a_first_line_that_is_no_background_is_said(folders):
    (folders / "classes.txt").write_text("cat\ntraffic light\n")
    before = stamps(folders)
    with pytest.raises(
        UserError, match=r"classes\.txt: its first line, class 'cat' of image a, is .*: put `background`"
    ):
        collect(folders, "folders")
    assert stamps(folders) == before
