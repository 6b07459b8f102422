import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import toy
from errors import UserError

SETTINGS = {"train": 3, "train_aug": 8, "val": 4, "size": 96, "seed": 5}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy") / "set"
    toy.make_toy(root, **SETTINGS)
    return root


def read_ids(root, name):
    return (root / "lists" / f"{name}.txt").read_text().splitlines()


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_same_seed_gives_the_same_files(root, tmp_path):
    toy.make_toy(tmp_path / "again", **SETTINGS)
    assert contents(tmp_path / "again") == contents(root)


def test_images_do_not_depend_on_how_many_there_are(root, tmp_path):
    toy.make_toy(tmp_path / "fewer", **{**SETTINGS, "train": 1, "train_aug": 2, "val": 1})
    fewer, more = contents(tmp_path / "fewer"), contents(root)
    for path, data in fewer.items():
        if path.suffix in (".jpg", ".png"):
            assert data == more[path]


def test_other_seed_gives_other_images(root, tmp_path):
    toy.make_toy(tmp_path / "other", **{**SETTINGS, "seed": 6, "train_aug": 3, "val": 1})
    name = Path("JPEGImages/train_000000.jpg")
    assert (tmp_path / "other" / name).read_bytes() != (root / name).read_bytes()


def test_lists(root):
    train, train_aug, val = (read_ids(root, name) for name in ("train", "train_aug", "val"))
    assert (len(train), len(train_aug), len(val)) == (3, 8, 4)
    assert set(train) < set(train_aug) and not set(train_aug) & set(val)
    assert len(set(train_aug + val)) == 12
    assert not list(root.parent.glob(".*"))  # the temporary folder is gone


def test_masks_agree_with_labels(root):
    classes = (root / "classes.txt").read_text().splitlines()
    assert classes[0] == "background" and len(classes) == 6
    labels = dict(line.split(maxsplit=1) for line in (root / "image_labels.txt").read_text().splitlines())
    ids = read_ids(root, "train_aug") + read_ids(root, "val")
    assert sorted(labels) == sorted(ids)
    for name in ids:
        with (
            Image.open(root / f"JPEGImages/{name}.jpg") as image,
            Image.open(root / f"SegmentationClassAug/{name}.png") as mask,
        ):
            assert image.mode == "RGB" and mask.mode == "P"
            assert image.size == mask.size and max(image.size) == 96
            present = {classes[index] for index in np.unique(np.array(mask))} - {"background"}
        assert present and present == set(labels[name].split())


def test_objects_are_visible_and_their_heads_smaller_than_their_bodies():
    shares = []
    for index in range(30):
        shapes = toy._place_shapes(np.random.default_rng(index), 128, 160, 1)
        assert 1 <= len(shapes) <= 3
        covered = np.zeros((128, 160), bool)
        for shape in reversed(shapes):
            visible, head = (shape.distance < 0) & ~covered, (shape.head_distance < 0) & ~covered
            assert visible.sum() >= 0.5 * (shape.distance < 0).sum()
            assert head.sum() >= 0.8 * (shape.head_distance < 0).sum()
            assert np.ptp(np.nonzero(shape.head_distance < 0)[1]) >= 22  # px across: room for a pattern
            shares.append(head.sum() / visible.sum())
            covered |= shape.distance < 0
    assert 0.2 < np.median(shares) < 0.35


def test_mask_follows_the_drawn_outline(monkeypatch):
    """Before a ground far below black, every pixel less than half covered by an object stays 0."""
    ground = np.full((128, 160, 3), -1e5, np.float32)
    monkeypatch.setattr(toy, "_draw_background", lambda *_: (ground, np.zeros((2, 3), np.float32)))
    for seed in range(5):
        image, labels = toy.draw_toy_image(np.random.default_rng(seed), 128, 160)
        drawn = image.max(axis=2) > 0
        assert not drawn[labels == 0].any()
        assert drawn[labels > 0].mean() > 0.85  # the rest is the outline, partly covered


def test_existing_set_is_left_alone(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    toy.make_toy(root, **SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_other_settings_are_refused(root):
    before = contents(root)
    with pytest.raises(
        UserError,
        match=r"""other settings: '.*"val": 4.*"seed": 5, "drawing": 2}', not .*"val": 5.*"seed": 6, """
        r'"drawing": 2}: remove .*, or name another --dataset_root$',
    ):
        toy.make_toy(root, **{**SETTINGS, "seed": 6, "val": 5})
    assert contents(root) == before


def test_settings_are_kept(root):
    assert json.loads((root / "toy.json").read_text()) == SETTINGS | {"drawing": toy.DRAWING}


@pytest.mark.parametrize("changes", [{"train": 9}, {"train": 0}, {"val": 0}, {"size": 63}, {"seed": -1}])
def test_settings_out_of_range(tmp_path, changes):
    with pytest.raises(UserError, match="need 1 <= train"):
        toy.make_toy(tmp_path / "set", **{**SETTINGS, **changes})
    assert not list(tmp_path.iterdir())


def test_another_folder_is_not_touched(tmp_path):
    (tmp_path / "toy.txt").write_text("mine")
    with pytest.raises(UserError, match="is not a toy set"):
        toy.make_toy(tmp_path, **SETTINGS)
    assert contents(tmp_path) == {Path("toy.txt"): b"mine"}


def test_failure_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(toy, "save_label_png", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        toy.make_toy(tmp_path / "set", **SETTINGS)
    assert not list(tmp_path.iterdir())
