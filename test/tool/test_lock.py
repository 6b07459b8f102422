import os
import signal
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# A driver: takes the lock on its descriptor 9, says so, and starts a stage that inherits it.
DRIVER = 'exec 9<>"$1"; "$0" -m tool.lock 9 "$1" || exit; echo held; sleep 60 & wait'


def driver(path):
    return subprocess.Popen(
        ["bash", "-c", DRIVER, sys.executable, path],
        cwd=REPOSITORY,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_the_second_driver_is_told_who_holds_the_run_until_the_last_of_its_processes_ends(tmp_path):
    path = tmp_path / "run" / ".lock"
    path.parent.mkdir()
    first = driver(path)
    assert first.stdout.readline() == "held\n"
    second = driver(path)
    out, err = second.communicate(timeout=60)
    assert second.returncode == 2 and out == "" and len(err.splitlines()) == 1
    assert err.startswith(f"error: {path.parent} is in use by process {first.pid} of ") and "session_name" in err
    first.kill()  # its stage lives on
    first.wait()
    assert driver(path).wait(timeout=60) == 2
    os.killpg(first.pid, signal.SIGKILL)
    third = driver(path)
    assert third.stdout.readline() == "held\n"
    os.killpg(third.pid, signal.SIGKILL)
    third.communicate()
    first.communicate()
