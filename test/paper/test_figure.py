"""A table as a figure with error bars, and learning curves."""

from xml.etree import ElementTree

import numpy as np

from paper.figure import _over_seeds, error_bars, learning_curves
from paper.render import Cell

COLUMNS = {"plain": "last map", "crf": "+ CRF"}
ROWS = [
    ("SIPE", False, {"plain": Cell(58.6, (60.0, 62.0, 64.0)), "crf": Cell(64.7, (63.0,))}),
    ("AdvCAM", True, {"plain": Cell(55.6), "crf": Cell(None)}),
    ("AE-SIPE", False, {"plain": Cell(None, (65.0, 65.5)), "crf": Cell(67.8)}),
]


def texts(svg):
    return {element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")}


def test_rows_columns_and_the_papers_figures_are_named():
    shown = texts(error_bars("maps", COLUMNS, ROWS))
    assert {"maps", "SIPE", "AE-SIPE", "last map", "last map + CRF", "last map: paper"} <= shown
    assert "AdvCAM" not in shown  # published only: the table has it, the figure compares what was run


def test_same_figures_make_the_same_file_and_others_another():
    svg = error_bars("maps", COLUMNS, ROWS)
    wider = [("SIPE", False, {"plain": Cell(58.6, (58.0, 62.0, 66.0)), "crf": Cell(64.7, (63.0,))}), *ROWS[1:]]
    assert svg == error_bars("maps", COLUMNS, ROWS) and svg != error_bars("maps", COLUMNS, wider)


def test_a_table_without_a_run_is_an_empty_figure():
    assert "maps" in texts(error_bars("maps", COLUMNS, ROWS[1:2]))


def curve(network, seed, step, *miou):
    return {(network, seed, step): dict(zip(("cam", "is_cam", "ae_is_cam"), miou))}


CURVES = {
    **curve("full", 0, 75, 0.20, 0.31, 0.33),
    **curve("full", 1, 75, 0.24, 0.33, 0.36),
    **curve("full", 0, 150, 0.28, 0.37, 0.40),
    **curve("pr_is", 0, 75, 0.21, 0.29, 0.28),
}


def test_learning_curves_name_the_maps_and_the_networks():
    shown = texts(learning_curves(CURVES, {"full": "AE-SIPE", "baseline": "SIPE"}))
    assert {"CAM", "IS-CAM", "AE-IS-CAM", "AE-SIPE", "pr_is", "step", "mIoU, %"} <= shown and "SIPE" not in shown


def test_learning_curves_are_means_over_the_seeds_of_a_step():
    steps, means, spreads = _over_seeds(CURVES, "full", "ae_is_cam")
    assert (
        steps == [75, 150] and np.allclose(means, [34.5, 40.0]) and np.allclose(spreads, [np.std([33, 36], ddof=1), 0])
    )


def test_learning_curves_change_with_every_figure_alone():
    svg = learning_curves(CURVES, {})
    assert (
        svg == learning_curves(CURVES, {}) and learning_curves(CURVES | curve("full", 1, 75, 0.2, 0.3, 0.4), {}) != svg
    )


def test_learning_curves_of_maps_that_were_not_watched_are_empty():
    assert "AE-IS-CAM" in texts(learning_curves({}, {}))
    ElementTree.fromstring(learning_curves({("full", 0, 75): {"cam": 0.2}}, {}))  # of a run without the other maps
