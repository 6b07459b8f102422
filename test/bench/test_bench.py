"""The benchmark itself: what it measures, that it checks, and its command line."""

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bench import growth, operations, start
from bench.measure import compare, machine
from errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
SMALL = (
    "--batch_size",
    2,
    "--crop_size",
    128,
    "--n_classes",
    5,
    "--height",
    48,
    "--width",
    64,
    "--runs",
    1,
    "--threads",
    1,
    "--backbone",
    "resnet18",
)


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """`compare` collects garbage before each call: not all that earlier tests left in this process each time."""
    gc.freeze()
    yield
    gc.unfreeze()


def bench(*arguments):
    command = [sys.executable, "-m", "bench", *map(str, SMALL), *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )


def test_runs_are_taken_in_turn_and_a_slow_one_is_not_repeated():
    calls = []

    def slow():
        calls.append("slow")
        time.sleep(0.05)
        return 2

    results, outputs = compare({"fast": lambda: calls.append("fast"), "slow": slow}, CPU, runs=3, budget=0.01)
    assert calls == ["fast", "slow", "fast", "fast", "fast"] and outputs["slow"] == 2
    assert len(results["fast"]["seconds"]) == 3 and len(results["slow"]["seconds"]) == 1
    assert results["slow"]["median"] >= 0.05 > results["fast"]["median"]
    calls.clear()
    compare({"fast": lambda: calls.append("fast"), "slow": slow}, CPU, runs=2)
    assert calls == ["fast", "slow"] * 3  # the first pair warms up


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process its peak")
def test_memory_is_the_peak_above_the_start_though_it_was_given_back():
    results, _ = compare(
        {"large": lambda: torch.ones(64, 2**20).sum(), "small": lambda: torch.ones(2**10).sum()}, CPU, runs=1
    )
    assert results["large"]["mib"] == pytest.approx(256, abs=30) and results["small"]["mib"] < 30


def test_the_machine_is_named_with_rates_that_it_reaches():
    facts = machine(CPU)
    assert facts["threads"] == torch.get_num_threads() and facts["float32"] > 1e8 and facts["copy"] > 1e7


@pytest.mark.parametrize("name", [name for name in operations.OPERATIONS if name != "crf"])
def test_ours_and_plain_agree(name, tmp_path):
    """crf forks processes, which must not happen after torch has computed in threads: the command line covers it."""
    shape = operations.Shape(batch_size=2, crop_size=128, n_classes=5, height=48, width=64, backbone="resnet18")
    case = operations.build(name, shape, CPU, tmp_path / name)
    outputs = {way: function() for way, function in case.functions.items()}
    assert case.difference(outputs["ours"], outputs["plain"]) <= case.tolerance


def test_the_command_prints_every_way_and_writes_json(tmp_path):
    done = bench("--run", "is_cam", "crf", "cam_file", "--json", tmp_path / "bench.json")
    assert done.returncode == 0, done.stderr
    rows = [line.split()[:2] for line in done.stdout.splitlines()]
    for name in ("is_cam", "crf", "cam_file"):
        assert [name, "plain"] in rows
    report = json.loads((tmp_path / "bench.json").read_text())
    ours = report["operations"]["is_cam"]["ways"]["ours"]
    assert ours["median"] > 0 and len(ours["seconds"]) == 1 and report["operations"]["is_cam"]["bytes"] > 0


def test_results_that_differ_are_refused(monkeypatch, tmp_path, capsys):
    from bench import __main__ as command

    wrong = operations.Case({"ours": lambda: 1.0, "plain": lambda: 1.5}, lambda one, other: abs(one - other), 0.1)
    monkeypatch.setitem(operations.OPERATIONS, "is_cam", lambda *_: wrong)
    with pytest.raises(command.UserError, match="is_cam: ours and plain differ by 0.5"):
        command.time_operations(["is_cam"], operations.Shape(), CPU, 1, 1.0, {"float32": 1e9, "copy": 1e9})


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--device", "cuda"), "error: --device cuda: PyTorch finds no GPU here"),
        (("--present", 6), "error: --present 6: the background and at least one of 5 classes"),
        (("--crop_size", 64), "error: --crop_size 64: IRN's pairs need 76 pixels or more"),
        (("--run", "nothing"), "error: argument --run: invalid choice: 'nothing'"),
    ],
)
def test_bad_arguments_get_one_line(script, arguments, message):
    done = script("bench/__main__.py", *SMALL, *arguments)
    assert done.status == 2 and done.err.startswith(message) and len(done.err.splitlines()) == 1


def test_training_stages_report_rates_of_the_step_its_encoder_and_the_loader(tmp_path):
    done = bench("--stages", "--run", "train_aesipe", "--images", 4, "--json", tmp_path / "bench.json")
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "bench.json").read_text())["stages"]
    assert list(row) == ["train_aesipe"]  # no export asked for: no other network is needed
    assert all(row["train_aesipe"][key] > 0 for key in ("images_per_second", "encoder", "loading", "floor"))
    assert "VOC 2012 with the paper's settings at these rates, hours: train_aesipe" in done.stdout


def test_growth_is_drawn(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(growth, "SIDES", (64, 128))
    monkeypatch.setattr(growth, "CLASSES", (5, 9))
    monkeypatch.setattr(growth, "NAMES", ("is_cam",))
    shape = operations.Shape(batch_size=1, crop_size=64, n_classes=5)
    report = growth.plot_growth(tmp_path, shape, CPU, runs=1)
    assert [row[0] for row in report["side"]["is_cam"]] == [64, 128]
    assert [row[0] for row in report["classes"]["is_cam"]] == [5, 9]
    assert (tmp_path / "growth.png").stat().st_size > 5000 and "pixels^" in capsys.readouterr().out


def test_what_users_wait_for_is_timed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(start, "STAGES", ())
    times = start.time_start(None, 1, n_images=20)
    assert set(times) == {
        "python -c pass",
        "predict.py --help",
        "export.py --help",
        "app.py --help",
        "first look at 20 images",
        "later look at 20 images",
        *(
            f"{what}, {how}"
            for how in ("verified", "not verified")
            for what in ("checkpoint of 240 MB", "CAMs of 500 x 375, 3 classes", "labels of 500 x 375")
        ),
    }
    assert min(times.values()) > 0 and "1.0 times python -c pass" in capsys.readouterr().out


def test_start_refuses_a_config_that_does_not_run(monkeypatch):
    monkeypatch.setattr(start, "TOOLS", ())
    monkeypatch.setattr(start, "STAGES", ())
    with pytest.raises(UserError, match="none.yaml: cannot be read"):
        start.time_start("none.yaml", 1, n_images=20)


def test_start_refuses_a_run_that_was_not_finished(monkeypatch, tmp_path):
    (tmp_path / "run_pipeline.sh").write_text("echo 'aesipe: 3/250 [00:01, 1.1step/s]' >&2\n")
    monkeypatch.setattr(start, "ROOT", tmp_path)
    with pytest.raises(UserError, match="its run was not finished"):
        start._call_finished("demo.yaml")
