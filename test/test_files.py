import os

import pytest

from errors import UserError
from files import atomic, remove_leftovers


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_and_alone(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic(path) as temporary:
        temporary.write_text("half")
        assert not path.exists() and temporary.parent == path.parent
        temporary.write_text("whole")
    assert path.read_text() == "whole" and names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error, raised", [(ZeroDivisionError(), ZeroDivisionError),
                                           (KeyboardInterrupt(), KeyboardInterrupt),
                                           (OSError(28, "No space left on device"), UserError)])
def test_a_failure_leaves_neither_the_file_nor_a_temporary_one(tmp_path, error, raised):
    with pytest.raises(raised) as caught:
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error
    assert names(tmp_path) == []
    if raised is UserError:
        assert "a.txt: cannot be written: No space left on device" in str(caught.value)


def test_a_failure_keeps_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ZeroDivisionError):
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            1 / 0
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_the_data_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    """Else a power cut can leave an empty file of the right name."""
    events = []
    monkeypatch.setattr("os.fsync", lambda descriptor: events.append(("fsync", names(tmp_path))))
    monkeypatch.setattr("files.rename", lambda old, new: (events.append(("replace", new)), os.rename(old, new)))
    path = tmp_path / "a.txt"
    with atomic(path) as temporary:
        temporary.write_text("x")
    assert events == [("fsync", [temporary.name]), ("replace", path)]


def test_leftovers_of_dead_processes_go_and_those_of_live_ones_stay(tmp_path):
    mine, dead, other = (tmp_path / name for name in (f".a.npz.{os.getpid()}.tmp", ".b.npz.999999999.tmp", "c.tmp"))
    for path in (mine, dead, other):
        path.write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([mine.name, other.name])
