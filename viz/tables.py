"""Scores as tables: Markdown for report.md, and plain rows for the page."""

import csv
import io

import numpy as np

from files import atomic
from viz.runs import MAP_NAMES

ORDER = (*MAP_NAMES.values(), "pseudo label", "DeepLabV3")


def write_markdown(path, run, per_class):
    """A run's table of mIoU and, where asked for, of IoU per class as report.md; the first is printed too."""
    none = "Nothing was evaluated: there are no masks, or the stages that evaluate have not run."
    table = score_table(run) if run.scores else none
    print(table)
    text = f"# {run.name}\n\n{table}\n"
    if per_class and run.scores:
        text += f"\nIoU per class, percent:\n\n{class_table(run.scores)}\n"
    with atomic(path) as temporary:
        temporary.write_text(text)


def score_table(run):
    """Markdown table of mIoU in percent, without and with CRF in one line."""
    rows = [
        (stage, list_name, weight_title(weight), *("" if value is None else f"{100 * value:.2f}" for value in cells))
        for stage, list_name, weight, [cells] in compared_scores([run])
    ]
    return markdown(("stage", "list", "background", "mIoU", "+ CRF"), rows)


def class_table(rows):
    """Markdown table of IoU per class in percent, one line a class that occurs in the truth."""
    lines = [(name, [result["iou"][name] for *_, result in rows]) for name in rows[0][4]["iou"]]
    cells = [
        (name, *("" if value is None else f"{100 * value:.1f}" for value in values))
        for name, values in lines
        if any(value is not None for value in values)
    ]
    return markdown(("class", *map(column_title, rows)), cells)


def markdown(titles, rows):
    """A table of texts."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *rows))


def comma_separated(titles, rows):
    """The same as CSV, of numbers too."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([titles, *rows])
    return out.getvalue()


def weight_title(weight):
    """A background weight as `x 0.8`; nothing for None."""
    return "" if weight is None else f"x {weight:g}"


def column_title(row):
    """`CAM x 0.8 + CRF` of a row of scores."""
    stage, _, weight, crf, _ = row
    return " ".join(part for part in (stage, weight_title(weight), "+ CRF" if crf else "") if part)


def compared_scores(runs):
    """The score table of several runs: a list of (stage, list, weight, [(mIoU, mIoU with CRF) of each run]).

    Stages stand in the order of the pipeline, weights in order within.
    """
    tables = [{tuple(row[:4]): row[4]["miou"] for row in run.scores} for run in runs]
    keys = {key[:3] for table in tables for key in table}
    return [
        (*key, [(table.get((*key, False)), table.get((*key, True))) for table in tables])
        for key in sorted(keys, key=lambda key: (ORDER.index(key[0]), key[1], key[2] or 0))
    ]


def given_rows(run):
    """Of each stage, list and CRF setting of a run one row, as {(stage, list, crf): row}; None has no rows.

    Of the maps it is that at the first weight of the background that eval_cam was given: the best weight would be
    chosen by the masks, which weak supervision does not have.
    """
    given = run.config.get("eval_cam", {}).get("background_weight") if run else None
    given = given if isinstance(given, list) else []

    def rank(row):
        return given.index(row[2]) if row[2] in given else len(given)

    rows = {}
    for row in run.scores if run else ():
        key = row[0], row[1], row[3]
        if key not in rows or rank(row) < rank(rows[key]):
            rows[key] = row
    return rows


def highlights(run, baseline=None):
    """[(stage, list, mIoU, with CRF, difference to the baseline of the better)] of a run's `given_rows`."""
    given, others = given_rows(run), given_rows(baseline)
    rows = []
    for name in dict.fromkeys(key[:2] for key in given):
        mious = {crf: given[(*name, crf)][4]["miou"] for crf in (False, True) if (*name, crf) in given}
        crf = max(mious, key=mious.get)
        gain = mious[crf] - others[(*name, crf)][4]["miou"] if (*name, crf) in others else None
        rows.append((*name, mious.get(False), mious.get(True), gain))
    return rows


def class_columns(run, baseline=None):
    """IoU per class of a run's `given_rows`, beside a baseline's.

    Returns ([(title, list)], [(class, [(IoU or None, difference to the baseline or None)])]), mean first, then the
    classes that occur in the truth of any column.
    """
    given, others = given_rows(run), given_rows(baseline)

    def line(title, value):
        pairs = [(value(row[4]), value(others[key][4]) if key in others else None) for key, row in given.items()]
        return title, [(one, None if one is None or other is None else one - other) for one, other in pairs]

    names = dict.fromkeys(name for row in given.values() for name in row[4]["iou"])
    lines = [line("mean", lambda result: result["miou"])]
    lines += [line(name, lambda result, name=name: result["iou"].get(name)) for name in names]
    titles = [(column_title(row), row[1]) for row in given.values()]
    return titles, [(title, cells) for title, cells in lines if any(value is not None for value, _ in cells)]


def confusions(run):
    """The confusion tables of a run's `given_rows`: [(title, list, table)].

    Scores from before matrices were kept have none.
    """
    return [
        (column_title(row), row[1], confusion_table(row[4]["confusion"], list(row[4]["iou"])))
        for row in given_rows(run).values()
        if "confusion" in row[4]
    ]


def confusion_table(matrix, class_names):
    """A confusion matrix [K,K+1] in pixels, in percent of each row.

    Returns (titles of the columns, [(class, pixels, [(percent, whether it is right)])]): rows are the classes that
    occur in the truth, columns those that occur there or among the labels, the last one "unsure" if any label is 255.
    """
    matrix, titles = np.asarray(matrix, np.int64), [*class_names, "unsure"]
    pixels = matrix.sum(axis=1)
    columns = (matrix.any(axis=0) | np.append(pixels > 0, False)).nonzero()[0]
    return [titles[k] for k in columns], [
        (class_names[row], int(pixels[row]), [(100 * matrix[row, k] / pixels[row], k == row) for k in columns])
        for row in pixels.nonzero()[0]
    ]


def duration(seconds):
    """Seconds as hours, minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
