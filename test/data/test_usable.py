import json
import os
import shutil
from functools import partial

import numpy as np
import pytest
from PIL import Image

import data.usable
from data.index import INDEX
from data.label_png import save_label_png
from data.layout import Layout
from data.toy import make_toy
from data.usable import check_image, check_labels, check_mask, check_mask_if_any, check_scaled_image, usable_ids
from errors import UserError

IMAGE, TRAINING, EVALUATION = (check_image,), (check_image, check_labels), (check_image, check_mask)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    root = tmp_path_factory.mktemp("usable") / "toy"
    make_toy(root, train=3, train_aug=4, val=1, size=64)
    return root


@pytest.fixture
def root(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "toy")
    return tmp_path / "toy"


def image_file(root):
    return root / "JPEGImages/train_000001.jpg"


def cut(root):
    """Its header is whole, so only its end tells."""
    path = image_file(root)
    path.write_bytes(path.read_bytes()[:-200])


def edit(name, change):
    def damage(root):
        (root / name).write_text(change((root / name).read_text()))

    return damage


def wrong_mask(change):
    def damage(root):
        path = root / "SegmentationClassAug/train_000001.png"
        with Image.open(path) as mask:
            labels = np.array(mask)
        save_label_png(path, change(labels))

    return damage


def too_high(labels):
    labels[0, 0] = 6
    return labels


DAMAGES = {
    "cut short": (cut, IMAGE, "cannot be decoded"),
    "empty": (lambda root: image_file(root).write_bytes(b""), IMAGE, "cannot be decoded"),
    "text": (lambda root: image_file(root).write_text("<html>404</html>"), IMAGE, "cannot be decoded"),
    "missing": (lambda root: image_file(root).unlink(), IMAGE, "no such image"),
    "two files": (lambda root: shutil.copy(image_file(root), image_file(root).with_suffix(".png")), IMAGE, "same ID"),
    "unlabelled": (edit("image_labels.txt", lambda text: text.replace("train_000001", "other")), TRAINING, "no line"),
    "absent class": (
        edit("image_labels.txt", lambda text: text.replace("train_000001", "train_000001 unicorn")),
        TRAINING,
        "class 'unicorn' of train_000001 is not in classes.txt",
    ),
    "two lines": (edit("image_labels.txt", lambda text: text + "train_000001\n"), TRAINING, "a second line"),
    "mask of another size": (wrong_mask(lambda labels: labels[1:]), EVALUATION, "its image"),
    "labels out of range": (wrong_mask(too_high), EVALUATION, "holds the value 6"),
    "no mask": (lambda root: (root / "SegmentationClassAug/train_000001.png").unlink(), EVALUATION, "no such label"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_bad_image_is_named_or_left_out(root, kind, capsys):
    damage, checks, message = DAMAGES[kind]
    ids = Layout(root).ids("train")
    assert usable_ids(Layout(root), "train", checks) == ids
    damage(root)
    with pytest.raises(UserError) as caught:
        usable_ids(Layout(root), "train", checks)
    text = str(caught.value)
    assert message in text and "train_000001" in text and "--skip_bad" in text and "\n" not in text
    assert usable_ids(Layout(root), "train", checks, skip_bad=True) == [i for i in ids if i != "train_000001"]
    said = capsys.readouterr().err
    assert f"left out 1 of the 3 images in {root / 'lists/train.txt'}:\n  train_000001: " in said and message in said


def test_data_check_is_named_only_for_what_it_finds(root):
    """Found: it was to list images that are too large for a stage's scales, which it does not know."""
    checks = (partial(check_scaled_image, (0.001,)), check_labels)
    with pytest.raises(UserError, match=r"cannot be resized by 0.001: .* used either \(--skip_bad continues without\)"):
        usable_ids(Layout(root), "train", checks)
    (root / "JPEGImages/train_000000.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot be decoded .* \(python -m data.check .* lists all; --skip_bad"):
        usable_ids(Layout(root), "train", checks)


def test_of_many_bad_images_the_first_is_named_and_the_others_counted(root):
    for path in list((root / "JPEGImages").glob("train*"))[:4]:
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"train_000000.jpg: .*; 2 more of the 3 in .*lists/train.txt cannot be used"):
        usable_ids(Layout(root), "train", IMAGE)
    with pytest.raises(UserError, match="2 more of the 3"):
        usable_ids(Layout(root), "train", IMAGE, skip_bad=True)  # nothing would be left


def test_what_a_camera_writes_after_the_image_does_no_harm(root):
    image_file(root).write_bytes(image_file(root).read_bytes() + b"depth map, sound, ...")
    assert len(usable_ids(Layout(root), "train", IMAGE)) == 3


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif", ".bmp", ".tif"])
def test_other_formats_are_found_cut_short_too(root, suffix):
    path = image_file(root).with_suffix(suffix)
    with Image.open(image_file(root)) as image:
        image.save(path)
    image_file(root).unlink()
    assert len(usable_ids(Layout(root), "train", IMAGE)) == 3
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    with pytest.raises(UserError, match=f"train_000001{suffix}: cannot be decoded"):
        usable_ids(Layout(root), "train", IMAGE)


def test_an_image_without_a_mask_is_fine_where_none_is_needed(root):
    (root / "SegmentationClassAug/train_000001.png").unlink()
    assert len(usable_ids(Layout(root), "train", (check_image, check_mask_if_any))) == 3


def many(root):
    """A list of 600 images, each the same."""
    ids = [f"many_{number:03}" for number in range(600)]
    for image_id in ids:
        os.link(image_file(root), root / f"JPEGImages/{image_id}.jpg")
    (root / "lists/train.txt").write_text("\n".join(ids))
    return ids


@pytest.mark.parametrize("quiet, show, bar", [(0, True, True), (0, False, False), (60, True, False)])
def test_only_a_long_look_of_the_main_process_shows_a_bar(root, monkeypatch, capsys, quiet, show, bar):
    """Found: the first look at COCO took minutes without a word."""
    monkeypatch.setattr(data.usable, "QUIET", quiet)
    monkeypatch.setenv("STAGE_NUMBER", "3/11")
    ids = many(root)
    assert usable_ids(Layout(root), "train", IMAGE, show=show) == ids
    said = capsys.readouterr().err
    assert ("3/11 images of train: 100%" in said and "600/600" in said) if bar else not said


def test_what_a_long_look_found_outlives_a_kill(root, monkeypatch):
    def check(dataset, image_id):
        check_image(dataset, image_id)
        if image_id == ids[-1]:
            raise KeyboardInterrupt

    ids = many(root)
    with pytest.raises(KeyboardInterrupt):
        usable_ids(Layout(root), "train", (check,))
    assert not (root / INDEX).exists()
    monkeypatch.setattr(data.usable, "KEPT", 0)
    with pytest.raises(KeyboardInterrupt):
        usable_ids(Layout(root), "train", (check,))
    assert len(json.loads((root / INDEX).read_text().splitlines()[1])) >= 257


def test_what_is_found_while_the_index_is_kept_is_kept_by_the_next_call(root, monkeypatch):
    layout = Layout(root)
    layout.image_facts("train_000000")
    original = data.index.atomic

    def slow(path):
        layout.image_facts("train_000001")  # as another thread
        return original(path)

    monkeypatch.setattr(data.index, "atomic", slow)
    layout.index.save()
    monkeypatch.undo()
    layout.index.save()
    assert "train_000001" in (root / INDEX).read_text()
