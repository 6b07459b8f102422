"""Fixtures: the miniature of VOC 2012 and SBD on disk, and the command line that prepares it."""

import hashlib
import runpy
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from miniature import REPOSITORY, SMALL, make_sbd, make_test, make_voc, pack, write_lines

from voc12.classes import COUNTS
from voc12.sources import SOURCES


@pytest.fixture
def official(tmp_path, monkeypatch):
    """Extracted trees: base (a folder to be given as a source), voc, sbd, test; root: where the set is to be."""
    trees = tmp_path / "trees"
    paths = SimpleNamespace(
        base=trees,
        voc=trees / "VOCdevkit/VOC2012",
        sbd=trees / "benchmark_RELEASE/dataset",
        test=tmp_path / "testtree/VOCdevkit/VOC2012",
        root=tmp_path / "set",
    )
    make_voc(paths.voc)
    make_sbd(paths.sbd)
    make_test(paths.test)
    for name, count in SMALL.items():
        monkeypatch.setitem(COUNTS, name, count)
    return paths


@pytest.fixture
def archives(official, tmp_path, monkeypatch):
    """The same packed, as official.archives, with the sums of these archives expected in place of the official ones."""
    folder = official.archives = tmp_path / "downloads"
    folder.mkdir()
    write_lines(official.base / "benchmark_RELEASE/BENCHMARK/readme.txt", ["code"])
    packed = {
        "voc": pack(official.base, folder / SOURCES["voc"].name, "VOCdevkit"),
        "sbd": pack(official.base, folder / SOURCES["sbd"].name, "benchmark_RELEASE"),
    }
    pack(official.test.parents[1], folder / SOURCES["test"].name, "VOCdevkit")
    for kind, path in packed.items():
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setitem(SOURCES, kind, SOURCES[kind]._replace(md5=md5))
    return official


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class SilentServer(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # torchvision asks twice and hangs up on the first answer


@pytest.fixture
def mirror(archives):
    """URL of a server on this machine that hands out the archives."""
    server = SilentServer(("127.0.0.1", 0), partial(SilentHandler, directory=archives.archives))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def prepare(monkeypatch, capsys):
    """prepare(ROOT, arguments): status, out and err of prepare_dataset.py --kind voc12."""

    def call(root, *arguments, workers=1):
        flags = ("--kind", "voc12", "--dataset_root", root, "--num_workers", workers, *arguments)
        monkeypatch.setattr(sys, "argv", ["prepare_dataset.py", *map(str, flags)])
        status = 0
        try:
            runpy.run_path(str(REPOSITORY / "prepare_dataset.py"), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        said = capsys.readouterr()
        return SimpleNamespace(status=status, out=said.out, err=said.err)

    return call
