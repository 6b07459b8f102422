import sys
import time

import pytest

from progress import progress_bar


def states(text):
    return [state for state in text.replace("\n", "\r").split("\r") if state.strip()]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_bar_in_a_file_is_written_seldom_but_at_its_begin_and_end(monkeypatch, capsys, terminal):
    """Found: ten times a second, 50 MB a day."""
    monkeypatch.setenv("STAGE_NUMBER", "3/11")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    for _ in progress_bar("make_cam", range(50)):
        time.sleep(0.01)
    first, *between, last = states(capsys.readouterr().err)
    assert first.startswith("3/11 make_cam:   0%") and last.startswith("3/11 make_cam: 100%") and "50/50" in last
    assert bool(between) == terminal


def test_tqdms_monitor_does_not_write_a_late_bar_sooner(capsys):
    with progress_bar("make_cam", total=9) as bar:
        assert bar.maxinterval == bar.mininterval == 30
