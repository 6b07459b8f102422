"""docs/results*.md: their tables are those of the CSVs in docs/results, so that no figure in them can be another.

    python -m paper.document

A table stands between two comments, of which the first names its CSV: `<!-- table NAME: FILE -->`, a table of
`reproduce.py --table NAME`, `<!-- gains NAME: FILE -->`, what its rows gain by the runs in FILE, or
`<!-- table: FILE -->`, any other, as it is but for a last column `settings`; `<!-- end -->`.
"""

import csv
import io
import re
import shutil
from pathlib import Path

from files import atomic
from paper.gains import gains
from paper.runs import CURVES, DRAWN, FIGURES, SETTINGS, published
from paper.tables import TABLES
from viz.tables import markdown

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results.md"
BLOCK = re.compile(r"(<!-- (table|gains) ?(\w*): (\S+) -->\n).*?(<!-- end -->)", re.S)


def filled(text, folder):
    """The text with every table as its CSV in the folder has it. Raises OSError for a CSV that is missing."""

    def fill(found):
        head, kind, name, path, end = found.groups()
        rows = (folder / path).read_text(encoding="utf-8")
        if kind == "gains":
            table = gains_table(folder / path, name)
        else:
            table = paper_table(rows, name) if name else plain_table(rows)
        return f"{head}{table}\n{end}"

    return BLOCK.sub(fill, text)


def plain_table(text):
    """Markdown of a CSV whose first line is the header, without a last column of digests."""
    header, *body = csv.reader(io.StringIO(text))
    shown = len(header) - (header[-1] == SETTINGS)
    return markdown(header[:shown], [cells[:shown] for cells in body])


def paper_table(text, name):
    """Markdown of a CSV of `paper.render.csv_text`: the rows that were run, with the paper's figures in brackets."""
    columns, cells = _named(name).columns, {}
    lines = [line for line in csv.DictReader(io.StringIO(text)) if line["published"] == "no"]
    first = [key for key in ("initialisation",) if key in lines[0]]
    for line in lines:
        cells.setdefault(line["row"], {key: line[key] for key in first})[line["column"]] = _cell(line)
    body = [[row, *map(found.get, (*first, *columns))] for row, found in cells.items() if any(map(found.get, columns))]
    return markdown(["", *first, *columns.values()], body)


def gains_table(path, name):
    """Markdown of `paper.gains` of a table, by the runs of a CSV of `paper.runs`."""
    return markdown(*gains(_named(name), published(path.parent, path.name.removesuffix(FIGURES))))


def _named(name):
    """The table that `reproduce.py --table NAME` makes."""
    return next(table for key, table in TABLES.items() if str(key) == name)


def _cell(line):
    ours = f"{float(line['mean']):.1f}" if line["mean"] else ""
    spread = f" ± {float(line['spread']):.1f}" if line["spread"] else ""
    return ours + spread + (f" ({line['paper']})" if line["paper"] and ours else "")


def publish(folder, names):
    """Copy the CSVs and figures of the named tables, and what they are made of (`paper.runs`), from a folder of
    `reproduce.py` to docs/results, and fill the pages. Returns the first page's path."""
    kept = PAGE.with_suffix("")
    kept.mkdir(exist_ok=True)
    suffixes = ("csv", "classes.csv", "svg")
    for name in (FIGURES, CURVES, DRAWN, *(f"table{name}.{suffix}" for name in names for suffix in suffixes)):
        shutil.copyfile(folder / name, kept / f"{folder.name}_{name}")
    return fill_pages()


def pages():
    """results.md and those pages that its longer experiments have."""
    return sorted(PAGE.parent.glob(f"{PAGE.stem}*.md"))


def fill_pages():
    """Write the pages anew with their tables as the CSVs in docs/results have them. Returns the first one's path."""
    for page in pages():
        text = filled(page.read_text(encoding="utf-8"), PAGE.with_suffix(""))
        with atomic(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return PAGE


if __name__ == "__main__":
    print(fill_pages())
