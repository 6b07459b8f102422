"""Stages that share out their work, on several processes: gloo stands for NCCL, and two launchers for two machines."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from scripts import REPOSITORY, call, copy_run, error_lines

from infer.segmentation import load_deeplab
from tool.checkpoint import load_state
from tool.dist import Dist
from tool.run import Run
from tool.settings import DeeplabTrain
from tool.stages import BY_NAME
from viz.watch import watch_labels

EXPORTS = {  # stage -> the folders that it writes
    "make_cam": ("ae_is_cam", "is_cam", "cam"),
    "make_ir_labels": ("ir_label",),
    "make_seg_labels": ("seg_label",),
    "deeplab_test": ("deeplab/val", "deeplab/val_crf"),
}
TRAININGS = {"train_aesipe": "aesipe", "train_irn": "irn"}  # DeepLabV3's batch norm sees each process's share alone
pytestmark = pytest.mark.slow


@pytest.fixture
def unmade(finished, tmp_path):
    """unmade(STAGE): a copy of the finished run without what the stage makes, and the flags to run it with."""

    def make(stage, name="demo"):
        copy = tmp_path / name
        copy_run(finished.run, copy)
        for folder in EXPORTS.get(stage, ()):
            shutil.rmtree(copy / folder)
        (copy / f"ckpt/{TRAININGS.get(stage)}.pt").unlink(missing_ok=True)
        return copy, ["--config", finished.run / "config.yaml", "--run_root", tmp_path, "--session_name", name]

    return make


def launch(stage, flags, processes, nodes=1, script=None):
    """Start a stage, or a script in its place, by torchrun, with the processes shared out between so many machines.
    Returns the launchers."""
    variables = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launchers = []
    for node in range(nodes):
        where = [f"--nnodes={nodes}", f"--node_rank={node}", "--master_addr=127.0.0.1", f"--master_port={port}"]
        words = ["-m", "tool.launch", *where, f"--nproc_per_node={processes // nodes}"]
        words += [script or BY_NAME[stage].script, *flags]
        launchers.append(
            subprocess.Popen(
                [sys.executable, *map(str, words)],
                cwd=REPOSITORY,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return launchers


def finish(launchers):
    for launcher in launchers:
        out, err = launcher.communicate(timeout=300)
        assert launcher.returncode == 0, err[-3000:]
        yield out


def made_files(run, stage):
    """{file: bytes} of what an export has made of images."""
    paths = [path for folder in EXPORTS[stage] for path in (run / folder).iterdir() if path.name != "settings.yaml"]
    return {path.relative_to(run): path.read_bytes() for path in paths}


@pytest.mark.parametrize("stage, processes, nodes", [
    ("make_cam", 8, 1), ("make_ir_labels", 4, 1), ("make_seg_labels", 4, 2), ("deeplab_test", 2, 1),
])  # fmt: skip
def test_an_export_is_the_same_on_any_number_of_processes(finished, unmade, stage, processes, nodes):
    """Bit for bit, though thirteen images, and four, cannot be shared out evenly."""
    run, flags = unmade(stage)
    said = "".join(finish(launch(stage, flags, processes, nodes)))
    assert made_files(run, stage) == made_files(finished.run, stage)
    if stage != "make_ir_labels":
        assert said.count(f"{stage}: on CPU (1 threads) in float32, {processes} processes") == 1


LATE = """
import sys, time
sys.path.insert(0, {repository!r})
import make_ir_labels
from tool.config import run_main
from tool.run import Run

def late(self, name, record, claim=Run.claim):
    time.sleep(2)
    claim(self, name, record)

Run.claim = late
run_main(make_ir_labels.main)
"""


def test_no_process_writes_before_the_first_has_claimed_the_folder(finished, unmade, tmp_path):
    """Found: a first process that came late took the others' outputs for ones without a record, and refused them."""
    run, flags = unmade("make_ir_labels")
    (tmp_path / "late.py").write_text(LATE.format(repository=str(REPOSITORY)))
    list(finish(launch("make_ir_labels", flags, 2, script=tmp_path / "late.py")))
    assert made_files(run, "make_ir_labels") == made_files(finished.run, "make_ir_labels")


def test_a_machine_that_waits_in_vain_for_the_first_says_so():
    words = ["--nnodes=2", "--node_rank=1", "--master_addr=127.0.0.1", "--master_port=9", "--rdzv_conf=timeout=3"]
    done = subprocess.run(
        [sys.executable, "-m", "tool.launch", *words, "make_cam.py"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 2 and "the first machine does not answer" in error_lines(done.stderr)[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("stage, processes, nodes", [("train_aesipe", 8, 1), ("train_irn", 4, 2)])
def test_a_training_is_the_same_on_any_number_of_processes(unmade, stage, processes, nodes):
    """Up to the order of summation: the batch is the same, in shares of an image and two."""
    flags = ["--batch_size", 8, "--val_every", 0][: 2 if stage == "train_irn" else None]
    (run, where), (alone, alone_where) = unmade(stage), unmade(stage, "alone")
    list(finish(launch(stage, [*where, *flags], processes, nodes)))
    done = call(BY_NAME[stage].script, *alone_where, *flags)
    assert done.status == 0, done.err
    one, other = (load_state(each / f"ckpt/{TRAININGS[stage]}.pt")["model"] for each in (alone, run))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=1e-4, rtol=1e-3, msg=lambda text: f"{name}: {text}")


def test_deeplab_trains_and_is_watched_on_two_processes(finished, unmade):
    """Its batch norm sees each process's share alone here, so the weights are not those of one process. The mIoU is of
    the images of both."""
    run, flags = unmade("deeplab_train")
    (run / "ckpt/deeplab.pt").unlink()
    list(finish(launch("deeplab_train", [*flags, "--val_every", 2], 2)))
    weights = load_state(run / "ckpt/deeplab.pt")["model"]
    assert all(value.isfinite().all() for value in weights.values())
    logged = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    (watched,) = (line["val"] for line in logged if line["stage"] == "deeplab" and "val" in line)
    alone, said = Dist(0, 1, torch.device("cpu")), []
    log = SimpleNamespace(validation=lambda step, scores: said.append(scores), picture=lambda *given: None)
    settings = DeeplabTrain(val_every=2)
    model = load_deeplab(Run(run), finished.layout.n_classes, alone.device)
    watch_labels(finished.layout, settings, None, alone)(2, model, log)
    assert len(finished.layout.ids("val")) == 4 and watched == pytest.approx(said[0], abs=1e-3)


@pytest.mark.parametrize("stage, labels", [("train_irn", "ir_label"), ("deeplab_train", "seg_label")])
def test_a_label_that_one_process_misses_ends_them_all_with_its_line(finished, unmade, stage, labels):
    run, flags = unmade(stage)
    (run / "ckpt/deeplab.pt").unlink(missing_ok=True)
    lost, before = run / f"{labels}/{finished.layout.ids('train_aug')[1]}.png", (run / "config.yaml").read_bytes()
    lost.unlink()
    (launcher,) = launch(stage, [*flags, "--seed", 5], 2)
    err = launcher.communicate(timeout=300)[1]
    said = [line for line in error_lines(err) if str(lost) in line]
    assert launcher.returncode == 2 and "Traceback" not in err
    assert len(said) == 1 and said[0].startswith(f"error: {lost}: is missing: run "), err
    assert (run / "config.yaml").read_bytes() == before


def test_switches_that_leave_parameters_out_train_on_two_processes(unmade):
    """Found: DDP stopped at the second step. In parts, the first of which it must be told of too."""
    run, flags = unmade("train_aesipe")
    list(finish(launch("train_aesipe", [*flags, "--val_every", 0, "--sequence", "pamr", "--accumulate", 2], 2)))
    assert (run / "ckpt/aesipe.pt").exists()


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(count, folder):
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.npz"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_that_is_slow_is_waited_for_and_one_that_is_killed_costs_what_it_had_in_hand(finished, unmade):
    run, flags = unmade("make_cam")
    (launcher,) = launch("make_cam", flags, 2)
    wait_for(1, run / "ae_is_cam")
    slow, killed = children(launcher.pid)
    os.kill(slow, signal.SIGSTOP)
    time.sleep(3)
    assert launcher.poll() is None
    os.kill(killed, signal.SIGKILL)
    os.kill(slow, signal.SIGCONT)
    err = launcher.communicate(timeout=120)[1]
    assert launcher.returncode != 0 and "was killed by SIGKILL" in err
    assert call("make_cam.py", *flags).status == 0
    assert made_files(run, "make_cam") == made_files(finished.run, "make_cam")
