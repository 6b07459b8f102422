"""What limits pseudo labels: bounds of the walk, and the quality of the IR labels, counted by hand."""

import csv
import io
import sys

import numpy as np
import pytest
from scripts import run

from paper.bounds import confusions, ir_counts, true_boundary
from tool.cam_file import save_cam
from tool.metric import scores


def test_edges_of_a_mask_are_its_boundary_at_stride_4():
    mask = np.zeros((16, 18), np.uint8)
    mask[8:, 6:] = 3
    mask[8:, 10:] = 255
    boundary = true_boundary(mask)
    assert boundary.shape == (4, 5)  # sizes are rounded up, as the network's are
    expected = np.zeros((4, 5))
    expected[2, 1:] = expected[2:, 1] = expected[2:, 2] = 0.999
    assert boundary.numpy() == pytest.approx(expected)


def test_ir_labels_are_counted_against_the_mask(finished, tmp_path):
    layout, image_id = finished.layout, finished.layout.ids("train")[0]
    mask = layout.mask(image_id)
    keys = sorted({0, *(layout.labels(image_id).nonzero()[:, 0] + 1).tolist()})
    save_cam(tmp_path / f"cam/{image_id}.npz", keys, np.stack([mask == key for key in keys]).astype(np.float32))
    counts = ir_counts(layout, tmp_path, "cam", image_id)
    for known, foreground, right, background, right_background in counts.values():
        assert known == mask.size and 0 < right <= foreground and 0 < right_background <= background
        assert foreground + background <= known
        assert right > 0.9 * foreground and right_background > 0.9 * background  # maps that are the masks


def test_pixels_without_truth_are_in_no_count(finished, tmp_path, monkeypatch):
    layout, image_id = finished.layout, finished.layout.ids("train")[0]
    whole = layout.mask(image_id)
    keys = sorted({0, *np.unique(whole).tolist()})
    save_cam(tmp_path / f"cam/{image_id}.npz", keys, np.stack([whole == key for key in keys]).astype(np.float32))
    left = np.arange(whole.shape[1]) < 20
    parts = []
    for unknown in (left, ~left):
        monkeypatch.setattr(layout, "mask", lambda _, unknown=unknown: np.where(unknown, 255, whole).astype(np.uint8))
        parts.append(ir_counts(layout, tmp_path, "cam", image_id))
    monkeypatch.undo()
    for weights, counts in ir_counts(layout, tmp_path, "cam", image_id).items():
        assert (counts == parts[0][weights] + parts[1][weights]).all() and counts[0] == whole.size


def test_a_walk_within_the_masks_edges_fills_an_object(finished, tmp_path):
    """From a map that covers the half of every object."""
    layout, image_id = finished.layout, finished.layout.ids("train")[0]
    mask = layout.mask(image_id)
    half = np.arange(mask.shape[1]) % 16 < 8
    keys = sorted({*np.unique(mask).tolist()} - {255})
    maps = [np.full(mask.shape, 0.4), *((mask == key) * half for key in keys[1:])]
    save_cam(tmp_path / f"cam/{image_id}.npz", keys, np.stack(maps).astype(np.float32))
    found = confusions(layout, tmp_path, "cam", image_id)
    exported, free, bounded = (
        scores(found[title, 1.0], layout.class_names)["miou"]
        for title in ("as exported", "walk, no boundary", "walk, the masks' edges")
    )
    assert bounded > 0.8 and bounded > exported + 0.1 and bounded > free + 0.1


def test_the_table_of_a_run(finished):
    done = run(sys.executable, "-m", "paper.bounds", finished.run, "--list", "train", "--num_workers", 1)
    assert done.returncode == 0, done.stderr
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert [row[0] for row in rows[:4]] == ["mIoU, %", "as exported", "walk, no boundary", "walk, the masks' edges"]
    assert all(0 < float(value) < 100 for row in rows[1:4] for value in row[1:])
    assert len(rows) == 5 + 15
    loose = next(row for row in rows if row[0] == "foreground x 1, background x 1")
    assert loose[1] == "100"  # one labelling twice: nothing is unsure
    assert any(row[0] == "foreground x 1, background x 0.8" for row in rows)
