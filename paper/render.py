"""A table of the paper beside ours, as Markdown, CSV and LaTeX."""

import csv
import io
import statistics
from dataclasses import dataclass


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

    def text(self, plus_minus="±"):
        """Ours as printed: the mean, the spread and the number of seeds."""
        if not self.ours:
            return self.pending
        spread = "" if self.spread is None else f" {plus_minus} {self.spread:.1f} ({len(self.ours)})"
        return f"{self.mean:.1f}{spread}"


def miou(scores, classes=None):
    """mIoU in percent of `tool.metric.scores`, over the named classes or, with None, all that occur in the truth."""
    if classes is None:
        return 100 * scores["miou"]
    values = [scores["iou"][name] for name in classes if scores["iou"][name] is not None]
    return 100 * statistics.fmean(values) if values else 0.0


def _lines(columns, rows, plus_minus):
    """Header and cells as text. rows: [(title, published, {column: Cell})]."""
    header = ["row"]
    for title in columns.values():
        header += [f"{title}: paper", "ours", "difference"]
    body = []
    for title, published, cells in rows:
        line = [f"{title}, published" if published else title]
        for name in columns:
            cell = cells[name]
            line += [
                "" if cell.paper is None else f"{cell.paper:.1f}",
                cell.text(plus_minus),
                "" if cell.difference is None else f"{cell.difference:+.1f}",
            ]
        body.append(line)
    return header, body


def markdown(title, columns, rows, notes):
    """notes: lines below the table."""
    header, body = _lines(columns, rows, "±")
    lines = [f"## {title}", "", "| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |"]
    lines += ["| " + " | ".join(line) + " |" for line in body]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def csv_text(columns, rows):
    """One line a figure: row, column, paper, mean, spread, seeds, difference, published and every seed's value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", "column", "paper", "mean", "spread", "seeds", "difference", "published", "values"])
    for title, published, cells in rows:
        for name in columns:
            cell = cells[name]
            numbers = ["" if value is None else f"{value:.4f}" for value in (cell.mean, cell.spread, cell.difference)]
            writer.writerow(
                [
                    title,
                    name,
                    "" if cell.paper is None else cell.paper,
                    *numbers[:2],
                    len(cell.ours),
                    numbers[2],
                    "yes" if published else "no",
                    " ".join(f"{value:.4f}" for value in cell.ours),
                ]
            )
    return out.getvalue()


def latex(title, columns, rows, notes):
    """A table for booktabs."""
    header, body = _lines(columns, rows, r"$\pm$")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escape(title)}}}",
        rf"\begin{{tabular}}{{l{'rrr' * len(columns)}}}",
        r"\toprule",
        " & ".join(map(_escape, header)) + r" \\",
        r"\midrule",
    ]
    lines += [" & ".join(map(_escape, line)) + r" \\" for line in body]
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {note}" for note in notes), r"\end{table}"]
    return "\n".join(lines) + "\n"


def _escape(text):
    """Text for LaTeX; $\\pm$ stays, and a minus is a minus."""
    parts = text.split(r"$\pm$")
    for character in r"&%#_{}":
        parts = [part.replace(character, "\\" + character) for part in parts]
    text = r"$\pm$".join(parts)
    return f"${text}$" if text[:1] in "+-" and text[1:2].isdigit() else text
