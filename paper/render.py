"""A table of the paper beside ours, as Markdown, CSV, LaTeX and a figure."""

import statistics
from dataclasses import dataclass

from files import atomic
from paper.detail import class_csv
from paper.plan import MADE_BY, TEST
from paper.runs import DRAWN
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


def initialisations(table, runs):
    """{title of a row: what its segmentation network was initialised with}, ours and, where it is known, the paper's;
    empty for a table of maps and where nothing is known."""
    begun, last = {}, [name for name in table.columns if name not in MADE_BY]
    for row in table.rows:
        found = [scores for name in last for scores in runs.of(row.network, name, row.background_weight)]
        ours = dict.fromkeys(scores["initialisation"] for scores in found)
        begun[row.title] = ", ".join([*ours, *([f"paper: {row.initialisation}"] if row.initialisation else [])])
    return begun if any(begun.values()) else {}


def write_tables(tables, runs, folder, config, classes=None):
    """Write folder/tableN.md, .csv, .tex, .svg and .classes.csv, and what they are made of, runs.csv and curves.csv,
    the latter as a figure too, curves.svg.

    Returns the Markdown.

    tables: of `paper.tables.TABLES`. runs: `paper.runs.Runs`, what is finished. config: path of the base config.
    classes: see `miou`.
    """
    from paper.figure import error_bars, learning_curves  # once there is one to draw: Matplotlib takes long to import

    every = [row for table in tables.values() for row in table.rows]
    titles = {row.network: row.title for row in reversed(every)}  # of the first row that a network is in
    files = runs.texts() | {DRAWN: learning_curves(runs.curves, titles)}
    for number, table in tables.items():
        rows = [
            (row.title, row.network is None, {column: cell(row, column, runs, classes) for column in table.columns})
            for row in table.rows
        ]
        begun = initialisations(table, runs)
        title = table.title if table.note else f"Table {number}: {table.title}"
        notes = [
            f"mIoU in percent over {'all classes that occur' if classes is None else ', '.join(classes)}; "
            f"ours: {config}, mean ± standard deviation (number of seeds)",
            table.note or f"paper: as printed in the paper's Table {number}",
            *(f"{row.title}: {row.source}" for row in table.rows if row.source),
        ]
        files |= {
            f"table{number}.md": markdown(title, table.columns, rows, notes, begun),
            f"table{number}.csv": csv_text(table.columns, rows, begun),
            f"table{number}.classes.csv": class_csv(table, runs),
            f"table{number}.tex": latex(title, table.columns, rows, notes, begun),
            f"table{number}.svg": error_bars(title, table.columns, rows),
        }
    for name, text in files.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return "\n".join(text for name, text in files.items() if name.endswith(".md"))


def _lines(columns, rows, begun):
    """The header and the rows, as lists of text. rows: [(title, published, {column: Cell})]. begun: {title: what its
    network was initialised with}; without any, no such column."""
    ours = [text for title in columns.values() for text in (f"{title}: paper", "ours", "difference")]
    yield ["row", *(["initialisation"] if begun else []), *ours]
    for title, published, cells in rows:
        line = [f"{title}, published" if published else title, *([begun[title]] if begun else [])]
        for found in map(cells.get, columns):
            line += [_number(found.paper, ".1f"), found.text, _number(found.difference, "+.1f")]
        yield line


def _number(value, form):
    return "" if value is None else format(value, form)


def markdown(title, columns, rows, notes, begun=()):
    """notes: lines below the table. begun: see `_lines`."""
    header, *body = _lines(columns, rows, begun)
    return "\n".join([f"## {title}", "", markdown_table(header, body), "", *(f"- {note}" for note in notes)]) + "\n"


def csv_text(columns, rows, begun=()):
    """One line a figure: row, column, paper, mean, spread, seeds, difference, published, every seed's value, and with
    `begun` (see `_lines`) the initialisation."""
    lines = []
    for title, published, cells in rows:
        for name in columns:
            found = cells[name]
            mean, spread, difference = (_number(n, ".4f") for n in (found.mean, found.spread, found.difference))
            values = " ".join(f"{value:.4f}" for value in found.ours)
            ours = [mean, spread, len(found.ours), difference, "yes" if published else "no", values]
            lines.append([title, name, _number(found.paper, ""), *ours, *([begun[title]] if begun else [])])
    header = ["row", "column", "paper", "mean", "spread", "seeds", "difference", "published", "values"]
    return comma_separated([*header, *(["initialisation"] if begun else [])], lines)


def latex(title, columns, rows, notes, begun=()):
    """A table for booktabs."""
    header, *body = [" & ".join(map(_escape, line)) + r" \\" for line in _lines(columns, rows, begun)]
    top = [r"\begin{table}", r"\centering", rf"\caption{{{_escape(title)}}}"]
    top += [rf"\begin{{tabular}}{{{'ll' if begun else 'l'}{'rrr' * len(columns)}}}", r"\toprule", header, r"\midrule"]
    end = [r"\bottomrule", r"\end{tabular}", *(f"% {note}" for note in notes), r"\end{table}"]
    return "\n".join([*top, *body, *end]) + "\n"


def _escape(text):
    """Text for LaTeX, in which a minus is a minus."""
    text = text.translate({ord(character): f"\\{character}" for character in "&%#_{}"}).replace("±", r"$\pm$")
    return f"${text}$" if text[:1] in "+-" and text[1:2].isdigit() else text
