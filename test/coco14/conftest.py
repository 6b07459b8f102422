"""Fixtures: the miniature of COCO 2014 on disk, and the command line that prepares it."""

import hashlib
from types import SimpleNamespace

import pytest
from coco_miniature import SMALL, make_trees, pack
from serving import SilentHandler, served

from coco14.classes import COUNTS
from coco14.sources import SOURCES


@pytest.fixture
def official(tmp_path, monkeypatch):
    """base: a folder with the extracted trees. root: where the set is to be."""
    monkeypatch.setattr("files._flush_to_disk", lambda path: None)  # no power cut here
    monkeypatch.setattr("os.sync", lambda: None)
    monkeypatch.setattr("data.sources.shutil.disk_usage", lambda path: SimpleNamespace(free=100 * 10**9))
    for name, count in SMALL.items():
        monkeypatch.setitem(COUNTS, name, count)
    make_trees(tmp_path / "trees")
    return SimpleNamespace(base=tmp_path / "trees", root=tmp_path / "set")


@pytest.fixture
def archives(official, tmp_path, monkeypatch):
    """The same packed, as official.archives, with the sums of these archives in place of the official ones."""
    official.archives = tmp_path / "downloads"
    pack(official.base, official.archives)
    for name, source in SOURCES.items():
        md5 = hashlib.md5((official.archives / source.name).read_bytes()).hexdigest()
        monkeypatch.setitem(SOURCES, name, source._replace(md5=md5))
    return official


class Handler(SilentHandler):
    """A host that gives parts of files, and hangs up after `most` bytes of one."""

    most = None
    asked: list = []  # noqa: RUF012

    def do_GET(self):
        path = self.translate_path(self.path)
        with open(path, "rb") as file:
            content = file.read()
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.asked.append((self.path, start))
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.most])


@pytest.fixture
def mirror(archives):
    """A server on this machine that hands out the archives: url, and handler."""
    handler = type("Handler", (Handler,), {"asked": []})
    with served(archives.archives, handler) as url:
        yield SimpleNamespace(url=url, handler=handler)


@pytest.fixture
def dataset_kind():
    """Of prepare_dataset.py, for the fixture `prepare`."""
    return "coco14"
