"""CAM archives."""

import io
import struct
import zipfile

import numpy as np
import pytest
from damaging import damaged, read_or_refuse
from hypothesis import example, given, settings
from hypothesis import strategies as st

from errors import UserError
from tool.cam_file import load_cam, save_cam


@given(
    st.integers(0, 2**32),
    st.integers(1, 5) | st.just(255),
    st.integers(1, 9),
    st.integers(1, 12),
    st.sampled_from([16, 8]),
)
@settings(max_examples=40)
@example(0, 255, 1, 1, 16)
@example(0, 3, 1, 40, 8)
def test_cams_come_back(tmp_path, seed, count, h, w, bits):
    generator = np.random.default_rng(seed)
    keys = np.sort(generator.choice(255, count, replace=False))
    keys[0] = 0
    cam = generator.random((count, h, w)) * generator.choice([0, 1, 1e-3])
    save_cam(tmp_path / "a.npz", keys, cam, bits)
    read_keys, read = load_cam(tmp_path / "a.npz")
    assert np.array_equal(read_keys, keys) and read_keys.dtype == np.int64
    assert read.shape == cam.shape and read.dtype == np.float32
    assert np.abs(read - cam).max() <= (2**-12 if bits == 16 else 0.5 / 255 + 1e-6)
    assert read.min() >= 0 and read.max() <= 1


def archive(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def reseal(data, changes):
    """The archive with bytes of its members changed and their checksums right: what no zip reader can notice."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for number, name in enumerate(old.namelist()):
            member = bytearray(old.read(name))
            for which, place, value in changes:
                if which == number:
                    member[place % len(member)] = value
            new.writestr(name, bytes(member))
    return file.getvalue()


CAMS = [
    archive(keys=np.array([0, 4], np.uint8), cam=np.random.default_rng(0).random((2, 3, 5)).astype(dtype))
    for dtype in (np.float16, np.float32)
] + [archive(keys=np.array([0], np.uint8), cam=np.full((1, 2, 2), 200, np.uint8))]
CHANGES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 200), st.integers(0, 255)), max_size=4)
ODD = (
    [archive(keys=np.array([0, 1]), cam=np.zeros((2, 3, 3), dtype)) for dtype in ("c8", "U3", "M8[s]", "i8", "?", "S2")]
    + [
        archive(keys=keys, cam=np.zeros((len(keys), 3, 3)))
        for keys in (np.array([0.0, np.nan]), np.array([-1, 3]), np.array([0, 255]), np.array(["a"]), np.zeros(0, int))
    ]
    + [archive(keys=np.array([0]), cam=np.full((1, 2, 2), value)) for value in (np.nan, np.inf, 1e300)]
    + [archive(keys=np.array([0]), cam=np.zeros(shape)) for shape in ((1, 0, 3), (1, 3), (), (2, 1, 1))]
)


def check_cam(found):
    keys, cam = found
    assert keys.shape == cam.shape[:1] and cam.ndim == 3 and cam.size and np.isfinite(cam).all()
    assert keys.min() >= 0 and keys.max() <= 254 and cam.dtype == np.float32 and keys.dtype == np.int64


@given(damaged(CAMS) | st.builds(reseal, st.sampled_from(CAMS), CHANGES))
@settings(max_examples=80)
def test_damaged_cams(tmp_path, data):
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    found = read_or_refuse(load_cam, path)
    if found is not None:
        check_cam(found)


@pytest.mark.parametrize("data", ODD)
def test_cams_of_other_contents_are_refused(tmp_path, data):
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(UserError, match="a.npz: "):
        load_cam(tmp_path / "a.npz")


def test_cams_that_unpack_to_gigabytes_are_refused_packed(tmp_path):
    """The sizes stand in the zip's directory at the end, 24 bytes into the entry of a member."""
    data = bytearray(archive(keys=np.array([0], np.uint8), cam=np.zeros((1, 9, 9), np.float16)))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 3 << 30)
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(UserError, match=r"a.npz: unpacks to 3.0 GiB, more than 2 GiB"):
        load_cam(tmp_path / "a.npz")


def test_arrays_that_claim_more_than_memory_are_refused(tmp_path):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": (1, 10**8, 10**8)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
        packed.writestr("keys.npy", zipfile.ZipFile(io.BytesIO(CAMS[2])).read("keys.npy"))
        packed.writestr("cam.npy", file.getvalue())
    with pytest.raises(UserError, match="a.npz: is no whole CAM"):
        load_cam(tmp_path / "a.npz")
