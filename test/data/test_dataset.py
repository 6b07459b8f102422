"""A data set of one's own: what it says of itself is enough for all that a stage asks."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from data.content import inputs, stamps
from data.dataset import Dataset
from data.datasets import DATASETS, open_dataset
from data.layout import Layout
from data.loader import ImageSet, TrainingSet, training_loader
from data.transforms import CropTransform
from data.usable import check_image, check_labels, check_mask, check_mask_if_any, usable_ids
from errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]


class Folders(Dataset):
    """ROOT/CLASS/NAME.jpg, every second image in train and all others in val; neither lists on disk nor masks."""

    def __init__(self, root, spare=None):
        super().__init__(root, spare)
        self.files = {f"{path.parent.name}_{path.stem}": path for path in sorted(self.root.glob("*/*.jpg"))}
        self.class_names = ["background", *sorted({path.parent.name for path in self.files.values()})]

    def lists(self):
        return ["train", "val"]

    def ids(self, list_name):
        return list(self.files)[{"train": 0, "val": 1}[list_name] :: 2]

    def present(self, image_id):
        return [self.class_names.index(self.files[image_id].parent.name) - 1]

    def path(self, image_id):
        return self.files[image_id]


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            pixels = rng.integers(0, 256, (40, 50 + number, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.jpg")
    return tmp_path


def test_a_stage_can_train_on_it(root):
    dataset = Folders(root)
    ids = usable_ids(dataset, "train", (check_image, check_labels, check_mask_if_any))
    assert ids == ["cat_0", "cat_2", "dog_1"] and dataset.n_classes == 3
    samples = TrainingSet(dataset, ids, CropTransform(32, scale=(0.5, 1.0)), seed=0)
    batch = next(iter(training_loader(samples, 3, 1, 0, 0, 1, workers=0)))
    assert batch["image"].shape == (3, 3, 32, 32) and batch["image"].dtype == torch.uint8
    wanted = {"cat_0": [1, 0], "cat_2": [1, 0], "dog_1": [0, 1]}
    assert {image_id: row.tolist() for image_id, row in zip(batch["id"], batch["labels"])} == wanted
    assert [(image_id, image.shape) for image_id, image in ImageSet(dataset, ids[:1])] == [("cat_0", (3, 40, 50))]


def test_its_records_and_stamps_follow_its_files(root):
    ids = Folders(root).ids("train")
    before = inputs(Folders(root), ids, "labels", "images"), stamps(Folders(root), ids)
    Image.new("RGB", (9, 9)).save(root / "cat/2.jpg")
    after = inputs(Folders(root), ids, "labels", "images"), stamps(Folders(root), ids)
    assert {key for key in before[0] if before[0][key] != after[0][key]} == {"images"}
    assert {image_id for image_id in ids if before[1][image_id] != after[1][image_id]} == {"cat_2"}


def test_what_is_wrong_with_it_is_said_without_words_of_another_layout(root, capsys):
    (root / "cat/2.jpg").write_bytes(b"x")
    with pytest.raises(UserError) as caught:
        usable_ids(Folders(root), "train", (check_image,))
    assert str(caught.value).endswith("are read (--skip_bad continues without)")
    assert usable_ids(Folders(root), "train", (check_image,), skip_bad=True) == ["cat_0", "dog_1"]
    assert f"left out 1 of the 3 images in list train of {root}:" in capsys.readouterr().err


def test_without_masks_nothing_is_evaluated(root):
    dataset = Folders(root)
    assert not dataset.has_mask("cat_0")
    for ask in (dataset.mask, dataset.mask_facts):
        with pytest.raises(UserError, match="has no masks, so nothing can be evaluated"):
            ask("cat_0")
    with pytest.raises(UserError, match="has no masks"):
        usable_ids(dataset, "val", (check_mask,))


def test_one_that_lacks_a_part_cannot_be_made(root):
    class Half(Dataset):
        def ids(self, list_name):
            return []

    with pytest.raises(TypeError, match="path.*present"):
        Half(root)


def test_data_sets_are_opened_by_name(root, monkeypatch):
    def opened(name):
        return open_dataset(SimpleNamespace(dataset_format=name, dataset_root=root, run=root / "spare"))

    monkeypatch.setitem(DATASETS, "folders", Folders)
    assert type(opened("folders")) is Folders and opened("folders").index.places == [root, root / "spare"]
    (root / "classes.txt").write_text("background\ncat\n")
    assert type(opened("voc")) is Layout and opened("voc").root == root
    with pytest.raises(UserError, match="'coco' is no kind of data set: there are voc, folders$"):
        opened("coco")


def test_the_dataset_stage_looks_at_its_images(root, script, monkeypatch):
    monkeypatch.setitem(DATASETS, "folders", Folders)
    flags = ("--dataset_format", "folders", "--dataset_root", root)
    done = script("prepare_dataset.py", *flags)
    assert (done.status, done.out) == (0, f"{root}: 3 classes with the background, train 3, val 3\n"), done.err
    (root / "cat/1.jpg").write_bytes(b"x")
    done = script("prepare_dataset.py", *flags)
    assert done.status == 2 and "cat/1.jpg: cannot be decoded" in done.err
    monkeypatch.setattr(Folders, "lists", Dataset.lists)
    assert script("prepare_dataset.py", *flags).out == f"{root}: 3 classes with the background\n"


@pytest.mark.parametrize("kind", ["toy", "voc12"])
def test_the_dataset_stage_makes_no_set_that_would_be_read_as_another(tmp_path, script, monkeypatch, kind):
    monkeypatch.setitem(DATASETS, "folders", Folders)
    flags = ("--dataset_format", "folders", "--dataset_root", tmp_path / "set")
    done = script("prepare_dataset.py", "--kind", kind, *flags)
    assert done.status == 2 and f"error: --kind {kind} makes a set in VOC layout, not of --dataset_format" in done.err
    assert not (tmp_path / "set").exists()


def test_to_open_one_imports_nothing_heavy():
    code = "import sys, data.datasets, data.usable, data.content; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
