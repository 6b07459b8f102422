"""Whatever is wrong with archives and hosts: one line that names it, status 2, and no file written elsewhere."""

import io
import tarfile
from pathlib import Path

import pytest
from miniature import TEST, cut, full, refused

from data.extract import extract
from errors import UserError
from voc12.sources import SOURCES


@pytest.mark.parametrize("kind, by", [("voc", 0.6), ("voc", 0.001), ("sbd", 0.6), ("test", 0.6), ("test", 0.001)])
def test_archives_cut_short(archives, prepare, kind, by):
    path = archives.archives / SOURCES[kind].name
    cut(path, by)
    done = prepare(archives.root, "--sources", archives.archives)
    assert done.status == 2 and done.err.splitlines()[-1].startswith(f"error: {path}: ")
    assert "cut short or damaged: delete it and fetch" in done.err.splitlines()[-1]
    if kind == "test":  # which has no official sum: reading it to its end finds it out
        assert not (archives.root / "lists/test.txt").exists()
    else:
        assert f"its MD5 is not {SOURCES[kind].md5}" in refused(done, archives.root)


def test_an_archive_whose_stream_is_cut_short_is_found_out_without_a_sum(archives, prepare, monkeypatch):
    path = archives.archives / SOURCES["sbd"].name
    cut(path, 0.6)
    monkeypatch.setattr("data.sources._verify", lambda source, archive: None)
    refused(prepare(archives.root, "--sources", archives.archives), archives.root, path, "cannot be read to its end")


def member(name, content=b"x" * 99, **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, io.BytesIO(content)


IMAGES = "VOCdevkit/VOC2012/JPEGImages"
HOSTILE = {
    "climbs out": [member(f"{IMAGES}/../../../../escaped.jpg")],
    "climbs out at once": [member("../escaped.jpg")],
    "absolute": [member("/tmp/escaped.jpg")],
    "link out, then a file through it": [
        member(IMAGES, b"", type=tarfile.SYMTYPE, linkname="../../../.."),
        member(f"{IMAGES}/2008_000001.jpg"),
    ],
    "absolute link": [member(f"{IMAGES}/2008_000001.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
    "link within": [member(f"{IMAGES}/2008_000001.jpg", b"", type=tarfile.SYMTYPE, linkname="2008_000004.jpg")],
    "hard link": [member(f"{IMAGES}/2008_000001.jpg", b"", type=tarfile.LNKTYPE, linkname="../../etc/passwd")],
    "device": [member(f"{IMAGES}/2008_000001.jpg", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5)],
    "huge": [member(f"{IMAGES}/2008_000001.jpg", bytes(65 << 20))],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives(tmp_path, kind):
    path, root = tmp_path / SOURCES["test"].name, tmp_path / "set"
    with tarfile.open(path, "w") as archive:
        for info, content in HOSTILE[kind]:
            archive.addfile(info, content)
    with pytest.raises(UserError) as caught:
        extract(path, root, SOURCES["test"].wanted)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert "is unsafe, not the official archive" in said or (kind == "absolute" and "holds none of the files" in said)
    assert not Path("/tmp/escaped.jpg").exists() and [*tmp_path.rglob("*.jpg")] == []


def test_an_archive_of_something_else(archives, prepare):
    path = archives.archives / SOURCES["test"].name
    with tarfile.open(path, "w") as archive:
        archive.addfile(*member("holiday/2008_000001.jpg"))
    done = prepare(archives.root, "--sources", archives.archives)
    assert done.status == 2 and "holds none of the files VOCdevkit/VOC2012/" in done.err.splitlines()[-1]


def test_a_tree_on_another_disk_is_followed_but_no_file_is_written_through_a_link(archives, prepare, tmp_path):
    (tmp_path / "large_disk").mkdir()
    archives.root.mkdir()
    (archives.root / "VOCdevkit").symlink_to(tmp_path / "large_disk")
    (archives.root / IMAGES).mkdir(parents=True)
    (tmp_path / "mine").write_text("mine")
    (archives.root / f"{IMAGES}/{TEST[0]}.jpg").symlink_to(tmp_path / "mine")
    assert prepare(archives.root, "--sources", archives.archives).status == 0
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / f"large_disk/VOC2012/JPEGImages/{TEST[0]}.jpg").is_file()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://no-such-host.invalid"])
def test_a_host_that_is_down(official, prepare, url):
    done = prepare(official.root, "--download", "--mirror", url)
    name = SOURCES["voc"].name
    refused(
        done,
        official.root,
        f"{url.rstrip('/')}/{name}: cannot be fetched (",
        f"fetch it on another machine and put it into {official.root} as {name}",
    )


def test_where_a_host_is_down_the_next_address_is_tried(archives, prepare, mirror, monkeypatch):
    ours, down = SOURCES["voc"], "http://127.0.0.1:9/voc.tar"
    monkeypatch.setitem(SOURCES, "voc", ours._replace(url=down, others=(f"{mirror}/none.tar", f"{mirror}/{ours.name}")))
    monkeypatch.setitem(SOURCES, "sbd", SOURCES["sbd"]._replace(url=f"{mirror}/{SOURCES['sbd'].name}"))
    done = prepare(archives.root, "--download")
    assert done.status == 0, done.err
    said = [line.split()[1] for line in done.out.splitlines() if line.startswith("downloading")]
    assert said[:3] == [down, f"{mirror}/none.tar", f"{mirror}/{ours.name}"]


def test_where_every_host_is_down_all_are_named(archives, prepare, mirror, monkeypatch):
    others = (f"{mirror}/none.tar",)
    monkeypatch.setitem(SOURCES, "voc", SOURCES["voc"]._replace(url="http://127.0.0.1:9/voc.tar", others=others))
    done = prepare(archives.root, "--download")
    refused(
        done,
        archives.root,
        "http://127.0.0.1:9/voc.tar: cannot be fetched (",
        f"{mirror}/none.tar: cannot be fetched (HTTP Error 404: File not found): fetch it on another machine",
    )


def test_a_download_of_something_else(archives, prepare, mirror):
    (archives.archives / SOURCES["sbd"].name).write_text("not found, but status 200")
    done = prepare(archives.root, "--download", "--mirror", mirror)
    refused(done, archives.root, f"{mirror}/benchmark.tgz: cannot be fetched (its MD5 is not {SOURCES['sbd'].md5})")
    assert not (archives.root / "benchmark.tgz").exists() and (archives.root / "VOCdevkit").is_dir()


def test_a_mirror_that_lacks_the_file(archives, prepare, mirror):
    (archives.archives / SOURCES["voc"].name).unlink()
    done = prepare(archives.root, "--download", "--mirror", mirror)
    refused(done, archives.root, "cannot be fetched (HTTP Error 404: File not found)")


@pytest.mark.parametrize("mirror", ["ftp://host/x", "/data/mirror"])
def test_a_mirror_that_is_no_web_address(official, prepare, mirror):
    refused(prepare(official.root, "--download", "--mirror", mirror), official.root, "must start with http://")


def test_a_full_disk_while_downloading(official, prepare, monkeypatch):
    monkeypatch.setattr("data.sources._download", full)
    done = prepare(official.root, "--download")
    refused(done, official.root, official.root / SOURCES["voc"].name, "cannot be written: No space left on device")


def test_a_full_disk_while_extracting(archives, prepare, monkeypatch):
    monkeypatch.setattr("shutil.copyfileobj", full)
    done = prepare(archives.root, "--sources", archives.archives)
    refused(done, archives.root, archives.root / "VOCdevkit", "cannot be written: No space left on device")
    monkeypatch.undo()
