"""The driver with stages that do something: stopped, failing, shared by two processes, and over swapped data."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
import torch
from scripts import REPOSITORY, copy_run, error_lines, run, stamps

from tool.record import checkpoint_record

MAPS = ("cam", "is_cam", "ae_is_cam")


@pytest.fixture
def words(finished, tmp_path):
    """The call of the driver on the finished run's data, for a run called demo in this test's folder."""
    return ("bash", "run_pipeline.sh", *finished.words, f"common.run_root={tmp_path}")


def test_sigterm_to_the_driver_saves_and_the_same_line_goes_on(words, tmp_path):
    steps = ("train_aesipe.max_epochs=3", "train_aesipe.batch_size=2", "train_aesipe.val_every=0")  # 18
    stage = ("--from", "train_aesipe", "--to", "train_aesipe", *steps)
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    driver = subprocess.Popen(
        [*words, *stage], cwd=REPOSITORY, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    log = tmp_path / "demo/log.jsonl"
    while not log.exists():  # its first line comes after 10 steps
        assert driver.poll() is None
        time.sleep(0.02)
    driver.terminate()
    _, err = driver.communicate(timeout=60)
    states = list((tmp_path / "demo/ckpt/aesipe_state").iterdir())
    assert driver.returncode == 130 and "Traceback" not in err and len(states) == 1 and 10 <= int(states[0].stem) < 18
    assert "stage train_aesipe was stopped: continue with: bash run_pipeline.sh" in err.splitlines()[-1]
    done = run(*words, *stage)
    assert done.returncode == 0 and f"continuing after step {int(states[0].stem)}" in done.stdout


def test_a_stage_that_fails_ends_the_driver_and_says_how_to_go_on(finished, words, tmp_path):
    shutil.copytree(finished.run / "ae_is_cam", tmp_path / "demo/ae_is_cam")
    (tmp_path / "demo/ae_is_cam/train_000001.npz").unlink()
    done = run(*words, "--from", "make_ir_labels", "--to", "train_irn", "train_irn.weights=none")
    assert done.returncode == 2 and "Traceback" not in done.stderr and "train_irn" not in done.stdout
    hint = done.stderr.splitlines()[-1]
    assert "stage make_ir_labels failed" in hint and "--from make_ir_labels" in hint
    assert f"common.run_root={tmp_path}" in hint  # without it the hint would continue with another run


def test_two_processes_train_the_same_network_and_share_the_images(finished, words, tmp_path):
    """With the global batch the same and batch norm frozen, only the order of summation differs."""
    done = run(*words, "--from", "train_aesipe", "--to", "make_cam", GPUS="2")
    assert done.returncode == 0, done.stderr[-3000:]
    two = tmp_path / "demo"
    stages = [line.split()[1:3] for line in done.stdout.splitlines() if line.startswith("== ")]
    assert stages == [["2/11", "train_aesipe"], ["3/11", "make_cam"]]
    assert "2/11 train_aesipe: 100%" in done.stderr and "3/11 make_cam: 100%" in done.stderr
    assert "\n3/11 make_cam: on CPU (1 threads) in float32, 2 processes\n" in done.stdout
    one, other = (torch.load(run / "ckpt/aesipe.pt", weights_only=True)["model"] for run in (finished.run, two))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=1e-5, rtol=1e-4, msg=lambda text: f"{name}: {text}")
    records = [checkpoint_record(folder / "ckpt/aesipe.pt") for folder in (two, finished.run)]
    assert records[0].pop("result") != records[1].pop("result") and records[0] == records[1]
    for folder in MAPS:
        made, expected = ({path.name for path in (run / folder).iterdir()} for run in (two, finished.run))
        assert made == expected
    logged, alone = (
        [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()][:4] for run in (two, finished.run)
    )
    assert [line["stage"] for line in logged] == ["aesipe", "aesipe", "train_aesipe", "make_cam"]  # the first's alone
    assert logged[1]["val"] == pytest.approx(alone[1]["val"], abs=0.01)
    assert [(line["did"], line["of"], line["processes"]) for line in logged[2:]] == [(3, 3, 2), (13, 13, 2)]


def test_the_driver_passes_over_a_finished_run_and_stops_at_swapped_data(finished, tmp_path):
    copy_run(finished.run, tmp_path / "demo")
    shutil.copytree(finished.layout.root, tmp_path / "toy")
    where = (f"common.dataset_root={tmp_path / 'toy'}", f"common.run_root={tmp_path}", "dataset.kind=folder")
    words = ("bash", "run_pipeline.sh", *finished.words, *where, "--to", "deeplab_test")
    before = stamps(tmp_path / "demo")
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n== ") + 1 == 10 and stamps(tmp_path / "demo") == before
    *_, deeplab, time_by_stage, more = done.stdout.splitlines()
    assert "AE-IS-CAM     train" in done.stdout and deeplab.startswith("DeepLabV3     val")
    assert re.match(r"time: dataset \S+ s \(now\), train_aesipe ", time_by_stage) and "report" not in time_by_stage
    assert more.startswith("next: bash run_pipeline.sh configs/demo.yaml --from report dataset.train=6 ")
    labels = tmp_path / "toy/image_labels.txt"
    text = labels.read_text().replace("train_000003 ", "train_000003 striped ").replace("striped striped", "dotted")
    labels.write_text(text)
    done = run(*words)
    assert done.returncode == 2 and len(error_lines(done.stderr)) == 1 and "the image labels" in done.stderr
    assert stamps(tmp_path / "demo") == before
