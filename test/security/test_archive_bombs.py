"""Archives that would fill the disk or the day: refused at once, in one line that names them."""

import gzip
import tarfile
import zlib

import pytest
from bombs import refusal, zeros

import data.extract
from data.extract import extract

WANTED = r"set/\w+\.jpg"


def header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def write_zeros(path, head, size):
    """A .tgz of a header and zeros, of a thousandth of their size."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    path.write_bytes(b"\x1f\x8b\x08" + bytes(7) + stream.compress(head) + stream.flush(zlib.Z_FULL_FLUSH) + zeros(size))


@pytest.mark.parametrize(
    "head, message",
    [
        (header("set/a.jpg", 300 << 20), "set/a.jpg is 314572800 bytes"),
        (header("other/a.jpg", 17 << 30), "it unpacks to more than 17179869184 bytes"),
        (header("x", 300 << 20, tarfile.GNUTYPE_LONGNAME), "a header claims 314572800 bytes"),
        (header("x", 300 << 20, tarfile.XHDTYPE), "a header claims 314572800 bytes"),
        (header("x", 300 << 20, tarfile.XGLTYPE), "a header claims 314572800 bytes"),
    ],
)
def test_a_small_archive_of_zeros_is_refused_at_once(tmp_path, head, message):
    path = tmp_path / "a.tgz"
    write_zeros(path, head, 300 << 20)
    assert path.stat().st_size < 1 << 20
    line = refusal(extract, path, tmp_path / "out", WANTED)
    assert line == f"{path}: is unsafe, not the official archive, and was not unpacked further: {message}" + (
        " or 200000 files" if "unpacks" in message else ""
    )
    assert not (tmp_path / "out").exists()


def write_tar(path, *members):
    with gzip.open(path, "wb", compresslevel=1) as file:
        for name, size in members:
            file.write(header(name, size) + bytes(size + -size % 512))
        file.write(bytes(1024))


@pytest.mark.parametrize("bound, value", [("TOTAL", 3500), ("MOST", 3)])
def test_the_bound_is_on_all_members_together_also_those_that_nobody_wants(tmp_path, monkeypatch, bound, value):
    path = tmp_path / "a.tgz"
    write_tar(path, ("set/a.jpg", 1000), ("other", 1000), ("set/b.jpg", 1000), ("set/c.jpg", 1000))
    extract(path, tmp_path / "whole", WANTED)
    assert {file.name for file in (tmp_path / "whole/set").iterdir()} == {"a.jpg", "b.jpg", "c.jpg"}
    monkeypatch.setattr(data.extract, bound, value)
    assert f"{path}: is unsafe" in refusal(extract, path, tmp_path / "part", WANTED)
    assert not (tmp_path / "part/set/c.jpg").exists()


@pytest.mark.parametrize(
    "content",
    [
        header("x", 10, tarfile.XHDTYPE) * 9 + bytes(512),
        b"".join(header("x", 16, tarfile.GNUTYPE_LONGNAME) + bytes(512) for _ in range(5000)),
        header("x", 8192, tarfile.XHDTYPE) + b"1" * 8192,
        header("x", 20, tarfile.XHDTYPE)
        + b"20 size=99999999999\n".ljust(512, b"\0")
        + header("set/a.jpg", 5)
        + bytes(512),
        header("x", 16, tarfile.XHDTYPE) + b"16 size=-999999\n".ljust(512, b"\0") + header("set/a.jpg", 5) + bytes(512),
        header("set/a.jpg", 5)[:124] + b"\x80" + b"\xff" * 11 + header("set/a.jpg", 5)[136:],
    ],
)
def test_headers_of_headers_and_sizes_that_are_none(tmp_path, content):
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress(content))
    assert refusal(extract, path, tmp_path / "out", WANTED).startswith(f"{path}: ")
    assert not (tmp_path / "out").exists()
