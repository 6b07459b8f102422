"""Every tracker shows what it is given, works offline, and ends with one line where it cannot."""

import errno
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scripts import REPOSITORY, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from errors import UserError
from tool import tracker
from tool.config import parse
from tool.tracker import TRACKERS, RunTracker, track_scores

PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)


def show(name, run):
    """A curve of two points, and a picture whose name has all letters that an image's may have."""
    with closing(RunTracker(name, run, "tiny")) as shown:
        shown.scalars({"train/loss": 1.5, "val/ae_is_cam": 0.25}, 10)
        shown.image("panels/été (1)", PICTURE, 10)
        shown.scalars({"train/loss": 0.5}, 20)


def test_none_leaves_nothing(tmp_path):
    show("none", tmp_path)
    assert not list(tmp_path.iterdir())


def test_wandb_writes_to_the_run_without_an_account(tmp_path):
    pytest.importorskip("wandb")
    show("wandb", tmp_path)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    content = file.read_bytes()
    assert b"train/loss" in content and b"val/ae_is_cam" in content
    (picture,) = folder.rglob("*.png")
    with Image.open(picture) as image:
        assert (np.array(image) == PICTURE).all()


def test_wandb_whose_process_was_killed_is_one_error(tmp_path):
    pytest.importorskip("wandb")
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from contextlib import closing
from tool.config import run_main
from tool.tracker import RunTracker
def main():
    with closing(RunTracker("wandb", {str(tmp_path)!r}, "tiny")) as shown:
        for pid in open(f"/proc/self/task/{{os.getpid()}}/children").read().split():
            os.kill(int(pid), signal.SIGKILL)
        for step in range(1000):
            shown.scalars({{"train/loss": 1.5}}, step)
run_main(main)
"""
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("needs Linux")
    done = run(sys.executable, "-c", code)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert re.fullmatch(r"error: .* \(tracker wandb\): .*\n", done.stderr)


def test_mlflow_writes_to_the_run_without_a_server(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    folder = tmp_path / "a run"
    show("mlflow", folder)
    show("mlflow", folder)  # a process that continues
    client = mlflow.MlflowClient((folder / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("a run")
    runs = client.search_runs([experiment.experiment_id])
    assert [found.info.status for found in runs] == 2 * ["FINISHED"] and runs[0].info.run_name == "tiny"
    history = client.get_metric_history(runs[0].info.run_id, "train/loss")
    assert {point.step: point.value for point in history} == {10: 1.5, 20: 0.5}
    assert runs[0].data.metrics["val/ae_is_cam"] == 0.25
    (picture, _) = sorted(folder.rglob("*.png"))
    with Image.open(picture) as image:
        assert (np.array(image) == PICTURE).all()


def test_what_mlflow_refuses_is_one_error(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://server")
    with pytest.raises(UserError, match=r"\(tracker mlflow\): .*: fix it, or use --tracker none$"):
        show("mlflow", tmp_path)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_said_with_its_remedy(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        UserError, match=f"^tracker {name} .* needs a package that is not installed: .* -m pip install {name}$"
    ):
        RunTracker(name, tmp_path, "tiny")


def test_errors_of_no_tracker_are_not_hidden(tmp_path, monkeypatch):
    monkeypatch.setitem(TRACKERS, "none", SimpleNamespace(package=None))
    with pytest.raises(TypeError):
        RunTracker("none", tmp_path, "tiny")


def test_a_full_disk_is_one_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    shown = RunTracker("none", tmp_path, "tiny")
    monkeypatch.setattr(shown.tracker, "scalars", full)
    with pytest.raises(UserError, match=r"\(tracker none\): cannot be written: No space left on device: make room"):
        shown.scalars({"loss": 1.0}, 1)


def test_scores_of_an_evaluation_replace_those_of_an_earlier_one(tmp_path):
    settings = SimpleNamespace(run=tmp_path, tracker="tensorboard")
    for miou in (0.25, 0.5):
        track_scores(settings, "eval_seg", {"seg_label": miou})
        time.sleep(
            1
        )  # files are read in the order of their names; within a second, a process's tenth precedes its ninth
    board = EventAccumulator(str(tmp_path / "tensorboard/eval_seg"))
    board.Reload()
    assert board.Tags()["scalars"] == ["eval/seg_label_miou"]
    assert board.Scalars("eval/seg_label_miou")[-1].value == 0.5


@pytest.mark.parametrize(
    "stage", ["train_aesipe", "train_irn", "deeplab_train", "eval_cam", "eval_seg", "deeplab_test"]
)
def test_every_stage_that_measures_has_the_setting(tmp_path, stage):
    assert parse(stage, argv=[]).tracker == "tensorboard"
    (tmp_path / "a.yaml").write_text("common:\n  tracker: mlflow\n")
    assert parse(stage, argv=["--config", str(tmp_path / "a.yaml")]).tracker == "mlflow"
    with pytest.raises(UserError, match="tracker"):
        parse(stage, argv=["--tracker", "paper"])


def test_no_package_is_imported_before_it_is_used():
    code = "import sys, tool.logging, tool.config; print(*{'wandb', 'mlflow', 'tensorboard'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "", done.stderr


def test_the_tracker_of_the_documentation(tmp_path, monkeypatch):
    (block,) = (
        block
        for path in REPOSITORY.glob("docs/*.md")
        for block in re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
        if "(Tracker):" in block
    )
    monkeypatch.setattr(tracker, "TRACKERS", dict(TRACKERS))
    exec(block, {"Tracker": tracker.Tracker, "TRACKERS": tracker.TRACKERS})
    show("table", tmp_path)
    folder = tmp_path / "table" / "tiny"
    text = "10,train/loss,1.5\n10,val/ae_is_cam,0.25\n20,train/loss,0.5\n"
    assert (folder / "scalars.csv").read_text() == text
    with Image.open(folder / "panels_été (1)_10.png") as image:
        assert (np.array(image) == PICTURE).all()
