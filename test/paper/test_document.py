"""docs/results.md, and the pages of its longer experiments, hold the figures of the CSVs beside them."""

import csv
from statistics import mean, stdev

import pytest
from scripts import REPOSITORY
from test_render import ROWS

from paper import document
from paper.document import PAGE, filled, pages, paper_table, publish
from paper.render import Cell, csv_text, write_tables
from paper.runs import published
from paper.tables import TABLES


@pytest.mark.parametrize(
    "page", ["results.md", "results_ablation.md", "results_deeplab.md", "results_pseudo_labels.md"]
)
def test_every_table_of_the_page_is_its_csv(page):
    assert PAGE.with_name(page) in pages()
    text = PAGE.with_name(page).read_text(encoding="utf-8")
    assert "<!-- table" in text
    assert filled(text, PAGE.with_suffix("")) == text, "python -m paper.document"


def test_every_csv_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    assert all(path.name in text for path in PAGE.with_suffix("").glob("*.csv"))


@pytest.mark.parametrize("path", sorted(PAGE.with_suffix("").glob("*_table*.csv")), ids=lambda path: path.name)
def test_every_table_is_what_its_runs_make(path, tmp_path):
    stem, name = path.name.split(".")[0].rsplit("_table", 1)
    tables = {key: table for key, table in TABLES.items() if str(key) == name}
    write_tables(tables, published(path.parent, f"{stem}_"), tmp_path, f"configs/{stem}.yaml")
    assert (tmp_path / path.name.removeprefix(f"{stem}_")).read_text() == path.read_text()


def test_a_table_of_the_paper_has_means_spreads_and_the_papers_figures(tmp_path):
    (tmp_path / "a.csv").write_text(csv_text(TABLES[2].columns, ROWS))
    text = filled("before\n<!-- table 2: a.csv -->\nold\n<!-- end -->\nafter\n", tmp_path)
    assert text.splitlines() == [
        "before",
        "<!-- table 2: a.csv -->",
        "|  | mIoU | mIoU + CRF |",
        "| --- | --- | --- |",
        "| + bg (50 %) | 62.0 ± 2.0 (58.6) | 63.0 (64.7) |",
        "<!-- end -->",
        "after",
    ]


def test_a_table_of_the_last_network_has_its_initialisation(tmp_path):
    begun = {title: "ImageNet" for title, _, _ in ROWS}
    (tmp_path / "a.csv").write_text(csv_text(TABLES[2].columns, ROWS, begun))
    text = filled("<!-- table 2: a.csv -->\n<!-- end -->\n", tmp_path)
    assert text.splitlines()[1] == "|  | initialisation | mIoU | mIoU + CRF |"
    assert text.splitlines()[3] == "| + bg (50 %) | ImageNet | 62.0 ± 2.0 (58.6) | 63.0 (64.7) |"


def test_a_row_that_was_not_run_is_left_out(tmp_path):
    rows = [("baseline (SIPE)", False, {name: Cell(58.6) for name in TABLES[2].columns}), *ROWS]
    (tmp_path / "a.csv").write_text(csv_text(TABLES[2].columns, rows))
    text = filled("<!-- table 2: a.csv -->\n<!-- end -->\n", tmp_path)
    assert "SIPE" not in text and text.count("\n| +") == 1


def test_any_other_table_is_as_its_csv(tmp_path):
    (tmp_path / "a.csv").write_text('step,"mIoU, train"\n10,45.1\n')
    text = filled("<!-- table: a.csv -->\n<!-- end -->\n", tmp_path)
    assert text.splitlines()[1:4] == ["| step | mIoU, train |", "| --- | --- |", "| 10 | 45.1 |"]
    with pytest.raises(OSError):
        filled("<!-- table: none.csv -->\n<!-- end -->\n", tmp_path)


def test_publishing_puts_a_run_of_tables_on_the_page(tmp_path, monkeypatch):
    page, runs = tmp_path / "docs/results.md", tmp_path / "runs/photos"
    page.parent.mkdir()
    runs.mkdir(parents=True)
    more = page.with_name("results_more.md")
    for each in (page, more):
        each.write_text("<!-- table 2: photos_table2.csv -->\n<!-- end -->\n")
    (runs / "table2.csv").write_text(csv_text(TABLES[2].columns, ROWS))
    for name in ("table2.classes.csv", "table2.svg", "runs.csv", "curves.csv", "curves.svg"):
        (runs / name).write_text("class\ncat\n")
    monkeypatch.setattr(document, "PAGE", page)
    assert publish(runs, [2]) == page and "62.0 ± 2.0 (58.6)" in page.read_text()
    assert more.read_text() == page.read_text()
    assert (page.parent / "results/photos_table2.csv").read_text() == (runs / "table2.csv").read_text()
    assert {path.name for path in (page.parent / "results").iterdir()} == {
        "photos_table2.csv",
        "photos_table2.classes.csv",
        "photos_table2.svg",
        "photos_runs.csv",
        "photos_curves.csv",
        "photos_curves.svg",
    }
    assert PAGE == REPOSITORY / "docs/results.md"


def test_the_readmes_figures_are_those_of_the_csvs():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in text.splitlines()]
    paper, recipe = (
        paper_table((PAGE.with_suffix("") / f"{name}_tableend.csv").read_text(), "end").splitlines()[2:]
        for name in ("photos_mobilenet_v2", "photos_best")
    )
    for row in paper:
        method, _, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        assert [method, *cells] in lines
    with open(PAGE.with_suffix("") / "voc21_deeplab.csv", newline="", encoding="utf-8") as file:
        runs = [row for row in csv.reader(file) if row[2:5] == ["0.001", "900", "2"]]
    for method, *maps in [
        *([cell.strip() for cell in row.strip("|").split("|")] for row in recipe),
        ["full supervision", "", *[""] * 7],
    ]:
        of_it = [row[5:7] for row in runs if row[0].startswith(method.partition(",")[0])]
        spreads = [f"{mean(map(float, each)):.1f} ± {stdev(map(float, each)):.1f}" for each in zip(*of_it)]
        assert [method, *maps[1:6], *spreads] in lines
