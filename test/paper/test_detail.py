"""IoU of each class, as CSV."""

import csv
import io

from paper.detail import class_csv
from paper.runs import Runs
from paper.tables import TABLES


def runs_of(figures):
    """figures: {(network, seed, column, weight): {class: IoU}}."""
    return Runs({key: {"miou": 0.5, "iou": iou, "initialisation": "ImageNet"} for key, iou in figures.items()})


def lines_of(text):
    return list(csv.reader(io.StringIO(text)))


def test_classes_are_means_over_the_seeds_and_titles_are_told_apart():
    runs = runs_of(
        {
            ("full", 0, "crf", 1.0): {"cat": 0.5, "dog": 0.25, "bus": None},
            ("full", 1, "crf", 1.0): {"cat": 0.7, "dog": None, "bus": None},
            ("supervised", 0, "seg_crf", 1.0): {"cat": 0.9, "dog": 0.0, "bus": None},
        }
    )
    assert lines_of(class_csv(TABLES["end"], runs)) == [
        ["class", "AE-SIPE: last map + CRF", "full supervision: DeepLabV3 + CRF"],
        ["cat", "60.0", "90.0"],
        ["dog", "25.0", "0.0"],
    ]  # bus does not occur in the truth


def test_a_row_of_the_table_has_its_own_weight_of_the_background():
    runs = runs_of({("full", 0, "plain", 1.0): {"cat": 0.4}, ("full", 0, "plain", 0.8): {"cat": 0.5}})
    assert lines_of(class_csv(TABLES[2], runs)) == [
        ["class", "+ norm: mIoU", "+ bg (x 0.8): mIoU"],
        ["cat", "40.0", "50.0"],
    ]
