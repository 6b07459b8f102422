"""Small files that would fill the memory, the disk or the day: refused at once, in one line that names them."""

import gzip
import io
import re
import struct
import tarfile
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import data.extract
from data.collect import collect
from data.extract import extract
from data.image import MAX_PIXELS, image_size, open_image, read_image
from data.label_png import read_label_png
from data.layout import Layout
from data.xml_tree import parse_xml
from errors import UserError
from voc12.annotations import read_annotation
from voc12.masks import read_mask


def refusal(call, *arguments):
    """The one line with which a call refuses, within seconds."""
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert time.monotonic() - began < 5 and "\n" not in str(caught.value)
    return str(caught.value)


def zeros(size):
    """That many zero bytes, a multiple of a MiB, as parts of a raw deflate stream: one part again and again."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (size >> 20) * (stream.compress(bytes(1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH))


def packed_zeros(size):
    """That many zero bytes as a whole zlib stream."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = stream.compress(bytes(size % (1 << 20))) + stream.flush()
    return b"\x78\xda" + zeros(size) + end + struct.pack(">HH", size % 65521, 1)


# Images


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks, mode=0, rows=None):
    header = struct.pack(">IIBBBBB", width, height, 8, mode, 0, 0, 0)
    pixels = packed_zeros((width + 1) * height) if rows is None else rows
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + b"".join(chunks)
        + png_chunk(b"IDAT", pixels)
        + png_chunk(b"IEND", b"")
    )


def encoded(kind, size=(6, 4)):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, kind)
    return file.getvalue()


def claimed(kind, width, height):
    """A file of a few bytes whose header claims a size."""
    if kind == "png":
        return png(width, height)
    data = bytearray(encoded({"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind)))
    if kind == "jpg":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">HH", height, width)
    elif kind == "gif":
        data[6:10] = struct.pack("<HH", width, height)
    elif kind == "bmp":
        data[18:26] = struct.pack("<II", width, height)
    elif kind == "tif":
        for tag, value in ((256, width), (257, height)):
            start = data.index(struct.pack("<H", tag), struct.unpack_from("<I", data, 4)[0])
            data[start : start + 12] = struct.pack("<HHII", tag, 4, 1, value)
    elif kind == "webp":
        return (
            b"RIFF"
            + struct.pack("<I", 22)
            + b"WEBPVP8X"
            + struct.pack("<I", 10)
            + b"\2\0\0\0"
            + struct.pack("<I", width - 1)[:3]
            + struct.pack("<I", height - 1)[:3]
            + b"ANIM\6\0\0\0\0\0\0\0\0\0"
        )
    elif kind == "ppm":
        return b"P6 %d %d 255\n" % (width, height)
    return bytes(data)


def test_a_png_of_30000_by_30000_zeros_is_refused_everywhere(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(30_000, 30_000))
    assert path.stat().st_size < 1 << 20
    for read in (image_size, read_image, read_label_png, read_mask, lambda path: read_image(path, at_least=(10, 10))):
        line = refusal(read, path)
        assert line.startswith(f"{path}: ") and line.endswith(
            f"it is 30000 x 30000, 900000000 pixels, and at most {MAX_PIXELS} are taken: shrink it"
        )


@pytest.mark.parametrize(
    "kind, size",
    [
        ("png", 65_000),
        ("jpg", 65_000),
        ("gif", 65_000),
        ("bmp", 65_000),
        ("tif", 65_000),
        ("webp", 16_383),
        ("ppm", 65_000),
    ],
)
def test_headers_that_claim_what_the_file_cannot_hold(tmp_path, kind, size):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(claimed(kind, size, size))
    assert path.stat().st_size < 2000 or kind == "png"  # which really holds its pixels, in 4 MB
    for read in (image_size, read_image):
        line = refusal(read, path)
        assert line.startswith(f"{path}: cannot be decoded as an image: ")
        assert (f"{size} x {size}" in line and "shrink it" in line) or kind == "webp"


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tif", "ppm"])
def test_the_bound_is_the_bound(tmp_path, kind):
    """So that the test above refuses for the size, and 50 megapixels pass."""
    path = tmp_path / f"a.{kind}"
    path.write_bytes(claimed(kind, 10_000, 5_000))
    assert image_size(path) == (5_000, 10_000) and MAX_PIXELS == 10_000 * 5_000
    path.write_bytes(claimed(kind, 10_000, 5_001))
    assert "at most 50000000 are taken" in refusal(image_size, path)


@pytest.mark.parametrize("width", [6_000, 10_000, 13_000, 30_000])
def test_pil_never_warns_of_its_own_bound(tmp_path, width):
    """Its warning, from 89 megapixels on, names neither the file nor what to do."""
    path = tmp_path / "a.png"
    path.write_bytes(claimed("png", width, 10_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refusal(read_image, path)


def text_chunks():
    huge = packed_zeros(200 << 20)
    return {
        "zTXt": png_chunk(b"zTXt", b"Comment\0\0" + huge),
        "iTXt": png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + huge),
        "iCCP": png_chunk(b"iCCP", b"profile\0\0" + huge),
    }


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP"])
def test_chunks_that_unpack_to_200_megabytes(tmp_path, kind):
    path = tmp_path / "a.png"
    path.write_bytes(png(6, 4, text_chunks()[kind]))
    tracemalloc.start()
    try:
        for read in (read_image, read_label_png):
            assert re.search(r"a\.png: cannot be decoded as .*too large", refusal(read, path))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # of PIL, about TIFF's tags
def test_images_cut_short_are_one_line_wherever_they_end(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    for keep in sorted({*range(0, 60, 3), *np.linspace(60, len(whole) * 0.9, 20).astype(int).tolist()}):
        path.write_bytes(whole[:keep])
        line = refusal(read_image, path)
        assert line.startswith(f"{path}: cannot be decoded as an image: "), keep


def test_files_that_pil_would_hand_to_another_program_are_no_images(tmp_path):
    """It gives EPS to Ghostscript, whatever the file's suffix."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n%%EOF\n")
    with Image.open(path) as picture:
        assert picture.format == "EPS"
    assert "cannot be decoded as an image: cannot identify" in refusal(read_image, path)
    for suffix in ("ico", "icns", "psd", "fits"):
        with pytest.raises(UserError):
            with open_image(tmp_path / f"a.{suffix}"):
                pass


# XML

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMBS = {
    "billion laughs": f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]>'
    "<annotation><object><name>&l9;</name></object></annotation>",
    "quadratic": f'<!DOCTYPE a [<!ENTITY x "{"x" * 50_000}">]><annotation><object><name>{"&x;" * 50_000}</name>'
    "</object></annotation>",
    "a file": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object>'
    "</annotation>",
    "an address": '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><annotation/>',
    "a parameter": '<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]><annotation/>',
    "depth": "<annotation>" + "<part>" * 200_000,
    "size": "<annotation>" + " " * (4 << 20) + "</annotation>",
    "an encoding that is none": '<?xml version="1.0" encoding="rot13"?><annotation/>',
    "control characters": "<annotation><object><name>\0</name></object></annotation>",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_xml_that_grows_or_reads_other_files(tmp_path, kind):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "JPEGImages/a.jpg")
    path = tmp_path / "Annotations/a.xml"
    path.write_text(BOMBS[kind])
    lines = {refusal(read_annotation, path), refusal(collect, tmp_path, "xml")}
    assert len(lines) == 1 and lines.pop().startswith(f"{path}: cannot be read as an annotation: ")
    assert not (tmp_path / "image_labels.txt").exists()
    if "DOCTYPE" in BOMBS[kind]:
        assert "DTDForbidden" in refusal(parse_xml, path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1", "cp1252"])
def test_annotations_in_usual_encodings_are_read(tmp_path, encoding):
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?>\n'
        "<a><!-- c --><object><name> Vögel &amp; &#233;</name></object></a>"
    )
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    assert parse_xml(tmp_path / "a.xml").findtext("object/name") == " Vögel & é"


# MATLAB

HEADER = b"MATLAB 5.0 MAT-file".ljust(124, b" ") + b"\x00\x01IM"


def element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(kind, shape, body=b"", name=b"", flags=0):
    return element(
        14,
        element(6, struct.pack("<II", kind | flags, 0))
        + element(5, struct.pack(f"<{len(shape)}i", *shape))
        + element(1, name)
        + body,
    )


def gtcls(*fields, names=(b"Segmentation",), shape=(1, 1)):
    body = element(5, struct.pack("<i", 16)) + element(1, b"".join(name.ljust(16, b"\0") for name in names))
    return HEADER + matrix(2, shape, body + b"".join(fields), b"GTcls")


def nested(depth):
    head = element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<ii", 1, 1)) + element(1, b"")
    parts, size = [], 0
    for _ in range(depth):
        parts.append(struct.pack("<II", 14, len(head) + size) + head)
        size += len(head) + 8
    return b"".join(reversed(parts))


def compressed(data):
    packed = zlib.compress(data, 9)
    return HEADER + struct.pack("<II", 15, len(packed)) + packed


PIXELS = element(2, bytes(8))
MATS = {
    "a large file": HEADER + bytes(1 << 20),
    "zeros": HEADER + element(15, packed_zeros(100 << 20)),
    "a huge array of zeros": compressed(matrix(9, (6_000, 6_000), element(2, bytes(36_000_000)), b"GTcls")),
    "many small bombs": HEADER + 40 * compressed(matrix(9, (1000, 1000), element(2, bytes(1_000_000)), b"x"))[128:],
    "cells that are not there": HEADER + matrix(1, (50_000, 50_000), b"", b"GTcls"),
    "structs that are not there": gtcls(shape=(30_000, 30_000)),
    "cells in a field": gtcls(matrix(1, (2_000_000_000, 2_000_000_000))),
    "numbers that are not there": gtcls(matrix(9, (60_000, 60_000), PIXELS)),
    "numbers without an element": gtcls(matrix(9, (2, 4))),
    "cells in cells": gtcls(nested(10_000)),
    "a type that does not exist": gtcls(matrix(9, (2, 4), element(999, bytes(8)))),
    "a class that does not exist": gtcls(matrix(77, (2, 4), PIXELS)),
    "an object": HEADER + matrix(3, (1, 1), element(1, b"evil"), b"GTcls"),
    "a function": HEADER + matrix(16, (1, 1), matrix(9, (1, 1), PIXELS), b"GTcls"),
    "a negative shape": gtcls(matrix(9, (-1, -1), PIXELS)),
    "a size beyond the end": gtcls(struct.pack("<II", 14, 1 << 30)),
    "a size that lies within": HEADER + matrix(1, (1, 1), struct.pack("<II", 14, 8) + nested(3), b"GTcls"),
    "version 4": struct.pack("<5i", 0, 50_000, 50_000, 0, 6) + b"GTcls\0",
}


@pytest.mark.parametrize("kind", MATS)
def test_matlab_files_that_claim_what_they_lack(tmp_path, kind):
    path = tmp_path / "a.mat"
    path.write_bytes(MATS[kind])
    line = refusal(read_mask, path)
    assert line.startswith(f"{path}: cannot be read as a mask of SBD (")
    assert line.endswith("extract benchmark.tgz again")


@pytest.mark.parametrize(
    "value",
    [
        np.array([[{"a": 1}]], object),
        {"Segmentation": np.array([[np.ones(3), "x"]], object)},
        {"Segmentation": {"Segmentation": 1}},
        {"Segmentation": "text"},
        {"Segmentation": np.ones((3, 3))},
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_matlab_files_of_objects_are_no_masks(tmp_path, value, packed):
    savemat(tmp_path / "a.mat", {"GTcls": value}, do_compression=packed)
    assert re.search(
        r"a\.mat: cannot be read .*\((it has no struct GTcls|GTcls\.Segmentation is no)",
        refusal(read_mask, tmp_path / "a.mat"),
    )


@pytest.mark.parametrize(
    "content",
    [
        gtcls(matrix(9, (2, 4), element(2, bytes(range(8))))),
        compressed(
            gtcls(
                matrix(9, (2, 4), element(2, bytes(range(8)))),
                matrix(
                    1,
                    (1, 2),
                    element(14, b"")
                    + matrix(5, (3, 3), element(5, bytes(4)) + element(5, bytes(16)) + element(9, bytes(8))),
                ),
                names=(b"Segmentation", b"Boundaries"),
            )[128:]
        ),
    ],
)
def test_masks_made_the_same_way_are_read(tmp_path, content):
    """So that the files above are refused for what is wrong with them."""
    (tmp_path / "a.mat").write_bytes(content)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.mat"), np.arange(8).reshape(4, 2).T)


# Archives

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


def test_masks_and_images_above_the_bound_do_not_reach_a_layout(tmp_path):
    for folder in ("JPEGImages", "SegmentationClass", "lists"):
        (tmp_path / folder).mkdir()
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    (tmp_path / "JPEGImages/a.jpg").write_bytes(claimed("jpg", 65_000, 65_000))
    (tmp_path / "SegmentationClass/a.png").write_bytes(claimed("png", 65_000, 65_000))
    layout = Layout(tmp_path)
    for read in (layout.size, layout.image, layout.mask):
        assert "65000 x 65000" in refusal(read, "a")
