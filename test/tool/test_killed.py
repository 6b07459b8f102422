"""Processes that end as no program wants to."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_training import assert_equal, weights

from tool.checkpoint import StateFolder

HERE = Path(__file__).resolve().parent


def test_training_killed_at_random_moments_ends_bitwise_as_one_that_was_not(tmp_path):
    """Kills fall into steps, into the writing of states and into their removal."""
    done = subprocess.run(
        [sys.executable, HERE / "killed.py", tmp_path / "whole", tmp_path / "parts", "0"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    reached = [int(word) for word in done.stdout.splitlines()[-1].split()]
    assert sum(step > 0 for step in reached) >= 5  # after these kills the next process had somewhere to go on from
    expected = weights(tmp_path / "whole")
    for run in (tmp_path / "parts").iterdir():
        assert_equal(expected, weights(run))
        assert sorted(path.name for path in (run / "ckpt").iterdir()) == ["tiny.pt"]


def two_processes(run, how):
    command = [
        sys.executable,
        "-m",
        "tool.launch",
        "--standalone",
        "--nproc_per_node=2",
        HERE / "distributed.py",
        run,
        how,
    ]
    began = time.monotonic()
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=120)
    return done, time.monotonic() - began


@pytest.mark.parametrize(
    "how, status, message",
    [
        ("killed", 1, "error: process 1 was killed by SIGKILL"),
        ("nan", 2, "error: step 6: the loss is nan at learning rate"),
        pytest.param(
            "bad", 2, "error: photo.jpg: cannot be decoded", marks=pytest.mark.slow
        ),  # as nan, in all but the error
    ],
)
def test_a_process_that_ends_ends_the_others_with_its_error(tmp_path, how, status, message):
    done, seconds = two_processes(tmp_path, how)
    assert done.returncode == status and seconds < 60
    assert message in done.stderr and "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (len(errors) <= 3 and errors[-1].startswith("error: process 1 ")) or how == "nan"
    saved = StateFolder(tmp_path / "ckpt/tiny_state").newest("cpu")
    assert saved["step"] in (2, 4) and all(value.isfinite().all() for value in saved["model"].values())
    if how == "killed":
        again, _ = two_processes(tmp_path, "well")
        assert again.returncode == 0, again.stderr
        assert_equal(weights(tmp_path / "whole"), weights(tmp_path))
