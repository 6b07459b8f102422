import os

import numpy as np
import pytest
from PIL import Image

from data.content import inputs, stamps
from data.index import INDEX
from data.layout import Layout
from data.toy import make_toy
from data.usable import check_image, check_mask, usable_ids
from errors import UserError


@pytest.fixture
def root(tmp_path):
    make_toy(tmp_path / "toy", train=3, train_aug=4, val=1, size=64, seed=0)
    return tmp_path / "toy"


def write_set(root, class_names, labels):
    """A set of two black images, a and b."""
    (root / "JPEGImages").mkdir(exist_ok=True)
    for name in "ab":
        Image.fromarray(np.zeros((3, 4), np.uint8)).save(root / f"JPEGImages/{name}.png")
    (root / "classes.txt").write_text("\n".join(class_names))
    (root / "image_labels.txt").write_text(labels)


def found(root):
    layout = Layout(root)
    ids = layout.ids("train")
    return inputs(layout, ids, "labels", "images", "masks"), stamps(layout, ids)


def test_the_list_its_order_and_its_names_are_told_apart(root):
    layout = Layout(root)
    lists = [inputs(layout, ids)["list"] for ids in (["a", "b"], ["b", "a"], ["ab"], ["a"], [])]
    assert lists[0] == inputs(layout, ["a", "b"])["list"] and lists[0].startswith("2 images, ") and len(set(lists)) == 5


def test_names_and_numbers_that_only_run_together_alike_are_told_apart(tmp_path):
    """Class 13 alone is not the classes 1 and 3."""
    names = [f"c{number}" for number in range(15)]
    found = []
    for text in ("a c2 c4\nb c14\n", "a c14\nb c14\n", "a c2 c4\nb c2 c4\n"):
        write_set(tmp_path, names, text)
        layout = Layout(tmp_path)
        found.append((inputs(layout, ["a", "b"], "labels")["labels"], *stamps(layout, ["a", "b"]).values()))
    assert len({labels for labels, *_ in found}) == 3 and found[0][1] != found[1][1] and found[0][2] != found[2][2]
    assert inputs(layout, ["a1", "2"])["list"] != inputs(layout, ["a", "12"])["list"]


def test_the_same_files_elsewhere_have_the_same_digests(root, tmp_path):
    before = found(root)
    root.rename(tmp_path / "moved")
    assert found(tmp_path / "moved") == before


def test_each_kind_of_change_changes_its_own_digest(root):
    before, stamped = found(root)
    labels, black = root / "image_labels.txt", Image.fromarray(np.zeros((30, 40), np.uint8))
    ids = [line.split()[0] for line in labels.read_text().splitlines()]
    for change, kinds in (
        (lambda: black.save(root / "JPEGImages/train_000001.jpg"), {"images"}),
        (lambda: black.save(root / "SegmentationClassAug/train_000001.png"), {"masks"}),
        (lambda: labels.write_text("".join(f"{image_id} striped dotted\n" for image_id in ids)), {"labels"}),
    ):
        change()
        after, stamped_now = found(root)
        assert {kind for kind in after if after[kind] != before[kind]} == kinds
        assert (stamped_now == stamped) == (kinds == {"masks"})
        before, stamped = after, stamped_now


def test_a_file_is_read_once_and_again_when_it_changes(root, monkeypatch):
    import data.dataset

    looked = []
    original = data.dataset.image_size
    monkeypatch.setattr(data.dataset, "image_size", lambda path: looked.append(path.name) or original(path))
    assert len(usable_ids(Layout(root), "train", (check_image, check_mask))) == 3 and len(looked) == 3
    assert (root / INDEX).exists()
    usable_ids(Layout(root), "train", (check_image, check_mask))
    assert len(looked) == 3
    path = root / "JPEGImages/train_000002.jpg"
    content = path.read_bytes()
    status = path.stat()
    path.write_bytes(content[:-60] + bytes(58) + content[-2:])  # the same size, and its time set back
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    usable_ids(Layout(root), "train", (check_image,))
    assert looked[3:] == ["train_000002.jpg"]


def test_a_stage_asks_the_file_system_once_a_file(root, monkeypatch):
    asked, layout = [], Layout(root)
    monkeypatch.setattr("data.index.check_file", asked.append)
    ids = usable_ids(layout, "train", (check_image, check_mask))
    inputs(layout, ids, "images", "masks"), stamps(layout, ids)
    files = [path for path in asked if path.name != INDEX]
    assert len(ids) == 3 and sorted(files) == sorted(
        [layout.path(each) for each in ids] + [layout.mask_path(each) for each in ids]
    )


def test_a_damaged_index_is_not_believed(root):
    usable_ids(Layout(root), "train", (check_image,))
    before, text = found(root), (root / INDEX).read_text()
    size = Layout(root).size("train_000000")
    (root / INDEX).write_text(text.replace(", {}, {}".format(*size), ", 9, 9"))
    assert found(root) == before and Layout(root).image_facts("train_000000").size == size
    (root / INDEX).write_bytes(b"\xff\n\n")
    assert found(root) == before


def test_where_the_dataset_cannot_be_written_the_spare_folder_serves(root, tmp_path, monkeypatch):
    import data.index

    atomic = data.index.atomic

    def refuse(path):
        if path.parent == root:
            raise UserError("read-only")
        return atomic(path)

    monkeypatch.setattr(data.index, "atomic", refuse)
    usable_ids(Layout(root, tmp_path / "run"), "train", (check_image,))
    assert (tmp_path / "run" / INDEX).exists() and not (root / INDEX).exists()
    layout = Layout(root, tmp_path / "run")
    monkeypatch.setattr(layout.index, "save", lambda: pytest.fail("nothing is new") if layout.index._changed else None)
    usable_ids(layout, "train", (check_image,))
