"""What the driver says last."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from scripts import HEAVY, REPOSITORY, in_turn

from tool.json_file import save_json
from tool.stages import STAGES
from viz.runs import read_runs
from viz.summary import score_lines, time_lines, where_lines

WHOLE = [stage.name for stage in STAGES]


def scores(miou, **more):
    return {"miou": miou, "iou": {"background": miou}, **more}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "one"
    rows = [scores(0.5, background_weight=0.8, crf=False), scores(0.6, background_weight=1.0, crf=False)]
    rows.append(scores(0.625, background_weight=0.8, crf=True))
    save_json(folder / "eval/cam.json", {"list": "train", "maps": {"ae_is_cam": rows, "cam": rows[:1]}})
    (folder / "config.yaml").write_text("eval_cam:\n  background_weight: [0.8]\n")
    save_json(folder / "eval/seg.json", {"list": "train_aug", **scores(0.65)})
    for name, miou in (("val", 0.7), ("test", 0.71)):
        save_json(folder / f"eval/deeplab_{name}.json", {"list": name, "plain": scores(miou), "crf": scores(0.72)})
    log = [("make_cam", 3.0), ("train_aesipe", 61), ("make_cam", 4.25), ("predict", 9)]
    lines = [{"stage": stage, "finished": True, "did": 1, "of": 1, "seconds": seconds} for stage, seconds in log]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_scores_of_each_stage_with_their_lists_and_the_weights_that_were_given(run):
    (content,) = read_runs([run])
    cells = [line.split() for line in score_lines(content, WHOLE)]
    assert cells == [
        ["scores", "in", "%", "list", "mIoU", "+", "CRF"],
        ["CAM", "train", "50.00", "x", "0.8"],
        ["AE-IS-CAM", "train", "50.00", "x", "0.8", "62.50", "x", "0.8"],
        ["pseudo", "label", "train_aug", "65.00"],
        ["DeepLabV3", "test", "71.00", "72.00"],
        ["DeepLabV3", "val", "70.00", "72.00"],
    ]
    assert [line.split()[0] for line in score_lines(content, WHOLE[:4])] == ["scores", "CAM", "AE-IS-CAM"]
    assert score_lines(content, WHOLE[:3]) == []


def test_time_of_each_stage_over_all_its_calls(run):
    (content,) = read_runs([run])
    assert time_lines(content, WHOLE, {}) == ["time: train_aesipe 1 min 1 s, make_cam 7.2 s; together 1 min 8 s"]
    assert time_lines(content, ["dataset"], {}) == []


def test_the_time_of_the_dataset_is_that_of_this_call(run):
    (content,) = read_runs([run])
    assert time_lines(content, WHOLE, {"dataset": 70.0}) == [
        "time: dataset 1 min 10 s (now), train_aesipe 1 min 1 s, make_cam 7.2 s; together 2 min 18 s"
    ]
    assert time_lines(content, ["dataset"], {"dataset": 0.0}) == ["time: dataset 0.0 s (now); together 0.0 s"]


def test_where_to_look_next_holds_for_any_name_of_a_run(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: sys.executable)
    report, command = where_lines(Path("runs/a b"))
    assert report == "report: runs/a b/report/index.html"
    expected = ["python", "predict.py", "--run", "runs/a b", "--image", "PHOTO.jpg", "--open"]
    assert shlex.split(command.removeprefix("try it: ")) == expected
    monkeypatch.setattr("shutil.which", lambda name: None)  # no python on PATH: the driver made its own
    words = shlex.split(where_lines(Path("/runs/a"))[1].removeprefix("try it: "))
    assert words[:4] == [sys.executable, str(REPOSITORY / "predict.py"), "--run", "/runs/a"]


def test_it_is_short_for_a_part_and_waits_for_no_heavy_import(run):
    """The driver over a finished run takes a few seconds, of which this may have no more than a start of Python."""
    lines = [("-m", "viz.summary", run, *stages) for stages in ((), WHOLE[:4], ["dataset=3"])]
    done = in_turn(lines, *(name for name in HEAVY if name != "numpy"))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    said = [line.partition(" ")[0] for line in done.stdout.splitlines()]
    parts = ["scores", "CAM", "AE-IS-CAM", "pseudo", "DeepLabV3", "DeepLabV3", "time:", "report:", "try"]
    assert said == [*parts, *parts[:3], "time:", "time:"]
    assert done.stdout.endswith("time: dataset 3.0 s (now); together 3.0 s\n")


def test_a_broken_evaluation_is_one_line(run):
    (run / "eval/seg.json").write_text('{"list": "train"}')
    done = in_turn([("-m", "viz.summary", run)])
    assert done.returncode == 2 and done.stderr.startswith(f"error: {run}/eval/seg.json: ") and done.stdout == ""
