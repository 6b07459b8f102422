"""SBD's masks: GTcls.Segmentation of MATLAB files of version 5, from whom nobody knows.

SciPy would read all of such a file, and of one that is made for it takes hours, gigabytes or the process's end. So only
the way to the mask is followed here, and what lies beside it is passed over by its size.
"""

import struct
import zlib
from itertools import islice

import numpy as np

from errors import UserError
from files import check_file

LARGEST = 1 << 20  # bytes of a file; SBD's have some 10 KB
LARGEST_UNPACKED = 16 << 20
MATRIX, COMPRESSED, BYTES = 14, 15, 2  # types of elements
STRUCT, UINT8 = 2, 9  # classes of matrices


def read_sbd(path):
    """SBD's category mask uint8 [H,W] of a MATLAB file. Raises UserError if it holds none."""
    check_file(path)
    try:
        with open(path, "rb") as file:
            return _find_mask(file.read(LARGEST + 1))
    except (OSError, ValueError, IndexError, struct.error, zlib.error) as error:
        raise UserError(f"{path}: cannot be read as a mask of SBD ({error}): extract benchmark.tgz again") from error


def _find_mask(content):
    if len(content) > LARGEST or content[124:128] != b"\x00\x01IM":
        raise ValueError(f"it is no MATLAB file of version 5 and at most {LARGEST} bytes")
    for kind, data in _elements(content[128:], alignment=1):
        if kind == COMPRESSED:
            stream = zlib.decompressobj()
            data = stream.decompress(data, LARGEST_UNPACKED)
            if not stream.eof:
                raise ValueError(f"it unpacks to more than {LARGEST_UNPACKED} bytes or is cut short")
            ((kind, data),) = islice(_elements(data), 1)
        if kind == MATRIX:
            array_class, shape, name, rest = _matrix(data)
            if (array_class, shape, name) == (STRUCT, (1, 1), b"GTcls"):
                return _mask(_field(rest, b"Segmentation"))
    raise ValueError("it has no struct GTcls")


def _elements(data, alignment=8):
    """Yields (type, bytes) of the elements that fill data."""
    position = 0
    while position < len(data):
        kind, size = struct.unpack_from("<II", data, position)
        start = position + 8
        if kind >> 16:  # a small one: type, size and up to four bytes in the place of a head
            kind, size, start, end = kind & 0xFFFF, kind >> 16, position + 4, start
        else:
            end = start + size + -size % alignment
        if start + size > end or end > len(data):
            raise ValueError("an element is cut short")
        yield kind, data[start : start + size]
        position = end


def _matrix(data):
    """(class, shape, name, the elements that follow) of a matrix."""
    elements = _elements(data)
    (_, flags), (_, shape), (_, name) = islice(elements, 3)
    return flags[0], struct.unpack(f"<{len(shape) // 4}i", shape), name, elements


def _field(elements, name):
    """The matrix that is a field of a struct. elements: what follows the struct's name."""
    (_, length), (_, names) = islice(elements, 2)
    length = int.from_bytes(length, "little")
    place = names.find(name.ljust(length, b"\0")) if len(name) < length <= 64 else -1
    if place < 0 or place % length:
        raise ValueError(f"its struct GTcls has no field {name.decode()}")
    ((_, data),) = islice(elements, place // length, place // length + 1)
    return data


def _mask(data):
    array_class, shape, _, rest = _matrix(data)
    if array_class != UINT8 or len(shape) != 2 or min(shape) < 1:
        raise ValueError("GTcls.Segmentation is no uint8 array [H,W]")
    ((kind, pixels),) = islice(rest, 1)
    if kind != BYTES:
        raise ValueError("GTcls.Segmentation holds no bytes")
    return np.frombuffer(pixels, np.uint8).reshape(shape, order="F")
