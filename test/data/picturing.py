"""Pictures on disk and as tensors."""

import struct

import torch
from PIL import Image


def save(photo, path, orientation=None, **options):
    """orientation: in its EXIF data. A PNG is packed in haste."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    photo.save(path, exif=exif, compress_level=1, **options)


def mean_difference(one, other):
    return (one.float() - other.float()).abs().mean()


def chw(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)


def write_tiff(path, values, bits, width, photometric=1):
    """Grey, uncompressed and little endian, of any number of bits: Pillow writes few of them."""
    tags = [
        (256, width),
        (257, len(values)),
        (258, bits),
        (259, 1),
        (262, photometric),
        (273, 8 + 2 + 9 * 12 + 4),
        (277, 1),
        (278, len(values)),
        (279, values.nbytes),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(struct.pack("<4sIH", b"II*\0", 8, len(tags)) + entries + bytes(4) + values.tobytes())
