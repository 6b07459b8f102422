"""A table as a figure with error bars."""

from xml.etree import ElementTree

from paper.figure import error_bars
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
