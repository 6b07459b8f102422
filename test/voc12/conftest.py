"""Fixtures: the miniature of VOC 2012 and SBD on disk, and the command line that prepares it."""

import hashlib
import os
from types import SimpleNamespace

import pytest
from miniature import SMALL, make_sbd, make_test, make_voc, pack, write_lines

from voc12.classes import COUNTS
from voc12.sources import SOURCES


@pytest.fixture(scope="session")
def shelf(tmp_path_factory):
    """A folder of trees and of the archives they come in, and what its files hold: made once, mended for each test."""
    shelf = tmp_path_factory.mktemp("shelf")
    make_voc(shelf / "trees/VOCdevkit/VOC2012")
    make_sbd(shelf / "trees/benchmark_RELEASE/dataset")
    make_test(shelf / "testtree/VOCdevkit/VOC2012")
    write_lines(shelf / "trees/benchmark_RELEASE/BENCHMARK/readme.txt", ["code"])
    (shelf / "downloads").mkdir()
    for kind, folder in (("voc", "trees"), ("sbd", "trees"), ("test", "testtree")):
        pack(shelf / folder, shelf / "downloads" / SOURCES[kind].name, SOURCES[kind].tree.split("/")[0])
    return shelf, {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()}


def mend(shelf, files):
    """What a test took away or changed comes back, and what it added goes."""
    for folder, _, names in os.walk(shelf, topdown=False):
        for path in (shelf / folder / name for name in names):
            if path.is_symlink() or path not in files:
                path.unlink()
        if not os.listdir(folder):
            os.rmdir(folder)
    for path, content in files.items():
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@pytest.fixture
def official(shelf, tmp_path, monkeypatch):
    """Extracted trees: base (a folder to be given as a source), voc, sbd, test; root: where the set is to be."""
    folder, files = shelf
    mend(folder, files)
    monkeypatch.setattr("files._flush_to_disk", lambda path: None)  # no power cut here
    monkeypatch.setattr("os.sync", lambda: None)
    for name, count in SMALL.items():
        monkeypatch.setitem(COUNTS, name, count)
    return SimpleNamespace(
        base=folder / "trees",
        voc=folder / "trees/VOCdevkit/VOC2012",
        sbd=folder / "trees/benchmark_RELEASE/dataset",
        test=folder / "testtree/VOCdevkit/VOC2012",
        root=tmp_path / "set",
    )


@pytest.fixture
def archives(shelf, official, monkeypatch):
    """The same packed, as official.archives, with the sums of these archives expected in place of the official ones."""
    official.archives = shelf[0] / "downloads"
    for kind in ("voc", "sbd"):
        md5 = hashlib.md5((official.archives / SOURCES[kind].name).read_bytes()).hexdigest()
        monkeypatch.setitem(SOURCES, kind, SOURCES[kind]._replace(md5=md5))
    return official


@pytest.fixture
def dataset_kind():
    """Of prepare_dataset.py, for the fixture `prepare`."""
    return "voc12"
