"""What stands behind the figures of a table: the IoU of each class."""

import statistics

from viz.tables import comma_separated


def class_csv(table, runs):
    """IoU in percent of every class that occurs in the truth, in each figure of a `paper.tables.Table`.

    A line a class, a column a figure ("AE-SIPE: pseudo labels"), the mean over the seeds of `paper.runs.Runs`; empty
    where there is none.
    """
    found = {}
    for row in table.rows:
        for name, title in full_titles(table.columns).items():
            seeds = runs.of(row.network, name, row.background_weight)
            found[f"{row.title}: {title}"] = [scores["iou"] for scores in seeds]
    found = {title: seeds for title, seeds in found.items() if seeds}
    names = dict.fromkeys(name for seeds in found.values() for iou in seeds for name in iou)
    lines = [(name, *(_mean(iou[name] for iou in seeds) for seeds in found.values())) for name in names]
    return comma_separated(("class", *found), [line for line in lines if any(line[1:])])


def full_titles(columns):
    """{name: title} of a table's columns where "+ CRF" names what it is added to."""
    titles, last = {}, ""
    for name, own in columns.items():
        titles[name] = last = f"{last} {own}" if own.startswith("+") else own
    return titles


def _mean(values):
    values = [100 * value for value in values if value is not None]
    return f"{statistics.fmean(values):.1f}" if values else ""
