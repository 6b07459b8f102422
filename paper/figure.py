"""A table of the paper as a figure: ours with error bars, the paper's beside them."""

import io

from matplotlib import rc_context
from matplotlib.figure import Figure

from paper.detail import full_titles
from viz.palette import OKABE_ITO

STYLE = {"svg.fonttype": "none", "svg.hashsalt": "table", "font.family": "sans-serif", "font.size": 9}
WIDTH, LINE, MARGIN = 7.0, 0.42, 1.1  # inches: the figure's width, a row's height, that of title and axis together
SPREAD = 0.6  # part of a row's height that its marks share
YELLOW = "#f0e442"  # too pale on white
COLOURS = (*(code for code in OKABE_ITO if code != YELLOW), "#000000")


def error_bars(title, columns, rows):
    """SVG text: a line a row, a colour a column; a dot is our mean and its bar the standard deviation over the seeds,
    a ring the paper's figure.

    columns: {name: title}. rows: [(title, published, {column: `paper.render.Cell`})], as `write_tables` makes them.
    """
    rows = [row for row in rows if any(cell.ours for cell in row[2].values())]
    offset = SPREAD / max(1, len(columns))
    with rc_context(STYLE):
        figure = Figure((WIDTH, MARGIN + LINE * max(1, len(rows))), layout="constrained")
        axes = figure.subplots()
        for index, (name, own) in enumerate(full_titles(columns).items()):
            colour = COLOURS[index % len(COLOURS)]
            places = [line + (index - (len(columns) - 1) / 2) * offset for line in range(len(rows))]
            cells = [cells[name] for _, _, cells in rows]
            ours = [(cell.mean, place, cell.spread or 0) for cell, place in zip(cells, places) if cell.ours]
            paper = [(cell.paper, place) for cell, place in zip(cells, places) if cell.paper is not None]
            if ours:
                x, y, error = zip(*ours)
                axes.errorbar(x, y, xerr=error, fmt="o", color=colour, markersize=4, capsize=2, label=own)
            if paper:
                axes.scatter(*zip(*paper), 22, facecolors="none", edgecolors=colour, label=f"{own}: paper")
        axes.set_yticks(range(len(rows)), [row[0] for row in rows])
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.2)
        axes.set_xlabel("mIoU, %")
        axes.set_title(title)
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside right upper", frameon=False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
