"""Masks of SBD that claim what they lack: refused at once, in one line that names them."""

import re
import struct
import zlib

import numpy as np
import pytest
from bombs import packed_zeros, refusal
from scipy.io import savemat

from voc12.masks import read_mask

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
