"""Scores as tables: Markdown for report.md, and plain rows for the page."""

import numpy as np


def score_lines(rows):
    """Rows of `viz.runs.collect_scores`, without and with CRF in one line: {(stage, list, weight): {crf: mIoU}}."""
    merged = {}
    for stage, list_name, weight, crf, result in rows:
        merged.setdefault((stage, list_name, weight), {})[crf] = result["miou"]
    return merged


def score_table(rows):
    """Markdown table of mIoU in percent, without and with CRF in one line."""
    lines = ["| stage | list | background | mIoU | + CRF |", "| --- | --- | --- | --- | --- |"]
    for (stage, list_name, weight), values in score_lines(rows).items():
        cells = [f"{100 * values[crf]:.2f}" if crf in values else "" for crf in (False, True)]
        lines.append(f"| {stage} | {list_name} | {'' if weight is None else f'x {weight:g}'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def class_table(rows):
    """Markdown table of IoU per class in percent, one line a class that occurs in the truth."""
    titles = [
        f"{stage}{'' if weight is None else f' x{weight:g}'}{' +CRF' if crf else ''}"
        for stage, _, weight, crf, _ in rows
    ]
    lines = ["| class | " + " | ".join(titles) + " |", "| --- |" + " --- |" * len(rows)]
    for name in rows[0][4]["iou"]:
        values = [result["iou"][name] for *_, result in rows]
        if any(value is not None for value in values):
            cells = ["" if value is None else f"{100 * value:.1f}" for value in values]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compared_scores(runs):
    """The score table of several runs: a list of (stage, list, weight, [(mIoU, mIoU with CRF) of each run])."""
    tables = [score_lines(run.scores) for run in runs]
    keys = dict.fromkeys(key for table in tables for key in table)
    return [
        (*key, [tuple(table.get(key, {}).get(crf) for crf in (False, True)) for table in tables])
        for key in sorted(keys, key=lambda key: _stage_order(key, tables))
    ]


def _stage_order(key, tables):
    """Stages in the order of the pipeline as the runs list them, weights in order within."""
    stages = list(dict.fromkeys(stage for table in tables for stage, *_ in table))
    order = ("CAM", "IS-CAM", "AE-IS-CAM", "pseudo label", "DeepLabV3")
    stage, list_name, weight = key
    return order.index(stage) if stage in order else len(order) + stages.index(stage), list_name, weight or 0


def best_rows(rows):
    """Of each stage, list and CRF setting the row with the best mIoU, as {(stage, list, crf): row}."""
    best = {}
    for row in rows:
        key = row[0], row[1], row[3]
        if key not in best or row[4]["miou"] > best[key][4]["miou"]:
            best[key] = row
    return best


def class_columns(run, baseline=None):
    """IoU per class of a run's stages, each at its best background weight, beside a baseline's.

    Returns (titles, [(class, [(IoU or None, difference to the baseline or None)])]), mean first, then the classes that
    occur in the truth of any column.
    """
    best = best_rows(run.scores)
    others = best_rows(baseline.scores) if baseline else {}
    titles, columns = [], []
    for key, (stage, list_name, weight, crf, result) in best.items():
        titles.append((stage, "" if weight is None else f"x {weight:g}", "+ CRF" if crf else "", list_name))
        other = others[key][4] if key in others else None
        columns.append(
            ({"mean": result["miou"], **_named(result)}, {"mean": other["miou"], **_named(other)} if other else {})
        )
    names = dict.fromkeys(name for values, _ in columns for name in values)
    lines = []
    for name in names:
        cells = [(values.get(name), _difference(values.get(name), other.get(name))) for values, other in columns]
        if any(value is not None for value, _ in cells):
            lines.append((name if name == "mean" else name[1], cells))
    return titles, lines


def _named(result):
    """IoU by ("class", name), so that a class called "mean" stays apart from the mean."""
    return {("class", name): value for name, value in result["iou"].items()}


def _difference(value, other):
    return None if value is None or other is None else value - other


def confusion_table(matrix, class_names):
    """A confusion matrix [K,K+1] in pixels, in percent of each row.

    Returns (titles of the columns, [(class, pixels, [percent])]): rows are the classes that occur in the truth, columns
    those that occur there or among the labels, the last one "unsure" if any label is 255.
    """
    matrix = np.asarray(matrix, np.int64)
    titles = [*class_names, "unsure"]
    pixels = matrix.sum(axis=1)
    columns = [k for k in range(len(titles)) if matrix[:, k].any() or (k < len(pixels) and pixels[k])]
    return (
        [titles[k] for k in columns],
        [
            (class_names[row], int(pixels[row]), [(100 * matrix[row, k] / pixels[row], k == row) for k in columns])
            for row in pixels.nonzero()[0]
        ],
    )


def confusions(rows):
    """The confusion tables of a run's stages at their best background weight: [(title, list, table)].

    Scores from before matrices were kept have none.
    """
    tables = []
    for stage, list_name, weight, crf, result in best_rows(rows).values():
        if "confusion" in result:
            title = stage + ("" if weight is None else f", background x {weight:g}") + (", + CRF" if crf else "")
            tables.append((title, list_name, confusion_table(result["confusion"], list(result["iou"]))))
    return tables
