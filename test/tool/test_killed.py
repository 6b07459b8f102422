"""Processes that end as no program wants to."""

import subprocess
import sys
from pathlib import Path

import pytest
from scripts import error_lines
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
    assert sum(step > 0 for step in reached) >= 5  # after these kills the next process had somewhere to continue from
    expected = weights(tmp_path / "whole")
    for run in (tmp_path / "parts").iterdir():
        assert_equal(expected, weights(run))
        assert sorted(path.name for path in (run / "ckpt").iterdir()) == ["tiny.pt"]


def two_processes(run, how):
    """What distributed.py says on stderr, and its status."""
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
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr, done.returncode


def saved_before(run):
    """The step of the newest state, whose weights are finite."""
    saved = StateFolder(run / "ckpt/tiny_state").newest("cpu")
    assert all(value.isfinite().all() for value in saved["model"].values())
    return saved["step"]


def test_two_processes_end_with_the_error_of_the_one_that_fails_and_go_on(tmp_path):
    said, status = two_processes(tmp_path, "killed")
    assert status == 1 and saved_before(tmp_path) in (2, 4)
    assert error_lines(said)[-1].startswith("error: process 1 was killed by SIGKILL") and len(error_lines(said)) <= 3
    said, status = two_processes(tmp_path, "again")
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path))
    assert status == 2 and saved_before(tmp_path / "nan") in (2, 4)
    assert "error: step 6: the loss is nan at learning rate" in said


@pytest.mark.slow  # what fails is found above too, but for the order of the lines
def test_bad_input_of_one_process_is_named_before_the_process(tmp_path):
    said, status = two_processes(tmp_path, "bad")
    assert status == 2 and saved_before(tmp_path) in (2, 4)
    assert "error: photo.jpg: cannot be decoded" in said
    assert error_lines(said)[-1].startswith("error: process 1 ended with status 2") and len(error_lines(said)) <= 3
