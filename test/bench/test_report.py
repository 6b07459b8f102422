"""The report of a machine: its rows, what becomes of one that fails, and what is written of them."""

import csv
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from scripts import REPOSITORY

from bench import report, runs
from bench.__main__ import get_parser
from bench.report import Row, known, make_report, peak_rate, plan, run_row, write_report
from bench.stages import STAGES, count_synchronisations
from bench.training import TRAINED
from errors import UserError

SAVE = "import sys; from pathlib import Path; from tool.json_file import save_json; save_json(Path(sys.argv[1]), {})"


def python(code, name="row", limit=60):
    return Row(name, ("-c", code, "{out}"), limit, "twice")


def test_a_gpu_gets_every_stage_in_every_precision(tmp_path):
    rows = plan(tmp_path, "cuda", ["--batch_size", "16"], 16, processes=6)
    names = [row.name for row in rows]
    assert len(names) == len(set(names))
    for precision in ("bfloat16", "tf32", "float32"):
        assert [f"{stage}-{precision}" for stage in STAGES] == [row.name for row in rows if row.variant == precision]
    for variant in ("float16", "compile"):
        assert [f"{stage}-{variant}" for stage in TRAINED] == [row.name for row in rows if row.variant == variant]
    for stage in report.SCALED:
        assert [row.processes for row in rows if (row.stage, row.variant) == (stage, "strong")] == [1, 2, 4, 6]
        assert [row.command[-2] for row in rows if (row.stage, row.variant) == (stage, "weak")] == ["32", "64", "96"]
    assert not [row for row in plan(tmp_path, "cuda", [], 16, processes=1) if row.kind == "scaling"]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_rows_commands_are_understood(tmp_path, device):
    for row in plan(tmp_path, device, ["--crop_size", "96", "--images", "4"], 4, processes=2):
        module, words = row.command[1], row.command[2:]
        if module == "bench":
            args = get_parser().parse_args(words)
            assert args.json == Path("{out}") and args.device == device and args.crop_size == 96
            assert args.compile == (row.variant == "compile")
            assert args.precision in (None, "auto", row.variant)
        else:
            stage, out, what, *numbers = words[1:]
            assert module == "bench.runs" and out == "{out}" and stage in report.SCALED
            assert len(numbers) == {"scaling": 3, "twice": 0}[what] and callable(getattr(runs, what))


def test_a_row_that_fails_says_why_and_the_next_goes_on(tmp_path, monkeypatch, capsys):
    rows = [
        python("print('error: no memory'); raise SystemExit(2)", "broken"),
        python(SAVE.replace("{}", "{'same': True}"), "fine"),
    ]
    monkeypatch.setattr(report, "plan", lambda *_: rows)
    assert make_report(tmp_path, "cpu", [], 4, 1) == ["broken"]
    assert known(tmp_path, rows[0])["error"] == "status 2: error: no memory"
    assert known(tmp_path, rows[1])["result"] == {"same": True}
    text = (tmp_path / "report.md").read_text()
    assert "| broken |  | status 2: error: no memory |" in text and "| fine | True |  |" in text
    assert "2 of 2 rows were run, 1 of them failed" in text
    assert "1 of 2 rows failed" in capsys.readouterr().out


def test_a_report_goes_on_where_it_stopped(tmp_path, monkeypatch):
    count = tmp_path / "count"
    code = f"open({str(count)!r}, 'a').write(sys.argv[2]); sys.exit(2) if sys.argv[2] == 'b' else None"
    rows = [Row(name, ("-c", f"{SAVE}; {code}", "{out}", name), 60, "twice") for name in "ab"]
    monkeypatch.setattr(report, "plan", lambda *_: rows)
    for _ in range(2):
        assert make_report(tmp_path, "cpu", [], 4, 1) == ["b"]
    assert count.read_text() == "abb"  # what is done is not done again, what failed is
    rows[0] = Row("a", ("-c", f"{SAVE}; {code}", "{out}", "c"), 60, "twice")  # as with other sizes
    assert known(tmp_path, rows[0]) == {}
    make_report(tmp_path, "cpu", [], 4, 1)
    assert count.read_text() == "abbcb"
    (tmp_path / "rows/a.json").write_text("{")
    assert known(tmp_path, rows[0]) == {}


def test_a_row_that_hangs_is_ended_with_what_it_has_started(tmp_path):
    sleep = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleep!r}])"
    kept = run_row(tmp_path, python(child, limit=3))
    assert kept["error"] == "took more than 3 s" and kept["seconds"] < 30
    grandchild = int((tmp_path / "rows/row.txt").read_text())
    time.sleep(0.2)
    state = Path(f"/proc/{grandchild}/stat")
    assert not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_report_that_is_told_to_stop_leaves_no_process(tmp_path):
    code = (
        "from bench import report; from bench.report import Row; "
        "report.plan = lambda *_: [Row('row', ('-c', 'import time; time.sleep(60)'), 90, 'twice')]; "
        f"report.make_report({str(tmp_path)!r}, 'cpu', [], 4, 1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "== row\n"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (child := children.read_text().split()):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(child[0]), 0)


def stage_row(name, stage, variant, **values):
    return Row(name, (), 1, "stage", stage, variant), {
        "command": [],
        "seconds": 1.0,
        "result": {"machine": {"device": "NVIDIA H100 80GB HBM3"}, "stages": {stage: values}},
    }


def test_shares_of_the_peak_efficiency_and_the_pipelines_hours_are_written(tmp_path, monkeypatch):
    found = dict(
        [
            stage_row("t", "train_aesipe", "bfloat16", images_per_second=1000.0, operations=98.9e9, synchronisations=3),
            stage_row("f", "train_aesipe", "float32", images_per_second=10.0, operations=98.9e9),
            stage_row("c", "make_cam", "float32", images_per_second=67.0, operations=1e12),
            stage_row("d", "deeplab_train", "compile", images_per_second=1.0),
        ]
    )
    found[Row("train_aesipe-strong-1", (), 1, "scaling", "train_aesipe", "strong", 1)] = {
        "seconds": 1.0,
        "result": {"images_per_second": 100.0},
    }
    found[Row("train_aesipe-weak-4", (), 1, "scaling", "train_aesipe", "weak", 4)] = {
        "seconds": 1.0,
        "result": {"images_per_second": 300.0},
    }
    monkeypatch.setattr(report, "known", lambda folder, row: found[row])
    write_report(tmp_path, list(found))
    with open(tmp_path / "report.csv") as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert float(rows["t"]["share_of_peak"]) == pytest.approx(0.1) and rows["t"]["synchronisations"] == "3"
    assert float(rows["c"]["share_of_peak"]) == pytest.approx(1.0)  # of float32's 67
    assert rows["d"]["share_of_peak"] == ""  # its operations cannot be counted
    assert float(rows["train_aesipe-weak-4"]["efficiency"]) == pytest.approx(0.75)
    text = (tmp_path / "report.md").read_text()
    # 52,910 images at the rate of 16 bits, though float32 was measured later; CAMs at float32's
    assert f"| train_aesipe | {52_910 / 1000 / 3600:.2f} |" in text
    assert f"| make_cam | {10_582 / 67 / 3600:.2f} |" in text
    assert "not measured: make_ir_labels, train_irn, make_seg_labels, deeplab_train, deeplab_test." in text


@pytest.mark.parametrize(
    "card, precision, teraflops",
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989),
        ("NVIDIA H100 PCIe", "float16", 756),
        ("NVIDIA A100-SXM4-40GB", "tf32", 156),
        ("NVIDIA A10", "float32", 31.2),
        ("Tesla T4", "float16", 65),
        ("Tesla T4", "bfloat16", None),
        ("Tesla V100-PCIE-16GB", "float16", 112),
        ("Tesla V100-SXM2-16GB", "tf32", None),
        ("NVIDIA GeForce RTX 3090", "bfloat16", 71),
        ("NVIDIA GeForce RTX 3090 Ti", "bfloat16", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bfloat16", None),
        ("AMD EPYC", "float32", None),
    ],
)
def test_published_peaks_are_found_by_the_cards_name(card, precision, teraflops):
    assert peak_rate(card, precision) == (teraflops and teraflops * 1e12)


def test_synchronisations_are_counted_and_the_mode_is_set_back():
    modes = []

    def step():
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation (function warn_or_error_on_sync)", stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    assert count_synchronisations(step, modes.append) == 3 and modes == ["warn", "default"]
    with pytest.raises(ZeroDivisionError):
        count_synchronisations(lambda: 1 / 0, modes.append)
    assert modes == ["warn", "default"] * 2


def test_a_training_on_several_processes_that_fails_says_why(tmp_path):
    with pytest.raises(UserError, match=r"deeplab_train on 1: error: .*nowhere"):
        (tmp_path / "bench.yaml").write_text(
            f"common: {{dataset_root: {tmp_path}/nowhere, run_root: {tmp_path}, weights: none}}\n"
        )
        runs.scaling(str(tmp_path / "bench.yaml"), "deeplab_train", 1, 4, 20)


@pytest.mark.slow
def test_the_whole_report_runs_on_a_cpu_at_toy_size(tmp_path):
    environment = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = ["bash", str(REPOSITORY / "bench/gpu.sh"), str(tmp_path), "--device", "cpu"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(tmp_path / "report.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(plan(tmp_path, "cpu", [], 4, 2)) and not [row for row in rows if row["error"]]
    for row in rows:
        assert row["images_per_second"] or row["kind"] in ("operations", "twice")
        if row["stage"] in TRAINED and row["kind"] == "stage":
            assert float(row["forecast"]) == pytest.approx(float(row["peak"]), rel=0.2)
    assert next(row["same_bits"] for row in rows if row["kind"] == "twice") == "True"
    again = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0 and "==" not in again.stdout  # all is there


@pytest.mark.slow
def test_the_row_of_the_compiled_step_runs(tmp_path):
    """With the compiler off: what it makes needs a minute; here it is the row that is tried."""
    sizes = "--backbone resnet18 --crop_size 96 --batch_size 4 --n_classes 5 --height 60 --width 80 --images 4 --runs 1"
    row = next(row for row in plan(tmp_path, "cuda", sizes.split(), 4, 1) if row.name == "train_aesipe-compile")
    words = ["cpu" if word == "cuda" else word.format(out=tmp_path / "out.json") for word in row.command]
    environment = {**os.environ, "TORCHDYNAMO_DISABLE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and (tmp_path / "out.json").exists(), done.stderr
    assert not torch.cuda.is_available()
