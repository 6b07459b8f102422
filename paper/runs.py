"""The figures of every run that is finished, which tables are made of: from the runs' folders, to CSV, and back.

runs.csv has a line a figure: network, seed, column (`paper.plan.Job.scores`), weight of the background, what the
network was initialised with, a digest of the settings (`paper.plan.Job.settings`), mIoU, and the IoU of every class.
curves.csv has a line a step at which training was watched (train_aesipe.val_every): network, seed, step and the mIoU
of the maps on those images. Numbers are percent; empty is a class that does not occur, or no map.
"""

import csv
from dataclasses import dataclass, field

from errors import UserError
from viz.runs import MAP_NAMES, read_log, steps_of
from viz.tables import comma_separated

FIGURES, CURVES = "runs.csv", "curves.csv"
DRAWN = "curves.svg"  # of CURVES
SETTINGS = "settings"  # title of the column of digests
WHICH = ("network", "seed", "column", "weight", "initialisation", SETTINGS, "mIoU")
STEP = ("network", "seed", "step")


@dataclass(frozen=True)
class Runs:
    """figures: {(network, seed, column, weight): {"miou": 0..1, "iou": {class: 0..1 or None}, "initialisation": text,
    "settings": text}}.
    curves: {(network, seed, step): {map: 0..1}}."""

    figures: dict = field(default_factory=dict)
    curves: dict = field(default_factory=dict)

    def __or__(self, other):
        """Both; what both have is the other's."""
        return Runs(self.figures | other.figures, self.curves | other.curves)

    def by_seed(self, network, column, weight):
        """{seed: figure} of every seed that has it, in order."""
        seeds = sorted(key[1] for key in self.figures if key == (network, key[1], column, weight))
        return {seed: self.figures[network, seed, column, weight] for seed in seeds}

    def of(self, network, column, weight):
        """The figure of every seed that has it, by seed."""
        return list(self.by_seed(network, column, weight).values())

    def complete(self, job):
        """Whether all that the tables need of a `paper.plan.Job` is here."""
        return all((job.network, job.seed, *figure) in self.figures for figure in job.figures)

    def of_other_settings(self, job):
        """The first column of which there is a figure of this `paper.plan.Job`'s network and seed that its settings
        would not make, or None."""
        for column, weight in job.figures:
            figure = self.figures.get((job.network, job.seed, column, weight))
            if figure and figure["settings"] != job.settings(column):
                return column
        return None

    def texts(self):
        """{file name: CSV}."""
        classes = list(dict.fromkeys(name for value in self.figures.values() for name in value["iou"]))
        figures = [
            (
                *key,
                value["initialisation"],
                value["settings"],
                *(_percent(each, 4) for each in (value["miou"], *map(value["iou"].get, classes))),
            )
            for key, value in self.figures.items()
        ]
        curves = [(*key, *(_percent(value.get(kind), 1) for kind in MAP_NAMES)) for key, value in self.curves.items()]
        return {
            FIGURES: comma_separated((*WHICH, *classes), figures),
            CURVES: comma_separated((*STEP, *MAP_NAMES.values()), curves),
        }


def finished(jobs, tables):
    """The Runs of what `paper.plan.Job`s have in their folders by now, for `paper.tables.Table`s."""
    figures, curves = {}, {}
    for job in jobs:
        rows = [(table, row) for table in tables for row in table.rows if row.network == job.network]
        for column, weight in dict.fromkeys(
            (name, row.background_weight) for table, row in rows for name in table.columns
        ):
            scores = job.scores(column, weight)
            if scores:
                iou = {name: _as_written(value) for name, value in scores["iou"].items()}
                figures[job.network, job.seed, column, weight] = {
                    "miou": _as_written(scores["miou"]),
                    "iou": iou,
                    "initialisation": job.initialisation(column),
                    "settings": job.settings(column),
                }
        log = read_log(job.arguments("train_aesipe").run / "log.jsonl")
        for each in steps_of(log, "aesipe", "val"):
            maps = {kind: _as_written(value, 1) for kind, value in each["val"].items()}
            curves[job.network, job.seed, each["step"]] = maps
    return Runs(figures, curves)


def published(folder, prefix):
    """The Runs of folder/PREFIXruns.csv and PREFIXcurves.csv; of files that are not there, none. Raises UserError for
    one that is no such file."""
    figures, curves = {}, {}
    for (network, seed, column, weight, *words, miou), iou in _rows(folder / f"{prefix}{FIGURES}", WHICH):
        scores = {"miou": _fraction(miou), "iou": {name: _fraction(text) for name, text in iou.items()}}
        figures[network, int(seed), column, float(weight)] = scores | dict(zip(("initialisation", "settings"), words))
    for (network, seed, step), maps in _rows(folder / f"{prefix}{CURVES}", STEP):
        known = {kind: _fraction(maps[title]) for kind, title in MAP_NAMES.items() if maps[title]}
        curves[network, int(seed), int(step)] = known
    return Runs(figures, curves)


def _rows(path, first):
    """The rows of a CSV whose header begins with `first`, each as (its cells under those, {other title: cell})."""
    if not path.exists():
        return
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if tuple(header[: len(first)]) != first or any(len(row) != len(header) for row in rows):
        raise UserError(f"{path}: is no table with the columns {', '.join(first)}: take it away, it is written anew")
    for row in rows:
        yield row[: len(first)], dict(zip(header[len(first) :], row[len(first) :]))


def _percent(value, digits):
    return "" if value is None else f"{round(100 * value, digits)}"


def _as_written(value, digits=4):
    """The number that the CSV holds, so that a table or a figure of runs is the same before and after it."""
    return _fraction(_percent(value, digits))


def _fraction(text):
    return float(text) / 100 if text else None
