"""Means, spreads and differences of the tables, and their three forms."""

import csv
import io

import pytest

from paper.render import Cell, csv_text, initialisations, latex, markdown, miou, write_tables
from paper.runs import Runs
from paper.tables import TABLES

COLUMNS = {"plain": "mIoU", "crf": "mIoU + CRF"}
ROWS = [
    ("Other_1", True, {"plain": Cell(50.0), "crf": Cell(None)}),
    ("+ bg (50 %)", False, {"plain": Cell(58.6, (60.0, 62.0, 64.0)), "crf": Cell(64.7, (63.0,))}),
]


def test_cell():
    cell = Cell(58.6, (60.0, 62.0, 64.0))
    assert cell.mean == 62 and cell.spread == 2 and cell.difference == pytest.approx(3.4)
    assert cell.text == "62.0 ± 2.0 (3)"
    assert Cell(64.7, (63.0,)).text == "63.0" and Cell(64.7, (63.0,)).spread is None
    assert Cell(64.7).text == "" and Cell(64.7).difference is None and Cell(71.1, (), "soon").text == "soon"


def test_miou_over_chosen_classes():
    scores = {"miou": 0.25, "iou": {"background": 0.8, "cat": 0.4, "dog": 0.1, "bus": None}}
    assert miou(scores) == 25
    assert miou(scores, ["background", "cat", "bus"]) == pytest.approx(60)  # bus does not occur in the truth
    assert miou({"miou": 0.2, "iou": {"cat": 0.4, "cow": 0.0}}, ["cat", "cow"]) == 20  # a cow does, and is never found


def test_markdown():
    lines = markdown("Table 2: parts", COLUMNS, ROWS, ["a note"]).splitlines()
    assert lines[2].split(" | ")[1:4] == ["mIoU: paper", "ours", "difference"]
    assert lines[4] == "| Other_1, published | 50.0 |  |  |  |  |  |"
    assert lines[5] == "| + bg (50 %) | 58.6 | 62.0 ± 2.0 (3) | +3.4 | 64.7 | 63.0 | -1.7 |"
    assert lines[-1] == "- a note"
    assert len({line.count("|") for line in lines[2:6]}) == 1


def test_csv_holds_every_value():
    lines = list(csv.DictReader(io.StringIO(csv_text(COLUMNS, ROWS))))
    assert len(lines) == 4
    assert lines[2]["values"] == "60.0000 62.0000 64.0000" and lines[2]["seeds"] == "3"
    assert float(lines[2]["difference"]) == pytest.approx(3.4) and float(lines[2]["spread"]) == 2
    assert lines[0]["published"] == "yes" and lines[0]["mean"] == "" and lines[3]["spread"] == ""


def test_latex_is_escaped():
    text = latex("Table 2: a & b", COLUMNS, ROWS, [])
    assert r"Other\_1, published & 50.0" in text and r"+ bg (50 \%) & 58.6 & 62.0 $\pm$ 2.0 (3) & $+3.4$" in text
    assert r"\caption{Table 2: a \& b}" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in body} == {6}


def test_what_the_last_network_was_initialised_with_is_a_column():
    begun = {"Other_1": "paper: COCO", "+ bg (50 %)": "ImageNet"}
    lines = markdown("Table 1", COLUMNS, ROWS, [], begun).splitlines()
    assert lines[2].split(" | ")[:3] == ["| row", "initialisation", "mIoU: paper"]
    assert lines[4] == "| Other_1, published | paper: COCO | 50.0 |  |  |  |  |  |"
    assert [line["initialisation"] for line in csv.DictReader(io.StringIO(csv_text(COLUMNS, ROWS, begun)))] == [
        *2 * ["paper: COCO"],
        *2 * ["ImageNet"],
    ]
    text = latex("Table 1", COLUMNS, ROWS, [], begun)
    assert r"\begin{tabular}{llrrrrrr}" in text and r"Other\_1, published & paper: COCO & 50.0" in text


def test_initialisations_are_those_of_the_segmentation_networks():
    def scores(word):
        return {"miou": 0.5, "iou": {}, "initialisation": word}

    figures = {("full", 0, "plain", 1.0): scores("ImageNet"), ("full", 0, "seg", 1.0): scores("aesipe.pt")}
    figures |= {("full", 1, "seg", 1.0): scores("ImageNet"), ("full", 0, "val", 1.0): scores("random")}
    runs = Runs(figures)
    assert initialisations(TABLES["end"], runs) == {
        "SIPE": "",
        "AE-SIPE": "aesipe.pt, ImageNet",
        "full supervision": "",
    }
    assert initialisations(TABLES[2], runs) == {}
    first = initialisations(TABLES[1], runs)
    assert first["AE-SIPE (ResNet-101)"] == "random" and first["SIPE (ResNet-101)"] == "paper: COCO"
    assert initialisations(TABLES["coco"], Runs()) == {}


def test_a_network_of_two_rows_has_the_firsts_name_in_the_learning_curves(tmp_path):
    curves = {("full", 0, step): {"cam": 0.2, "is_cam": 0.3, "ae_is_cam": 0.4} for step in (75, 150)}
    write_tables({2: TABLES[2]}, Runs(curves=curves), tmp_path, "configs/demo.yaml")
    drawn = (tmp_path / "curves.svg").read_text()
    assert "+ norm" in drawn and "+ bg" not in drawn
