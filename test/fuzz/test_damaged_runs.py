"""Checkpoints, logs and scores: what a run says of itself."""

import json
import math

import pytest
import torch
from damaging import TEXTS, damaged, read_or_refuse
from hypothesis import given, settings
from hypothesis import strategies as st

from tool.checkpoint import load_state, save_state
from tool.json_file import load_json
from viz.curves import training_charts
from viz.page import rates
from viz.runs import collect_scores, read_log, read_runs, steps_of, usage


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    path = tmp_path_factory.mktemp("states") / "a.pt"
    save_state(path, {"model": {"w": torch.arange(6.0).view(2, 3)}, "step": 3})
    return [path.read_bytes()]


@given(st.data())
@settings(max_examples=60)
def test_damaged_checkpoints(tmp_path, states, data):
    path = tmp_path / "a.pt"
    path.write_bytes(data.draw(damaged(states)))
    read_or_refuse(load_state, path)


LINES = [
    {"stage": "aesipe", "step": step, "loss": 1 / step, "lr": 0.1, "images_per_second": 2.0} for step in (10, 20)
] + [
    {"stage": "aesipe", "step": 20, "val": {"cam": 0.5}},
    {
        "stage": "make_cam",
        "finished": True,
        "did": 3,
        "of": 3,
        "seconds": 2.5,
        "peak_memory_mb": 9.0,
        "peak_gpu_memory_mb": None,
        "device": "cpu",
        "processes": 1,
    },
]
LOG = "".join(json.dumps(line) + "\n" for line in LINES).encode()
JSON_VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from([[1], {"a": "b"}, 10**400])
)


def draw_log(path):
    """All that a report makes of a log."""
    log = read_log(path)
    for row in usage(log):
        assert math.isfinite(row["seconds"]) and math.isfinite(row["did"])
    assert all(math.isfinite(row[2]) for row in rates(log))
    for key in ("loss", "val", "lr"):
        steps = [record["step"] for record in steps_of(log, "aesipe", key)]
        assert steps == sorted(set(steps))
    return log


@given(damaged([LOG]))
@settings(max_examples=60)
def test_damaged_logs_lose_their_damaged_lines_alone(tmp_path, data):
    path = tmp_path / "log.jsonl"
    path.write_bytes(data)
    log = draw_log(path)
    for line in LINES:  # a line that stands there whole between line breaks is read
        if f"\n{json.dumps(line)}\n".encode() in b"\n" + data + b"\n":
            assert line in log


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(
                [
                    "stage",
                    "step",
                    "loss",
                    "lr",
                    "images_per_second",
                    "val",
                    "did",
                    "seconds",
                    "peak_memory_mb",
                    "finished",
                    "more",
                ]
            ),
            JSON_VALUES,
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=60)
def test_logs_of_odd_values_are_drawn(tmp_path, changes):
    path = tmp_path / "log.jsonl"
    lines = [dict(line) for line in LINES]
    for number, key, value in changes:
        lines[number][key] = value
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "[" * 5000 + "\n" + json.dumps(LINES[0])[:-4])
    log = draw_log(path)
    assert [line for line in LINES if line in lines] == [line for line in LINES if line in log]


def test_a_log_of_odd_values_is_drawn(tmp_path):
    odd = ["0.5", None, [1], {"a": 1}, math.nan, math.inf, -math.inf, 10**400, True, "\ud800"]
    lines = [{**LINES[0], "step": 1 + number, "loss": value, "more": value} for number, value in enumerate(odd)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + LOG.decode())
    charts = training_charts(read_runs([tmp_path]))
    assert len(charts) == 3 and all(chart.svg.startswith("<svg") for chart in charts)


SCORES = {"miou": 0.5, "accuracy": 0.6, "iou": {"background": 0.5, "cat": None}, "confusion": [[1, 0, 2], [0, 3, 0]]}
RESULTS = {
    "cam.json": {"list": "train", "maps": {"cam": [{"background_weight": 1.0, "crf": False, **SCORES}]}},
    "seg.json": {"list": "train", **SCORES},
    "deeplab_val.json": {"list": "val", "plain": SCORES, "crf": SCORES},
}


@given(st.sampled_from(sorted(RESULTS)), st.data())
@settings(max_examples=60)
def test_damaged_scores(tmp_path, name, data):
    (tmp_path / "eval").mkdir(exist_ok=True)
    whole = json.dumps(RESULTS[name]).encode()
    (tmp_path / "eval" / name).write_bytes(
        data.draw(
            damaged([whole])
            | st.sampled_from([b"[]", b"3", b'"a"', b"[" * 5000, b'{"maps": []}', b'{"maps": {"cam": 3}}'])
            | st.just(whole.replace(b"0.5", b"NaN"))
            | st.just(whole.replace(b"[0, 3, 0]", b"[1]"))
            | st.just(whole)
        )
    )

    def read(_):
        return collect_scores(tmp_path)

    path = tmp_path / "eval" / name
    read_or_refuse(load_json, path)
    rows = read_or_refuse(read, path)
    path.unlink()
    for *_, result in rows or ():
        assert 0 <= result["miou"] <= 1
