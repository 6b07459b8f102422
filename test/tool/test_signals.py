"""A process that waits for another, and is told to stop."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing import SignalException

from tool import launch
from tool.signals import run_to_its_end, stop_signals

REPOSITORY = Path(__file__).resolve().parents[2]
# Notes each signal, and takes a moment to save after the first of them, as a stage does.
CHILD = """
import signal, sys, time
from pathlib import Path
came = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: came.append(signal.Signals(number).name))
Path("started").touch()
while not came:
    time.sleep(0.02)
time.sleep(0.6)
Path("saved").write_text(" ".join(came))
sys.exit(143)
"""
PARENT = """
import sys
from pathlib import Path
from tool.config import run_main
from tool.signals import run_to_its_end
run_main(lambda: run_to_its_end([sys.executable, "-c", sys.argv[1]], Path(sys.argv[2])))
"""
# Steps of a dilated convolution on a CPU while another process sends signals.
STORM = """
import os, signal, time
import torch
from tool.config import run_main

def train(steps=12):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(320, 128, 3, padding=18, dilation=18)
    images = torch.randn(4, 320, 16, 16)
    for _ in range(steps):
        layer(images).square().mean().backward()
    return layer.weight.grad

def main():
    quiet, came, parent = train(), [], os.getpid()
    signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
    if not os.fork():
        while os.getppid() == parent:
            os.kill(parent, signal.SIGUSR1)
            time.sleep(0.0005)
        os._exit(0)
    stormy = train()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert torch.equal(stormy, quiet) and came

run_main(main)
"""


def test_the_exit_status_is_the_commands(tmp_path):
    assert run_to_its_end(["bash", "-c", "pwd > here; exit 3"], tmp_path) == 3
    assert Path((tmp_path / "here").read_text().strip()) == tmp_path.resolve()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_told_to_stop_saves_before_its_parent_ends(tmp_path, number):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, tmp_path],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (tmp_path / "started").exists():
        time.sleep(0.02)
    os.killpg(parent.pid, number)  # as a terminal does; the command is in another session
    _, err = parent.communicate(timeout=30)
    assert parent.returncode == 130 and err.splitlines() == [
        "stopped; what is finished stays, run it again to continue"
    ]
    assert (tmp_path / "saved").read_text() == number.name


def test_the_handlers_are_set_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ZeroDivisionError), stop_signals() as received:
        signal.raise_signal(signal.SIGTERM)
        assert received == [signal.SIGTERM]
        1 / 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_signals_do_not_damage_what_is_computed():
    """They did on a CPU with AVX-512: see `tool.signals.handle_on_own_stack`."""
    done = subprocess.run(
        [sys.executable, "-c", STORM],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONFAULTHANDLER": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_launcher_that_is_told_to_stop_does_not_end_as_one_that_is_done(monkeypatch, number):
    """Else the driver would begin the next stage."""

    def stopped(_):
        raise SignalException("stopped", number)

    monkeypatch.setattr(launch.run, "run", stopped)
    monkeypatch.setattr(sys, "argv", ["tool.launch", "make_cam.py"])
    with pytest.raises(SystemExit) as ended:
        launch.main()
    assert ended.value.code == 128 + number
