"""SBD's masks: MATLAB files of version 5 from whom nobody knows.

SciPy reads them, but takes hours, gigabytes or the process's end for some that are made for it: for arrays that claim
to be huge, cells in cells, and types that do not exist. So what a file holds is walked through before, in full.
"""

import io
import math
import struct
import zlib

import numpy as np

from errors import UserError
from files import check_file

LARGEST = 1 << 20  # bytes of a file; SBD's have some 10 KB
LARGEST_UNPACKED = 16 << 20
DEEPEST = 5  # matrices inside each other; SBD's: a struct, a cell, a sparse matrix
MATRIX, COMPRESSED = 14, 15
DATA = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18)  # types of elements that hold numbers or letters
CELL, STRUCT, CHARACTERS, SPARSE, NUMBERS = 1, 2, 4, 5, range(6, 16)  # classes of matrices
COMPLEX = 0x0800  # of a matrix's flags


def read_sbd(path):
    """SBD's category mask uint8 [H,W]: GTcls.Segmentation of a MATLAB file. Raises UserError if it is not that."""
    from scipy.io import loadmat  # here, so that --help need not wait for SciPy

    check_file(path)
    try:
        with open(path, "rb") as file:
            content = unpacked(file.read(LARGEST + 1))
        content = loadmat(io.BytesIO(content), variable_names=["GTcls"])
    except Exception as error:  # damaged files raise anything from OSError to TypeError and zlib.error
        raise UserError(
            f"{path}: cannot be read as a MATLAB file ({' '.join(str(error).split())}): extract benchmark.tgz again"
        ) from error
    truth = content.get("GTcls")
    if (
        not isinstance(truth, np.ndarray)
        or truth.dtype.names is None
        or "Segmentation" not in truth.dtype.names
        or truth.size != 1
    ):
        raise UserError(f"{path}: has no struct GTcls with a field Segmentation: is it a file of SBD's folder cls?")
    labels = truth.reshape(-1)[0]["Segmentation"]
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or not labels.size or labels.dtype != np.uint8:
        raise UserError(f"{path}: GTcls.Segmentation is no uint8 array [H,W]: is it a file of SBD's folder cls?")
    return labels


def unpacked(content):
    """The bytes of a MATLAB file with its compressed parts unpacked. Raises ValueError if they are not safe to read."""
    if len(content) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    if len(content) < 128 or content[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise ValueError("it is of no known version")
    order = "<" if content[126:128] == b"IM" else ">"
    parts, left = [content[:128]], LARGEST_UNPACKED
    for kind, data in _elements(content[128:], order, aligned=False):
        if kind == COMPRESSED:
            stream = zlib.decompressobj()
            part = stream.decompress(data, left)
            if not stream.eof:
                raise ValueError(f"it unpacks to more than {LARGEST_UNPACKED} bytes or is cut short")
            inner = list(_elements(part, order))
            if len(inner) != 1:
                raise ValueError("a compressed part holds more than one matrix")
            kind, data = inner[0]
        else:
            part = struct.pack(order + "II", kind, len(data)) + data
        if kind != MATRIX:
            raise ValueError(f"it holds an element of type {kind} where a matrix belongs")
        _check_matrix(data, order)
        left -= len(part)
        parts.append(part)
        if left <= 0:
            raise ValueError(f"it unpacks to more than {LARGEST_UNPACKED} bytes")
    return b"".join(parts)


def _elements(data, order, aligned=True):
    """Yields (type, bytes) of the elements that fill data. Raises ValueError if they do not."""
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise ValueError("an element is cut short")
        kind, size = struct.unpack_from(order + "II", data, position)
        if kind >> 16:  # a small one: type, size and up to four bytes in the place of a head
            kind, size, start, end = kind & 0xFFFF, kind >> 16, position + 4, position + 8
            if size > 4:
                raise ValueError("an element is cut short")
        else:
            start = position + 8
            end = start + size + (-size % 8 if aligned else 0)
        if end > len(data):
            raise ValueError("an element is cut short")
        yield kind, data[start : start + size]
        position = end


def _check_matrix(data, order, depth=1):
    """ValueError unless a matrix holds what its head says; then SciPy's memory is bounded by the file's size."""
    if not data:  # how MATLAB writes an empty one inside of others
        return
    if depth > DEEPEST:
        raise ValueError(f"its matrices are nested more than {DEEPEST} times")
    elements = list(_elements(data, order))
    if [kind for kind, _ in elements[:3]] != [6, 5, 1] or len(elements[0][1]) != 8 or len(elements[1][1]) % 4:
        raise ValueError("a matrix has no head")
    flags, shape = struct.unpack_from(order + "I", elements[0][1])[0], elements[1][1]
    shape = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    if not 2 <= len(shape) <= 32 or min(shape) < 0:
        raise ValueError(f"a matrix has the shape {list(shape)}")
    number, kind, rest = math.prod(shape), flags & 0xFF, elements[3:]
    if kind == STRUCT:
        number *= _count_fields(rest, order)
        rest = rest[2:]
    if kind in (CELL, STRUCT):
        if len(rest) != number or any(each != MATRIX for each, _ in rest):
            raise ValueError(f"an array of {number} matrices holds {len(rest)}")
        for _, inner in rest:
            _check_matrix(inner, order, depth + 1)
        return
    needed = {CHARACTERS: 1, SPARSE: 3}.get(kind, 1 if kind in NUMBERS else None)
    if needed is None:
        raise ValueError(f"it holds a matrix of class {kind}")
    if len(rest) < needed + bool(flags & COMPLEX) or any(each not in DATA for each, _ in rest):
        raise ValueError(f"a matrix of class {kind} lacks its numbers")


def _count_fields(elements, order):
    """Number of names in the first two elements of a struct: the length of each, and all of them."""
    if [kind for kind, _ in elements[:2]] != [5, 1] or len(elements[0][1]) != 4:
        raise ValueError("a struct has no names")
    length = struct.unpack(order + "i", elements[0][1])[0]
    if length < 1 or len(elements[1][1]) % length:
        raise ValueError("a struct's names are cut short")
    return len(elements[1][1]) // length
