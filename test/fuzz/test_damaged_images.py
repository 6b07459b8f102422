"""Images and label PNGs."""

import io
import struct

import numpy as np
import pytest
import torch
from damaging import damaged, read_or_refuse
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.image import image_size, read_image
from data.label_png import read_label_png, save_label_png
from errors import UserError


def encoded(mode, form, **options):
    noise = np.random.default_rng(0).integers(0, 256, (11, 13, 4), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise, "RGBA").convert(mode).save(file, form, **options)
    return file.getvalue()


def with_exif(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return encoded("RGB", "JPEG", exif=exif)


IMAGES = [
    encoded("RGB", "JPEG"),
    encoded("L", "JPEG"),
    encoded("CMYK", "JPEG"),
    encoded("RGB", "JPEG", progressive=True),
    with_exif(6),
    encoded("RGBA", "PNG"),
    encoded("P", "PNG"),
    encoded("1", "PNG"),
    encoded("RGB", "TIFF"),
    encoded("RGB", "TIFF", compression="tiff_lzw"),
    encoded("P", "GIF"),
    encoded("RGB", "BMP"),
    encoded("RGB", "WEBP"),
    encoded("RGB", "PPM"),
]


@pytest.mark.filterwarnings("ignore")  # Pillow's, on what it could mend
@given(damaged(IMAGES), st.booleans())
@settings(max_examples=100)
def test_damaged_images(tmp_path, data, smaller):
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    size = read_or_refuse(image_size, path)
    image = read_or_refuse(read_image, path, (4, 4) if smaller else None)
    if image is not None:
        assert image.dtype == torch.uint8 and image.shape[0] == 3 and min(image.shape) > 0
        assert smaller or tuple(image.shape[1:]) == tuple(size)


@pytest.mark.parametrize("kind", [2, 12, 16])
@pytest.mark.parametrize("read, mode", [(read_image, "RGB"), (read_label_png, "L")])
def test_tiffs_whose_tag_is_of_another_type_are_refused(tmp_path, read, mode, kind):
    """Pillow's errors there are of types that no file should end in: TypeError and OverflowError."""
    data = bytearray(encoded(mode, "TIFF"))
    offsets = data.index(struct.pack("<HH", 273, 4))  # StripOffsets, a long
    data[offsets + 2] = kind
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UserError, match="a.png: cannot be decoded as"):
        read(tmp_path / "a.png")


LABELS = [encoded(mode, "PNG") for mode in ("P", "L", "1", "RGB")]


@given(damaged(LABELS))
@settings(max_examples=100)
def test_damaged_labels(tmp_path, data):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    labels = read_or_refuse(read_label_png, path)
    if labels is not None:
        assert labels.dtype == np.uint8 and labels.ndim == 2 and labels.size


@given(
    st.integers(0, 2**32),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 256),
    st.sampled_from([np.uint8, np.int64, np.int32]),
)
def test_labels_come_back(tmp_path, seed, h, w, top, dtype):
    labels = np.random.default_rng(seed).integers(0, top, (h, w)).astype(dtype)
    save_label_png(tmp_path / "a.png", labels)
    read = read_label_png(tmp_path / "a.png")
    assert read.dtype == np.uint8 and np.array_equal(read, labels)
