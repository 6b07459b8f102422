"""data.check on sets with one thing wrong each."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scripts import call

from data import check as module
from data.check import EVALUATION, NOTE, TRAINING, check

IMAGES, LABELS, MASKS = (f"{what} missing or wrong" for what in ("images", "labels", "masks"))
NO_MASKS = "files in the folder of masks that are no ID.png of an image, so not read"


def save(path, size=(20, 30), value=None):
    """A random image, or a mask that is `value` all over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels if value is None else np.full(size, value, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    """Four images of two classes with masks, nothing wrong."""
    for name in "abcd":
        save(tmp_path / f"JPEGImages/{name}.jpg")
        save(tmp_path / f"SegmentationClass/{name}.png", value=2 if name == "b" else 1)  # as the labels say
    (tmp_path / "lists").mkdir()
    (tmp_path / "classes.txt").write_text("background\ncat\ndog\n")
    (tmp_path / "image_labels.txt").write_text("a cat\nb dog\nc cat dog\nd cat\n")
    for name, ids in {"train": "ab", "train_aug": "abc", "val": "d"}.items():
        (tmp_path / f"lists/{name}.txt").write_text("\n".join(ids))
    return tmp_path


def status(root, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["data.check", str(root)])
    return module.main()


def test_a_good_set_and_its_table(root, monkeypatch, capsys):
    assert status(root, monkeypatch) == 0
    text = capsys.readouterr().out
    assert "4 images, 2 classes and background, 4 labelled images; masks: SegmentationClass" in text
    assert [line.split() for line in text.splitlines()[1:7]] == [
        ["train", "train_aug", "val"],
        ["images", "2", "3", "1"],
        ["with", "a", "mask", "2", "3", "1"],
        ["with", "labels", "2", "3", "1"],
        ["cat", "1", "2", "1"],
        ["dog", "1", "2", "0"],
    ]
    assert text.endswith("Nothing is wrong.\n")


def test_one_labelled_image_is_no_plural(root):
    (root / "image_labels.txt").write_text("a cat\n")
    assert "background, 1 labelled image; masks" in check(root)[0]


def rewrite(name, text):
    return lambda root: (root / name).write_text(text)


def _binary(root):
    """Masks of 0 and 255, as many tools export an object."""
    for path in (root / "SegmentationClass").iterdir():
        Image.fromarray(np.repeat(np.uint8([[0, 255]]), [10, 20], axis=1).repeat(20, axis=0)).save(path)


def _unlabelled(root):
    save(root / "JPEGImages/e.jpg")


@pytest.mark.parametrize(
    "damage, severity, kind, example",
    [
        (lambda root: (root / "JPEGImages/a.jpg").unlink(), TRAINING, IMAGES, "a.jpg: no such image"),
        (lambda root: (root / "JPEGImages/d.jpg").unlink(), TRAINING, IMAGES, "d.jpg: no such image"),
        (
            rewrite("lists/train.txt", "a.jpg\n"),
            TRAINING,
            IMAGES,
            "a.jpg.jpg: no such image: IDs have no suffix: write a",
        ),
        (lambda root: (root / "JPEGImages/b.jpg").write_bytes(b"x"), TRAINING, IMAGES, "b.jpg: cannot be decoded"),
        (lambda root: save(root / "JPEGImages/b.png"), TRAINING, IMAGES, "b.jpg and b.png have the same ID"),
        (rewrite("image_labels.txt", "a cow\nb dog\nc cat\n"), TRAINING, LABELS, "line 1: class 'cow' of a"),
        (rewrite("image_labels.txt", "a cat\na dog\nb dog\nc cat\n"), TRAINING, LABELS, "line 2: a second line for a"),
        (rewrite("image_labels.txt", "a cat\nc dog\n"), TRAINING, LABELS, "has no line for b"),
        (rewrite("image_labels.txt", "a\nb\nc\n"), TRAINING, LABELS, "no image of train_aug"),
        (lambda root: (root / "image_labels.txt").unlink(), TRAINING, LABELS, "cannot be read"),
        (rewrite("image_labels.txt", "a\nb cat\nc dog\n"), NOTE, "training images without any class", "a"),
        (rewrite("image_labels.txt", "a cat\nb cat\nc cat\n"), NOTE, "classes without an image in train_aug", "dog"),
        (lambda root: (root / "lists/train_aug.txt").unlink(), TRAINING, "lists missing or wrong", "train_aug.txt: no"),
        (lambda root: (root / "lists/val.txt").unlink(), EVALUATION, "lists missing or wrong", "val.txt: no such"),
        (rewrite("lists/train_aug.txt", "a\n../b\n"), TRAINING, "lists missing or wrong", "line 2: '../b'"),
        (rewrite("lists/val.txt", "d\n../b\n"), TRAINING, "lists missing or wrong", "line 2: '../b'"),
        (lambda root: save(root / "SegmentationClass/d.png", value=3), TRAINING, MASKS, "d.png: holds the value 3"),
        (lambda root: save(root / "SegmentationClass/c.png", value=3), EVALUATION, MASKS, "c.png: holds the value 3"),
        (rewrite("lists/train_aug.txt", "a\nb\nc\nb\n"), NOTE, "IDs more than once in a list", "b in train_aug"),
        (lambda root: save(root / "SegmentationClass/c.jpg", value=1), EVALUATION, NO_MASKS, "c.jpg"),
        (lambda root: save(root / "SegmentationClass/c_mask.png", value=1), EVALUATION, NO_MASKS, "c_mask.png"),
        (rewrite("lists/val.txt", "a\nd\n"), EVALUATION, "training images in a list to test on", "a in val"),
        (rewrite("lists/train_2.txt", "d\n"), EVALUATION, "training images in a list to test on", "d in val"),
        (rewrite("lists/val.txt", "c\n"), NOTE, "images in no list", "d"),
        (_unlabelled, NOTE, "images in no list and without a line in image_labels.txt", "e"),
        (rewrite("image_labels.txt", "a cat\nb cat\nc dog\n"), NOTE, "classes of one image in train_aug", "dog"),
        (
            rewrite("classes.txt", "background\ncat\ndog\ncatt\n"),
            NOTE,
            "classes of nearly the same name",
            "cat and catt",
        ),
        (rewrite("classes.txt", "background\ncat\ndog\nDOG\n"), NOTE, "classes of nearly the same name", "DOG and dog"),
        (
            lambda root: save(root / "SegmentationClass/a.png", (30, 20), 1),
            TRAINING,
            MASKS,
            "a.png: is 20 x 30 pixels (width x height), its image 30 x 20",
        ),
        (lambda root: save(root / "SegmentationClass/a.png", value=3), TRAINING, MASKS, "a.png: holds the value 3"),
        (lambda root: save(root / "SegmentationClass/a.png"), TRAINING, MASKS, "must be an index PNG"),
        (_binary, EVALUATION, "masks without a class, as all are: 1 and up are classes, 255 is not counted", "d"),
        (
            lambda root: save(root / "SegmentationClass/a.png", value=2),
            NOTE,
            "masks with a class that image_labels.txt does not give the image",
            "dog in a",
        ),
        (
            lambda root: (root / "SegmentationClass/a.png").unlink(),
            EVALUATION,
            "images without a mask in train, where others have one",
            "a",
        ),
    ],
)
def test_everything_that_is_wrong_is_named(root, damage, severity, kind, example, monkeypatch, capsys):
    damage(root)
    text, findings = check(root)
    assert any(example in each for each in findings.found[severity].get(kind, ())), text
    assert kind in text and status(root, monkeypatch) == (2 if findings.found[TRAINING] else 0)
    assert findings.found[TRAINING] or severity != TRAINING


def _bad_image(root):
    (root / "JPEGImages/d.jpg").write_bytes(b"x")


@pytest.mark.parametrize(
    "damage",
    [
        _bad_image,
        rewrite("lists/val.txt", "d\n../b\n"),
        rewrite("image_labels.txt", "a cat\nc dog\n"),
        lambda root: save(root / "SegmentationClass/d.png", value=3),
        lambda root: save(root / "SegmentationClass/c.png", value=3),  # of train_aug alone: masks are not read there
        lambda root: (root / "SegmentationClass/d.png").unlink(),
    ],
)
def test_it_and_the_first_stage_agree(root, damage, monkeypatch):
    """Found: a bad mask of val, with which prepare_dataset.py stops, ended here with status 0."""
    damage(root)
    first = call("prepare_dataset.py", "--dataset_root", root, "--num_workers", 0)
    assert status(root, monkeypatch) == first.status, first.err


def test_a_list_of_training_and_validation_images_is_neither(root):
    (root / "lists/trainval.txt").write_text("a\nb\nc\nd\n")
    assert "Nothing is wrong" in check(root)[0]


def test_masks_may_hold_255_and_may_be_lacking(root, monkeypatch):
    save(root / "SegmentationClass/a.png", value=255)
    assert "Nothing is wrong" in check(root)[0]
    for path in (root / "SegmentationClass").iterdir():
        path.unlink()
    assert "Nothing is wrong" in check(root)[0] and status(root, monkeypatch) == 0


def test_masks_of_images_in_no_list_and_hidden_files_are_no_fault(root):
    save(root / "JPEGImages/e.jpg")
    save(root / "SegmentationClass/e.png", value=1)
    (root / "SegmentationClass/.DS_Store").touch()
    text, findings = check(root)
    assert not findings.found[EVALUATION] and "images in no list" in text


def test_many_examples_are_cut_short_and_all_kinds_come_in_one_go(root):
    (root / "lists/train_aug.txt").write_text("".join(f"{number:03d}\n" for number in range(50)))
    (root / "lists/val.txt").unlink()
    text, findings = check(root)
    assert len(findings.found[TRAINING][IMAGES]) == 50
    line = next(line for line in text.splitlines() if IMAGES in line)
    assert "(50)" in line and line.endswith("009.jpg: no such image and 40 more") and "val.txt" in text


@pytest.mark.parametrize(
    "words, message", [([], "the following arguments are required: dataset"), (["a", "b"], "unrecognized arguments: b")]
)
def test_wrong_words_are_one_line(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["data.check", *words])
    assert module.main() == 2 and capsys.readouterr().err == f"error: {message} (see --help)\n"


def test_a_reader_who_has_enough_ends_it_without_a_traceback(root):
    command = [sys.executable, "-m", "data.check", root]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # as `head` does
    assert process.stderr.read() == b"" and process.wait() == 0


@pytest.mark.parametrize("part", ["classes.txt", "JPEGImages", ""])
def test_what_is_no_dataset_is_one_line(root, part, monkeypatch, capsys):
    if part:
        (root / part).rename(root / "gone")
    assert status(root if part else root / "nowhere", monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--" not in line, "it has no such flag"
