"""IoU of each class and the maps' learning curves, as CSV."""

import csv
import io
import json
from types import SimpleNamespace

from paper.detail import class_csv, curve_csv
from paper.tables import TABLES


class FakeJob:
    """A job whose scores and log are given. scores: {(column, weight): {class: IoU}}."""

    def __init__(self, network, run, scores=()):
        self.network, self.run, self.known = network, run, dict(scores)

    def scores(self, column, weight=1.0):
        iou = self.known.get((column, weight))
        return iou and {"iou": iou}

    def arguments(self, stage):
        assert stage == "train_aesipe"
        return SimpleNamespace(run=self.run)

    def log(self, *records):
        self.run.mkdir()
        lines = [json.dumps({"stage": "aesipe", "step": step, "val": val}) for step, val in records]
        (self.run / "log.jsonl").write_text("\n".join(lines) + "\n")


def lines_of(text):
    return list(csv.reader(io.StringIO(text)))


def test_classes_are_means_over_the_seeds_and_titles_are_told_apart(tmp_path):
    jobs = [
        FakeJob("full", tmp_path, {("crf", 1.0): {"cat": 0.5, "dog": 0.25, "bus": None}}),
        FakeJob("full", tmp_path, {("crf", 1.0): {"cat": 0.7, "dog": None, "bus": None}}),
        FakeJob("supervised", tmp_path, {("seg_crf", 1.0): {"cat": 0.9, "dog": 0.0, "bus": None}}),
    ]
    assert lines_of(class_csv(TABLES["end"], jobs)) == [
        ["class", "AE-SIPE: last map + CRF", "full supervision: DeepLabV3 + CRF"],
        ["cat", "60.0", "90.0"],
        ["dog", "25.0", "0.0"],
    ]  # bus does not occur in the truth


def test_a_row_of_the_table_has_its_own_weight_of_the_background(tmp_path):
    jobs = [FakeJob("full", tmp_path, {("plain", 1.0): {"cat": 0.4}, ("plain", 0.8): {"cat": 0.5}})]
    assert lines_of(class_csv(TABLES[2], jobs)) == [
        ["class", "+ norm: mIoU", "+ bg (x 0.8): mIoU"],
        ["cat", "40.0", "50.0"],
    ]


def test_curves_are_means_and_spreads_of_the_last_training(tmp_path):
    first, second, other = (FakeJob(name, tmp_path / str(i)) for i, name in enumerate(("full", "full", "baseline")))
    first.log((10, {"cam": 0.9}), (10, {"cam": 0.2, "ae_is_cam": 0.4}), (20, {"cam": 0.3, "ae_is_cam": 0.5}))
    second.log((10, {"cam": 0.4, "ae_is_cam": 0.4}))
    assert lines_of(curve_csv([first, second, other])) == [  # the third has not begun
        ["network", "step", "CAM", "IS-CAM", "AE-IS-CAM"],
        ["full", "10", "30.0 ± 14.1", "", "40.0 ± 0.0"],
        ["full", "20", "30.0", "", "50.0"],
    ]
