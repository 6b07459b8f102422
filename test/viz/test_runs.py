import json

import pytest

from errors import UserError
from viz.runs import RunContent, read_log, read_runs, setting_rows, steps_of, usage


def test_lines_that_are_no_records_are_passed_over(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"stage": "irn", "step": 1, "loss": 2}\n[1]\n{"step": 3}\nnull\n\n{"stage": "irn", "st')
    assert read_log(path) == [{"stage": "irn", "step": 1, "loss": 2}]
    assert read_log(tmp_path / "none") == []


def test_steps_done_again_replace_the_earlier_ones():
    log = [
        {"stage": "aesipe", "step": step, "loss": loss} for step, loss in ((10, 5), (20, 4), (30, 3), (20, 2), (30, 1))
    ]
    log.insert(2, {"stage": "irn", "step": 1, "loss": 9})
    log.insert(3, {"stage": "aesipe", "step": 25, "val": {"cam": 0.5}})
    assert [(line["step"], line["loss"]) for line in steps_of(log, "aesipe", "loss")] == [(10, 5), (20, 2), (30, 1)]
    assert len(steps_of(log, "aesipe", "val")) == 1


def test_usage_adds_the_calls_of_a_stage():
    line = {"stage": "make_cam", "finished": True, "device": "cpu", "processes": 1, "peak_gpu_memory_mb": None}
    rows = usage(
        [
            {**line, "did": 3, "seconds": 2.0, "peak_memory_mb": 50},
            {"stage": "aesipe", "step": 10, "loss": 1},
            {**line, "did": 5, "seconds": 4.0, "peak_memory_mb": 40},
        ]
    )
    assert rows == [
        {
            "stage": "make_cam",
            "did": 8,
            "seconds": 6.0,
            "memory": 50,
            "gpu_memory": None,
            "device": "cpu",
            "processes": 1,
        }
    ]
    assert usage([]) == []


def make_run(config):
    return RunContent(None, "run", config, [], [])


def test_settings_that_differ_are_marked():
    one = {"train_aesipe": {"ae": True, "lr": 0.1, "run_root": "a"}, "make_cam": {"scales": [1.0]}}
    two = {"train_aesipe": {"ae": False, "lr": 0.1, "run_root": "b"}}
    assert setting_rows([make_run(one), make_run(two)]) == {
        "train_aesipe": [("ae", [True, False], True), ("lr", [0.1, 0.1], False)],
        "make_cam": [("scales", [[1.0], None], False)],
    }


def test_runs_of_one_name_are_told_apart(tmp_path):
    for part in ("a/full", "b/full", "c"):
        (tmp_path / part).mkdir(parents=True)
    assert [run.name for run in read_runs([tmp_path / "a/full", tmp_path / "c"])] == ["full", "c"]
    names = [run.name for run in read_runs([tmp_path / "a/full", tmp_path / "b/full"])]
    assert names == [str(tmp_path / "a/full"), str(tmp_path / "b/full")]


@pytest.mark.parametrize("text", ["a: [", "- a", "a: 1"])
def test_broken_runs_are_refused(tmp_path, text):
    with pytest.raises(UserError, match="no such run folder: give --run RUN, to report.py RUN before the flags"):
        read_runs([tmp_path / "none"])
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match="config.yaml"):
        read_runs([tmp_path])
    (tmp_path / "config.yaml").unlink()
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval/cam.json").write_text(json.dumps({"list": "train", "maps": {}})[:9])
    with pytest.raises(UserError, match="cam.json"):
        read_runs([tmp_path])
