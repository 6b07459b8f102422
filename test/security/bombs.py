"""Small files that claim or hold more than fits, and the look at how they are refused."""

import struct
import time
import zlib

import pytest

from errors import UserError


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
