import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from viz.curves import sweep_charts, training_charts
from viz.runs import RunContent
from viz.sweep import THRESHOLDS, WEIGHTS, MapScores


def make_run(name, log=(), scores=()):
    return RunContent(None, name, {}, list(log), list(scores))


def test_svg_is_whole_refers_to_nothing_and_takes_the_pages_colour():
    log = [
        {"stage": "aesipe", "step": step, "loss": 1 / step, "cls": float("nan"), "lr": 0.1, "images_per_second": 3}
        for step in (10, 20)
    ]
    chart, rate = training_charts([make_run("<b>$x$", log)])
    root = ElementTree.fromstring(chart.svg)
    assert root.tag == "svg" and "viewBox" in root.attrib
    assert "http" not in chart.svg and "<b>" not in chart.svg and "currentColor" in chart.svg
    assert [line.name for line in chart.lines] == ["loss", "cls"] and list(chart.lines[0].y) == [0.1, 0.05]
    assert rate.title == "AE-SIPE: learning rate"


def test_logs_that_lack_stages_and_validation():
    log = [
        {"stage": "aesipe", "step": 10, "loss": 1.0, "lr": 0.1},
        {"stage": "aesipe", "step": 10, "val": {"cam": 0.4}},
        {"stage": "aesipe", "step": 20, "val": {"cam": 0.5, "is_cam": 0.6}},
    ]
    charts = training_charts([make_run("one", log), make_run("two")])
    assert [chart.title for chart in charts] == ["AE-SIPE: losses", "AE-SIPE: learning rate", "AE-SIPE: validation"]
    cam, is_cam = charts[2].lines
    assert cam.name == "CAM, one" and cam.y == [40, 50] and np.isnan(is_cam.y[0]) and is_cam.y[1] == 60
    assert training_charts([make_run("two")]) == [] and not sweep_charts([make_run("two")], {})


def test_sweeps_hold_a_line_a_map_and_a_run_and_the_measured_dots():
    result = MapScores({"a": 0.5}, np.linspace(0, 0.3, len(WEIGHTS)), np.linspace(0, 0.4, len(THRESHOLDS)))
    measured = ("CAM", "train", 0.8, False, {"miou": 0.25}), ("CAM", "train", 0.8, True, {"miou": 0.3})
    weights, thresholds = sweep_charts(
        [make_run("one", scores=measured), make_run("two")], {(0, "cam"): result, (1, "cam"): result}
    )
    assert [line.name for line in weights.lines] == ["CAM, one", "CAM, two"]
    assert weights.lines[0].dots == ((0.8, 25.0),) and weights.lines[1].dots == ()
    assert weights.lines[0].dash != weights.lines[1].dash and max(thresholds.lines[0].y) == 40
    assert weights.lines[0].look == weights.lines[1].look  # the same map: the dash tells the run


def test_curves_are_told_apart_without_colour():
    keys = ("loss", "cls", "gsc", "path", "affinity", "more")
    log = [{"stage": "aesipe", "step": step, **dict.fromkeys(keys, 1.0), "lr": 1} for step in range(1, 101)]
    chart = training_charts([make_run("one", log), make_run("two", log[:1])])[0]
    drawn = {(line.look[1], line.dash) for line in chart.lines}
    assert len(chart.lines) == len(drawn) == 12 and len({line.sign for line in chart.lines}) == 6
    places = {}
    for mark in re.findall(r"<use [^>]*fill: #[^>]*>", chart.svg):
        colour, x = re.search(r"fill: (#\w+)", mark)[1], re.search(r' x="([\d.]+)"', mark)[1]
        places.setdefault(colour, []).append(x)
    assert {*places} == {line.colour for line in chart.lines}
    first = min((x for own in places.values() for x in own), key=float)  # the one step of run two
    every = [x for own in places.values() for x in own if x != first]
    assert len(every) == len({*every}) > 40, "curves that lie on one another show their markers beside one another"
