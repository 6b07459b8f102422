"""What stands behind the figures of a table: the IoU of each class, and the maps' mIoU while they are trained."""

import statistics
from collections import defaultdict

from viz.runs import MAP_NAMES, read_log, steps_of
from viz.tables import comma_separated


def class_csv(table, jobs):
    """IoU in percent of every class that occurs in the truth, in each figure of a `paper.tables.Table`.

    A line a class, a column a figure ("AE-SIPE: pseudo labels"), the mean over the seeds; empty where there is none.
    """
    found = {}
    for row in table.rows:
        for name, title in full_titles(table.columns).items():
            seeds = [job.scores(name, row.background_weight) for job in jobs if job.network == row.network]
            found[f"{row.title}: {title}"] = [scores["iou"] for scores in seeds if scores]
    found = {title: seeds for title, seeds in found.items() if seeds}
    names = dict.fromkeys(name for seeds in found.values() for iou in seeds for name in iou)
    lines = [(name, *(_mean(iou[name] for iou in seeds) for seeds in found.values())) for name in names]
    return comma_separated(("class", *found), [line for line in lines if any(line[1:])])


def curve_csv(jobs):
    """mIoU in percent of the maps on the images that training is watched on (train_aesipe.val_images).

    A line a network and step, the mean over the seeds and, of two and more, their standard deviation.
    """
    found = defaultdict(lambda: defaultdict(list))
    for job in jobs:
        log = read_log(job.arguments("train_aesipe").run / "log.jsonl")
        for record in steps_of(log, "aesipe", "val"):
            for name, value in record["val"].items():
                found[job.network, record["step"]][name].append(100 * value)
    lines = [
        (network, str(step), *(mean_and_spread(maps.get(name, ())) for name in MAP_NAMES))
        for (network, step), maps in found.items()
    ]
    return comma_separated(("network", "step", *MAP_NAMES.values()), lines)


def full_titles(columns):
    """{name: title} of a table's columns where "+ CRF" names what it is added to."""
    titles, last = {}, ""
    for name, own in columns.items():
        titles[name] = last = f"{last} {own}" if own.startswith("+") else own
    return titles


def _mean(values):
    values = [100 * value for value in values if value is not None]
    return f"{statistics.fmean(values):.1f}" if values else ""


def mean_and_spread(values):
    """The mean and, of two and more values, their standard deviation, as printed; nothing of none."""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}" if values else ""
