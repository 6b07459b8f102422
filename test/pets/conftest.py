"""Fixtures: the miniature of Oxford-IIIT Pet on disk, and the command line that prepares it."""

import hashlib
from types import SimpleNamespace

import pytest
from pets_miniature import SMALL, make_tree, pack

from pets.prepare import COUNTS
from pets.sources import SOURCES


@pytest.fixture
def official(tmp_path, monkeypatch):
    """base: the extracted tree. root: where the set is to be."""
    monkeypatch.setattr("files._flush_to_disk", lambda path: None)  # no power cut here
    monkeypatch.setattr("os.sync", lambda: None)
    monkeypatch.setattr("data.sources.shutil.disk_usage", lambda path: SimpleNamespace(free=9 * 10**9))
    for part, count in SMALL.items():
        monkeypatch.setitem(COUNTS, part, count)
    make_tree(tmp_path / "oxford-iiit-pet")
    return SimpleNamespace(base=tmp_path / "oxford-iiit-pet", root=tmp_path / "set")


@pytest.fixture
def archives(official, tmp_path, monkeypatch):
    """The same packed, as official.archives, with the sums of these archives in place of the official ones."""
    official.archives = tmp_path / "downloads"
    pack(official.base, official.archives)
    official.sums = {
        path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in official.archives.glob("*.tar.gz")
    }
    for key, source in SOURCES.items():
        monkeypatch.setitem(SOURCES, key, source._replace(md5=official.sums[source.name]))
    return official


@pytest.fixture
def dataset_kind():
    """Of prepare_dataset.py, for the fixture `prepare`."""
    return "pets"
