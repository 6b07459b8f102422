"""A table of the paper beside ours, as Markdown, CSV, LaTeX and a figure."""

import statistics
from dataclasses import dataclass

from files import atomic
from paper.detail import class_csv
from paper.plan import TEST
from viz.tables import comma_separated
from viz.tables import markdown as markdown_table


@dataclass(frozen=True)
class Cell:
    """One figure of a row. paper: percent or None. ours: percent, one a seed. pending: said while there is none."""

    paper: float | None
    ours: tuple = ()
    pending: str = ""

    @property
    def mean(self):
        return statistics.fmean(self.ours) if self.ours else None

    @property
    def spread(self):
        """Standard deviation over the seeds (n - 1 in the denominator); None for less than two."""
        return statistics.stdev(self.ours) if len(self.ours) > 1 else None

    @property
    def difference(self):
        return self.mean - self.paper if self.ours and self.paper is not None else None

    @property
    def text(self):
        """Ours as printed: the mean, the spread and the number of seeds."""
        spread = f" ± {self.spread:.1f} ({len(self.ours)})" if len(self.ours) > 1 else ""
        return f"{self.mean:.1f}{spread}" if self.ours else self.pending


def miou(scores, classes=None):
    """mIoU in percent of `tool.metric.scores`, over the named classes or, with None, all that occur in the truth."""
    if classes is None:
        return 100 * scores["miou"]
    values = [scores["iou"][name] for name in classes if scores["iou"][name] is not None]
    return 100 * statistics.fmean(values) if values else 0.0


def cell(row, column, runs, classes):
    """The Cell of a row (`paper.tables.Row`) and a column from all seeds of `paper.runs.Runs`."""
    found = runs.of(row.network, column, row.background_weight)
    pending = "by the server" if column == TEST and row.network else ""
    return Cell(row.paper.get(column), tuple(miou(scores, classes) for scores in found), pending)


def write_tables(tables, runs, folder, config, classes=None):
    """Write folder/tableN.md, .csv, .tex, .svg and .classes.csv, and what they are made of, runs.csv and curves.csv.

    Returns the Markdown.

    tables: of `paper.tables.TABLES`. runs: `paper.runs.Runs`, what is finished. config: path of the base config.
    classes: see `miou`.
    """
    from paper.figure import error_bars  # once there is a figure to draw: Matplotlib takes long to import

    files = runs.texts()
    for number, table in tables.items():
        rows = [
            (row.title, row.network is None, {column: cell(row, column, runs, classes) for column in table.columns})
            for row in table.rows
        ]
        title = table.title if table.note else f"Table {number}: {table.title}"
        notes = [
            f"mIoU in percent over {'all classes that occur' if classes is None else ', '.join(classes)}; "
            f"ours: {config}, mean ± standard deviation (number of seeds)",
            table.note or f"paper: as printed in the paper's Table {number}",
            *(f"{row.title}: {row.source}" for row in table.rows if row.source),
        ]
        files |= {
            f"table{number}.md": markdown(title, table.columns, rows, notes),
            f"table{number}.csv": csv_text(table.columns, rows),
            f"table{number}.classes.csv": class_csv(table, runs),
            f"table{number}.tex": latex(title, table.columns, rows, notes),
            f"table{number}.svg": error_bars(title, table.columns, rows),
        }
    for name, text in files.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return "\n".join(text for name, text in files.items() if name.endswith(".md"))


def _lines(columns, rows):
    """The header and the rows, as lists of text. rows: [(title, published, {column: Cell})]."""
    yield ["row", *(text for title in columns.values() for text in (f"{title}: paper", "ours", "difference"))]
    for title, published, cells in rows:
        line = [f"{title}, published" if published else title]
        for found in map(cells.get, columns):
            line += [_number(found.paper, ".1f"), found.text, _number(found.difference, "+.1f")]
        yield line


def _number(value, form):
    return "" if value is None else format(value, form)


def markdown(title, columns, rows, notes):
    """notes: lines below the table."""
    header, *body = _lines(columns, rows)
    return "\n".join([f"## {title}", "", markdown_table(header, body), "", *(f"- {note}" for note in notes)]) + "\n"


def csv_text(columns, rows):
    """One line a figure: row, column, paper, mean, spread, seeds, difference, published and every seed's value."""
    lines = []
    for title, published, cells in rows:
        for name in columns:
            found = cells[name]
            mean, spread, difference = (_number(n, ".4f") for n in (found.mean, found.spread, found.difference))
            values = " ".join(f"{value:.4f}" for value in found.ours)
            ours = [mean, spread, len(found.ours), difference, "yes" if published else "no", values]
            lines.append([title, name, _number(found.paper, ""), *ours])
    header = ["row", "column", "paper", "mean", "spread", "seeds", "difference", "published", "values"]
    return comma_separated(header, lines)


def latex(title, columns, rows, notes):
    """A table for booktabs."""
    header, *body = [" & ".join(map(_escape, line)) + r" \\" for line in _lines(columns, rows)]
    top = [r"\begin{table}", r"\centering", rf"\caption{{{_escape(title)}}}"]
    top += [rf"\begin{{tabular}}{{l{'rrr' * len(columns)}}}", r"\toprule", header, r"\midrule"]
    end = [r"\bottomrule", r"\end{tabular}", *(f"% {note}" for note in notes), r"\end{table}"]
    return "\n".join([*top, *body, *end]) + "\n"


def _escape(text):
    """Text for LaTeX, in which a minus is a minus."""
    text = text.translate({ord(character): f"\\{character}" for character in "&%#_{}"}).replace("±", r"$\pm$")
    return f"${text}$" if text[:1] in "+-" and text[1:2].isdigit() else text
