"""Unpacking an archive, and the power cut that comes at the worst moment."""

import os
import zipfile
from types import SimpleNamespace

import pytest

from data.extract import extract
from data.sources import Source, locate
from errors import UserError

MEMBERS = {"tree/a.jpg": b"a" * 99, "tree/b.jpg": b"b" * 99}
SOURCE = Source("A set", "a.zip", "", None, "tree", r"tree/\w+\.jpg", ("*.jpg",), "")
MARK = ".a.zip.unfinished"


@pytest.fixture
def archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    return tmp_path / "a.zip"


@pytest.fixture
def settings(archive):
    return SimpleNamespace(dataset_root=str(archive.parent), sources=())


def test_members_are_flushed_together_before_the_mark_of_the_unfinished_goes(settings, tmp_path, monkeypatch):
    """One by one took nine tenths of the time."""
    flushed, at_sync = [], []
    monkeypatch.setattr("os.fsync", flushed.append)
    monkeypatch.setattr("os.sync", lambda: at_sync.append(sorted(os.listdir(tmp_path / "tree"))))
    assert locate(SOURCE, settings) == tmp_path / "tree"
    assert len(flushed) == 1 and at_sync == [[MARK], [MARK, "a.jpg", "b.jpg"]]
    assert sorted(os.listdir(tmp_path / "tree")) == ["a.jpg", "b.jpg"]


def test_what_a_power_cut_left_of_the_right_size_is_written_again(settings, tmp_path):
    locate(SOURCE, settings)
    (tmp_path / "tree/a.jpg").write_bytes(bytes(99))
    (tmp_path / "tree" / MARK).touch()
    before = os.stat(tmp_path / "tree/b.jpg").st_ino
    assert locate(SOURCE, settings) == tmp_path / "tree"
    assert {name: (tmp_path / name).read_bytes() for name in MEMBERS} == MEMBERS
    assert os.stat(tmp_path / "tree/b.jpg").st_ino == before


def test_a_member_that_is_there_and_cannot_be_read_is_named(archive, monkeypatch):
    extract(archive, archive.parent, SOURCE.wanted)
    monkeypatch.setattr(os, "access", lambda path, right: False)  # root may read all
    with pytest.raises(UserError, match="tree/a.jpg: cannot be read: Permission denied"):
        extract(archive, archive.parent, SOURCE.wanted)
