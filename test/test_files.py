import os
import socket

import pytest

from errors import UserError
from files import atomic, check_file, remove_leftovers, save_lines


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_and_alone(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic(path) as temporary:
        temporary.write_text("half")
        assert not path.exists() and temporary.parent == path.parent
        temporary.write_text("whole")
    assert path.read_text() == "whole" and names(path.parent) == ["a.txt"]


@pytest.mark.parametrize(
    "error, raised",
    [
        (ZeroDivisionError(), ZeroDivisionError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), UserError),
    ],
)
def test_a_failure_leaves_neither_the_file_nor_a_temporary_one(tmp_path, error, raised):
    with pytest.raises(raised) as caught:
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error
    assert names(tmp_path) == []
    if raised is UserError:
        assert "a.txt: cannot be written: No space left on device" in str(caught.value)


def test_a_file_in_the_place_of_a_folder_is_called_so(tmp_path):
    (tmp_path / "a.md").write_text("mine")
    with pytest.raises(UserError) as error:
        save_lines(tmp_path / "a.md/b.txt", [])
    assert (
        str(error.value) == f"{tmp_path / 'a.md/b.txt'}: cannot be written: {tmp_path / 'a.md'} is a file, not a folder"
    )


def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a pipe")
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a device").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("a socket")
    for name in ("a pipe", "a folder", "a device", "a socket"):
        with pytest.raises(UserError, match=f"{name}: cannot be read: is {name}, where a file is needed"):
            check_file(tmp_path / name)
    for path, message in ((tmp_path / "circle", "symbolic links"), (tmp_path / ("n" * 999), "File name too long")):
        with pytest.raises(UserError, match=f"cannot be read: .*{message}"):
            check_file(path)
    for name in ("file", "missing", "file/missing"):
        check_file(tmp_path / name)
    monkeypatch.setattr(os, "access", lambda path, right: False)  # root may read all
    with pytest.raises(UserError, match="file: cannot be read: Permission denied"):
        check_file(tmp_path / "file")


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
