"""Curves as inline SVG whose ink is the page's own text colour, and their legends as plain rows."""

import io
import re
import warnings
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from viz.runs import MAP_NAMES, steps_of
from viz.sweep import THRESHOLDS, WEIGHTS

COLOURS = ("#3b8ed0", "#e0812f", "#3ba55d", "#c9528f", "#8b6fd0", "#9c8b2d")  # seen on light and on dark
DASHES = ("", "6 3", "2 2", "8 2 2 2")  # a run each
INK = "#010203"  # replaced by currentColor
STAGES = {"aesipe": "AE-SIPE", "irn": "IRN", "deeplab": "DeepLabV3"}
NOT_LOSSES = ("stage", "step", "lr", "images_per_second", "time")


class Line(NamedTuple):
    """One curve. dots: (x, y) of points to mark on it."""

    name: str
    x: list
    y: list
    colour: str
    dash: str = ""
    dots: tuple = ()


class Chart(NamedTuple):
    """svg: the drawing, without any name that a user chose. legend: the lines. alt: for screen readers."""

    title: str
    caption: str
    svg: str
    legend: list
    alt: str


def chart(title, caption, lines, x_label, y_label, log=False):
    """Draw lines; the legend is left to the page, so that names need no escaping in SVG."""
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "font.size": 9,
        "font.family": "sans-serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
        **dict.fromkeys(
            ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK
        ),
    }
    with plt.rc_context(style):
        figure, axis = plt.subplots(figsize=(5.4, 3.0), layout="constrained")
        for line in lines:
            dash = (0, tuple(float(part) / 1.5 for part in line.dash.split())) if line.dash else "-"
            axis.plot(
                line.x,
                line.y,
                color=line.colour,
                linestyle=dash,
                linewidth=1.5,
                marker="o" if len(line.x) == 1 else None,
                markersize=4,
            )
            if line.dots:
                axis.plot(*zip(*line.dots), "o", color=line.colour, markersize=4)
        axis.set(xlabel=x_label, ylabel=y_label)
        if log and all(value > 0 for line in lines for value in line.y if np.isfinite(value)):
            axis.set_yscale("log")
        axis.grid(alpha=0.15, linewidth=0.8)
        drawn = _svg(figure)
    return Chart(title, caption, drawn, lines, f"{title}: {y_label} over {x_label}, {len(lines)} curves")


def _svg(figure):
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    plt.close(figure)
    text = file.getvalue()
    text = text[text.index("<svg") :]  # inline SVG has no prolog, no names of schemas and the width of its place
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(
        r'(<svg [^>]*?)width="[^"]*" height="[^"]*"|(<svg [^>]*?)height="[^"]*" ([^>]*?)width="[^"]*"',
        lambda match: match[1] or match[2] + match[3],
        text,
        count=1,
    )
    return text.replace(INK, "currentColor")


def training_charts(runs):
    """Losses and learning rate of each training stage, and the validation's mIoU, as far as the logs have them."""
    charts = []
    for stage, name in STAGES.items():
        records = [steps_of(run.log, stage, "loss") for run in runs]
        terms = list(
            dict.fromkeys(
                key
                for log in records
                for record in log
                for key in record
                if key not in NOT_LOSSES and isinstance(record[key], (int, float))
            )
        )
        lines = [
            _line(term, runs, i, log, lambda record, term=term: _number(record.get(term)), terms.index(term))
            for i, log in enumerate(records)
            for term in terms
            if log and term in log[-1]
        ]
        if lines:
            charts.append(
                chart(
                    f"{name}: losses",
                    "Means over the steps between two lines of the log.",
                    lines,
                    "step",
                    "loss",
                    log=True,
                )
            )
        rates = [
            _line("learning rate", runs, i, log, lambda record: _number(record.get("lr")), 0)
            for i, log in enumerate(records)
            if log and "lr" in log[-1]
        ]
        if rates:
            charts.append(
                chart(
                    f"{name}: learning rate",
                    "Of the first group of parameters, the pre-trained layers.",
                    rates,
                    "step",
                    "learning rate",
                )
            )
        checked = [steps_of(run.log, stage, "val") for run in runs]
        names = list(dict.fromkeys(key for log in checked for record in log for key in record["val"]))
        lines = [
            _line(
                MAP_NAMES.get(key, key),
                runs,
                i,
                log,
                lambda record, key=key: 100 * record["val"].get(key, np.nan),
                names.index(key),
            )
            for i, log in enumerate(checked)
            for key in names
            if log
        ]
        if lines:
            charts.append(
                chart(
                    f"{name}: validation",
                    "mIoU of the maps on the images that training checked, percent.",
                    lines,
                    "step",
                    "mIoU, percent",
                )
            )
    return charts


def _number(value):
    """A float, NaN for what is none: a log that was damaged may hold anything."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _line(name, runs, number, log, value, colour):
    title = name if len(runs) == 1 else f"{name}, {runs[number].name}"
    return Line(
        title,
        [record["step"] for record in log],
        [value(record) for record in log],
        COLOURS[colour % len(COLOURS)],
        DASHES[number % len(DASHES)],
    )


def sweep_charts(runs, swept):
    """mIoU of the maps along the background's weight and along a constant threshold.

    swept: {(number of the run, kind of map): viz.sweep.MapScores}. Dots: what eval_cam.py measured without CRF.
    """
    if not swept:
        return []
    weights, thresholds = [], []
    for (number, name), result in swept.items():
        title = MAP_NAMES[name] if len(runs) == 1 else f"{MAP_NAMES[name]}, {runs[number].name}"
        look = COLOURS[list(MAP_NAMES).index(name)], DASHES[number % len(DASHES)]
        dots = tuple(
            (weight, 100 * scores["miou"])
            for stage, _, weight, crf, scores in runs[number].scores
            if stage == MAP_NAMES[name] and not crf and weight <= WEIGHTS[-1]
        )
        weights.append(Line(title, WEIGHTS, 100 * result.weights, *look, dots))
        thresholds.append(Line(title, THRESHOLDS, 100 * result.thresholds, *look))
    return [
        chart(
            "Weight of the background",
            "Labels by argmax after the exported background score is multiplied by "
            "the weight. Dots: what eval_cam.py measured.",
            weights,
            "background weight",
            "mIoU, percent",
        ),
        chart(
            "Threshold",
            "Labels by argmax where the background's score is one constant, the threshold that a "
            "foreground score must pass, whatever the exported background says.",
            thresholds,
            "threshold on the foreground score",
            "mIoU, percent",
        ),
    ]


def best_points(runs, swept):
    """[(map, run, images, best weight, mIoU there, best threshold, mIoU there)] of the sweeps."""
    return [
        (
            MAP_NAMES[name],
            runs[number].name,
            len(result.miou),
            WEIGHTS[result.weights.argmax()],
            result.weights.max(),
            THRESHOLDS[result.thresholds.argmax()],
            result.thresholds.max(),
        )
        for (number, name), result in swept.items()
    ]
