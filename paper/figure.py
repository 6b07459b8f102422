"""Figures of runs: a table with error bars, the paper's figures beside them, and how the maps learn."""

import io

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from paper.detail import full_titles
from paper.render import Cell
from viz.palette import OKABE_ITO
from viz.runs import MAP_NAMES

STYLE = {"svg.fonttype": "none", "svg.hashsalt": "table", "font.family": "sans-serif", "font.size": 9}
WIDTH, LINE, MARGIN = 7.0, 0.42, 1.1  # inches: the figure's width, a row's height, that of title and axis together
CURVES_HEIGHT = 2.8
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
        return _svg(figure)


def learning_curves(curves, titles):
    """SVG text: a plot for each kind of map, a line a network; the mIoU of the maps against the steps of training, as
    the mean over the seeds, and a band of their standard deviation.

    curves: of `paper.runs.Runs`. titles: {network: title}; of one without, its own name.
    """
    networks = {key[0]: titles.get(key[0], key[0]) for key in curves}
    with rc_context(STYLE):
        figure = Figure((WIDTH, CURVES_HEIGHT), layout="constrained")
        for axes, (kind, name) in zip(figure.subplots(1, len(MAP_NAMES), sharey=True), MAP_NAMES.items()):
            for index, (network, title) in enumerate(networks.items()):
                steps, means, spreads = _over_seeds(curves, network, kind)
                colour = COLOURS[index % len(COLOURS)]
                axes.plot(steps, means, "o-", color=colour, markersize=3, label=title)
                low, high = np.subtract(means, spreads), np.add(means, spreads)
                axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.grid(alpha=0.2)
            axes.set_title(name)
            axes.set_xlabel("step")
        figure.axes[0].set_ylabel("mIoU, %")
        if networks:
            figure.legend(
                *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
            )
        return _svg(figure)


def _over_seeds(curves, network, kind):
    """(steps, means, standard deviations) in percent of one network's maps; a deviation is 0 where one seed is."""
    found = {}
    for (owner, _, step), maps in curves.items():
        if owner == network and kind in maps:
            found.setdefault(step, []).append(100 * maps[kind])
    cells = {step: Cell(None, tuple(found[step])) for step in sorted(found)}
    return list(cells), [cell.mean for cell in cells.values()], [cell.spread or 0 for cell in cells.values()]


def _svg(figure):
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
