"""Images that would fill the memory or the day: refused at once, in one line that names them."""

import io
import re
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from bombs import packed_zeros, refusal
from PIL import Image

from data.image import MAX_PIXELS, image_size, open_image, read_image
from data.label_png import read_label_png
from data.layout import Layout
from errors import UserError
from voc12.masks import read_mask


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


def test_masks_and_images_above_the_bound_do_not_reach_a_layout(tmp_path):
    for folder in ("JPEGImages", "SegmentationClass", "lists"):
        (tmp_path / folder).mkdir()
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    (tmp_path / "JPEGImages/a.jpg").write_bytes(claimed("jpg", 65_000, 65_000))
    (tmp_path / "SegmentationClass/a.png").write_bytes(claimed("png", 65_000, 65_000))
    layout = Layout(tmp_path)
    for read in (layout.size, layout.image, layout.mask):
        assert "65000 x 65000" in refusal(read, "a")
