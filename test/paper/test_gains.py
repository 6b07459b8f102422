"""Gains by seed, against Student's t written out for two and three seeds."""

import math

import pytest

from paper.document import filled
from paper.gains import gains
from paper.runs import Runs
from paper.tables import TABLES


def figure(miou):
    return {"miou": miou, "iou": {"cat": miou}, "initialisation": "ImageNet", "settings": "0123abcd"}


def runs_of(*figures):
    """figures: (network, column, weight, {seed: mIoU})."""
    return Runs(
        {
            (network, seed, column, weight): figure(value)
            for network, column, weight, seeds in figures
            for seed, value in seeds.items()
        }
    )


def p_of(values):
    """Two-sided p of Student's t with 1 or 2 degrees of freedom, whose distributions have a closed form."""
    n, mean = len(values), sum(values) / len(values)
    t = abs(mean) / math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return 1 - 2 * math.atan(t) / math.pi if n == 2 else 1 - t / math.sqrt(2 + t * t)


def test_gains_are_of_the_seeds_that_both_rows_have():
    runs = runs_of(
        ("ae", "plain", 1.0, {2: 0.47, 0: 0.43, 1: 0.48}),
        ("baseline", "plain", 1.0, {0: 0.40, 1: 0.42, 2: 0.42, 3: 0.1}),
        ("ae_hf", "plain", 1.0, {0: 0.45, 2: 0.4696}),
        ("ae", "crf", 1.0, {0: 0.47}),
        ("baseline", "crf", 1.0, {0: 0.485}),
    )
    assert f"{p_of([3, 6, 5]):.2g} {p_of([2, -0.04]):.2g}" == "0.034 0.51"
    assert gains(TABLES[2], runs) == (
        ["gain", "mIoU", "mIoU + CRF"],
        [["+ AE over baseline (SIPE)", "3.0, 6.0, 5.0 (p 0.034)", "-1.5"], ["+ HF over + AE", "2.0, 0.0 (p 0.51)", ""]],
    )


def test_a_row_has_its_own_weight_of_the_background():
    runs = runs_of(("full", "plain", 1.0, {0: 0.5}), ("full", "plain", 0.8, {0: 0.48}))
    assert gains(TABLES[2], runs)[1] == [["+ bg (x 0.8) over + norm", "-2.0", ""]]


def test_columns_are_told_apart():
    runs = runs_of(("full", "seg_crf", 1.0, {0: 0.5}), ("baseline", "seg_crf", 1.0, {0: 0.45}))
    header, lines = gains(TABLES["end"], runs)
    assert [title for title, cell in zip(header, lines[0]) if cell] == ["gain", "DeepLabV3 + CRF"]


@pytest.mark.parametrize("name", TABLES)
def test_rows_that_are_compared_are_in_their_table(name):
    titles = {row.title for row in TABLES[name].rows if row.network}
    assert titles.issuperset(title for pair in TABLES[name].gains for title in pair)


def test_a_page_has_the_gains_of_the_runs_that_it_names(tmp_path):
    runs = runs_of(("ae", "plain", 1.0, {0: 0.43}), ("baseline", "plain", 1.0, {0: 0.4}))
    (tmp_path / "photos_runs.csv").write_text(runs.texts()["runs.csv"])
    text = filled("<!-- gains 2: photos_runs.csv -->\nold\n<!-- end -->\n", tmp_path)
    assert text.splitlines() == [
        "<!-- gains 2: photos_runs.csv -->",
        "| gain | mIoU | mIoU + CRF |",
        "| --- | --- | --- |",
        "| + AE over baseline (SIPE) | 3.0 |  |",
        "<!-- end -->",
    ]
    with pytest.raises(OSError):
        filled("<!-- gains 2: other_runs.csv -->\n<!-- end -->\n", tmp_path)
