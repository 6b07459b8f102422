"""Curves as inline SVG whose ink is the page's own text colour, and their legends as plain rows."""

import io
import re
from itertools import cycle
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from viz.palette import OKABE_ITO
from viz.runs import MAP_NAMES, is_number, steps_of
from viz.sweep import THRESHOLDS, WEIGHTS

COLOURS = tuple(OKABE_ITO[i] for i in (4, 5, 2, 6, 0, 1))  # all but yellow; first those seen best on light and on dark
MARKERS = {  # matplotlib's name of one -> the same in the legend's 30 x 10; circles are the measured dots
    "s": "M11 1h8v8h-8z",
    "^": "M15 0l5 9h-10z",
    "D": "M15 0l5 5l-5 5l-5-5z",
    "X": "M12 0l3 3l3-3l2 2l-3 3l3 3l-2 2l-3-3l-3 3l-2-2l3-3l-3-3z",
    "v": "M15 10l-5-9h10z",
    "P": "M13 0h4v3h3v4h-3v3h-4v-3h-3v-4h3z",
}
LOOKS = tuple(zip(COLOURS, MARKERS))  # of what is drawn; the marker tells it without colour
MARKED = 8  # times a curve shows its marker
DASHES = ((), (4, 2), (1.5, 1.5), (5, 1.5, 1.5, 1.5))  # a run each
INK = "#010203"  # replaced by currentColor
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "lines.markersize": 4,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
}
STAGES = {"aesipe": "AE-SIPE", "irn": "IRN", "deeplab": "DeepLabV3"}  # as the log names them
NOT_LOSSES = ("stage", "step", "lr", "images_per_second", "time")


class Line(NamedTuple):
    """One curve. look: one of LOOKS. dots: (x, y) of points to mark on it."""

    name: str
    x: list
    y: list
    look: tuple
    dash: tuple
    dots: tuple = ()

    @property
    def colour(self):
        return self.look[0]

    @property
    def sign(self):
        """The marker as a path of the legend."""
        return MARKERS[self.look[1]]


class Chart(NamedTuple):
    """svg: the drawing, without any name that a user chose: the page writes the legend of the lines, and escapes it."""

    title: str
    caption: str
    svg: str
    lines: list
    alt: str


def chart(title, caption, lines, x_label, y_label, log=False):
    """Draw the Lines as a Chart."""
    with rc_context(STYLE):
        figure, file = Figure(figsize=(5.4, 3.0), layout="constrained"), io.StringIO()
        axis = figure.subplots()
        for line in lines:
            every = -(-len(line.x) // MARKED)
            begin = LOOKS.index(line.look) * every // len(LOOKS)  # curves that lie on another show their own markers
            marks = {"marker": line.look[1], "markevery": (begin, every)}
            axis.plot(line.x, line.y, color=line.colour, dashes=line.dash, **marks)
            axis.plot(*np.reshape(line.dots, (-1, 2)).T, "o", color=line.colour)
        axis.set(xlabel=x_label, ylabel=y_label)
        if log and all(value > 0 for line in lines for value in line.y if np.isfinite(value)):
            axis.set_yscale("log")
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    # Inline SVG has no prolog and no names of schemas.
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", file.getvalue().partition("<svg")[2]).replace("xlink:href", "href")
    alt = f"{title}: {y_label} over {x_label}, {len(lines)} curves"
    return Chart(title, caption, "<svg" + text.replace(INK, "currentColor"), lines, alt)


def training_charts(runs):
    """Losses and learning rate of each training stage, and the validation's mIoU, as far as the logs have them."""
    charts = []
    for stage, name in STAGES.items():
        steps = [steps_of(run.log, stage, "loss") for run in runs]
        checks = [[_percent(record) for record in steps_of(run.log, stage, "val")] for run in runs]
        rates = [[{"step": record["step"], "learning rate": record.get("lr")} for record in log] for log in steps]
        for title, caption, logs, y_label in (
            ("losses", "Means over the steps between two lines of the log.", steps, "loss"),
            ("learning rate", "Of the first group of parameters, the pre-trained layers.", rates, "learning rate"),
            ("validation", "mIoU on the images that training checked, percent.", checks, "mIoU, percent"),
        ):
            lines = _lines(runs, logs)
            if lines:
                charts.append(chart(f"{name}: {title}", caption, lines, "step", y_label, log=title == "losses"))
    return charts


def _lines(runs, logs):
    """A Line for each number in each run's records, over their steps; NaN for what is none: a log may be damaged."""
    every = (key for log in logs for record in log for key in record if is_number(record[key]))
    looks = dict(zip(dict.fromkeys(key for key in every if key not in NOT_LOSSES), cycle(LOOKS)))
    return [
        Line(
            _title(key, runs, number),
            [record["step"] for record in log],
            [record[key] if is_number(record.get(key)) else np.nan for record in log],
            look,
            DASHES[number % len(DASHES)],
        )
        for number, log in enumerate(logs)
        for key, look in looks.items()
        if any(is_number(record.get(key)) for record in log)
    ]


def _percent(record):
    return {"step": record["step"], **{name: 100 * miou for name, miou in record["val"].items()}}


def _title(name, runs, number):
    title = {**MAP_NAMES, **STAGES}.get(name, name)
    return title if len(runs) == 1 else f"{title}, {runs[number].name}"


def sweep_charts(runs, swept):
    """mIoU of the maps along the background's weight and along a constant threshold.

    swept: {(number of the run, kind of map): viz.sweep.MapScores}. Dots: what eval_cam.py measured without CRF.
    """
    weights, thresholds = [], []
    for (number, name), result in swept.items():
        title = _title(name, runs, number)
        look = LOOKS[list(MAP_NAMES).index(name)], DASHES[number % len(DASHES)]
        dots = tuple(
            (weight, 100 * scores["miou"])
            for stage, _, weight, crf, scores in runs[number].scores
            if stage == MAP_NAMES[name] and not crf and weight <= WEIGHTS[-1]
        )
        weights.append(Line(title, WEIGHTS, 100 * result.weights, *look, dots))
        thresholds.append(Line(title, THRESHOLDS, 100 * result.thresholds, *look))
    by_weight = (
        "Labels by argmax after the exported background score is multiplied by the weight. "
        "Dots: what eval_cam.py measured."
    )
    by_threshold = (
        "Labels by argmax where the background's score is one constant, the threshold that a foreground score must "
        "pass, whatever the exported background says."
    )
    return swept and [
        chart("Weight of the background", by_weight, weights, "background weight", "mIoU, percent"),
        chart("Threshold", by_threshold, thresholds, "threshold on the foreground score", "mIoU, percent"),
    ]
