"""CAM files: what comes back, and what is refused."""

import pickle
import zipfile

import numpy as np
import pytest

from errors import UserError
from tool.cam_file import load_cam, save_cam


def test_cams_come_back_as_float32_within_half_precision(tmp_path):
    cam = np.random.default_rng(0).random((3, 11, 7))
    save_cam(tmp_path / "cam" / "a.npz", [0, 4, 254], cam)
    keys, read = load_cam(tmp_path / "cam" / "a.npz")
    assert keys.dtype == np.int64 and keys.tolist() == [0, 4, 254]
    assert read.dtype == np.float32 and read.shape == cam.shape
    assert np.abs(read - cam).max() <= 2**-11
    with np.load(tmp_path / "cam" / "a.npz", allow_pickle=False) as stored:
        assert sorted(stored) == ["cam", "keys"]
        assert stored["keys"].dtype == np.uint8 and stored["cam"].dtype == np.float16


def test_missing_cams_name_the_stage(tmp_path):
    with pytest.raises(UserError, match="a.npz: no such CAM: run make_cam.py"):
        load_cam(tmp_path / "a.npz")


def test_truncated_cams_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    save_cam(path, [0, 1], np.random.default_rng(0).random((2, 20, 30)))
    whole = path.read_bytes()
    for keep in range(0, len(whole), 101):
        path.write_bytes(whole[:keep])
        with pytest.raises(UserError, match="a.npz: is no whole CAM"):
            load_cam(path)


def test_damaged_cams_are_refused_or_read_unharmed(tmp_path):
    path = tmp_path / "a.npz"
    save_cam(path, [0, 1], np.random.default_rng(0).random((2, 20, 30)))
    whole, (keys, cam) = path.read_bytes(), load_cam(path)
    refused = 0
    for place in range(0, len(whole), 17):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            read = load_cam(path)
        except UserError:
            refused += 1
        else:  # dates and the like in the zip's headers do not matter
            assert np.array_equal(read[0], keys) and np.array_equal(read[1], cam)
    assert refused > len(whole) / 34


def write_object_arrays(path):
    np.savez(path, keys=np.array([0], np.uint8), cam=np.array([{"a": 1}], dtype=object))


def write_pickle(path):
    path.write_bytes(pickle.dumps({"keys": [0], "cam": [[[0.5]]]}))


def write_single_array(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


def write_other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")


@pytest.mark.parametrize("write", [write_object_arrays, write_pickle, write_single_array, write_other_zip])
def test_files_that_are_no_cams_are_refused(tmp_path, write):
    write(tmp_path / "a.npz")
    with pytest.raises(UserError, match="a.npz: is no whole CAM"):
        load_cam(tmp_path / "a.npz")


@pytest.mark.parametrize("keys, shape", [([0, 1], (3, 4, 4)), ([0], (4, 4)), ([[0]], (1, 4, 4))])
def test_cams_whose_parts_disagree_are_refused(tmp_path, keys, shape):
    save_cam(tmp_path / "a.npz", keys, np.zeros(shape))
    with pytest.raises(UserError, match="a.npz: holds"):
        load_cam(tmp_path / "a.npz")


def test_eight_bits_keep_a_cam_to_half_a_step_in_less_space(tmp_path):
    rng = np.random.default_rng(0)
    cam = np.stack([np.zeros((40, 50)), np.ones((40, 50)), rng.random((40, 50))])
    save_cam(tmp_path / "16.npz", [0, 3, 7], cam)
    save_cam(tmp_path / "8.npz", [0, 3, 7], cam, bits=8)
    keys, loaded = load_cam(tmp_path / "8.npz")
    assert keys.tolist() == [0, 3, 7] and loaded.dtype == np.float32
    assert np.abs(loaded - cam).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_array_equal(loaded[:2], cam[:2])
    assert (tmp_path / "8.npz").stat().st_size < 0.7 * (tmp_path / "16.npz").stat().st_size


@pytest.mark.parametrize(
    "keys, cam, message",
    [
        ([0, 21], np.zeros((2, 4, 5)), "no class numbers from 0 to 20 in order: 0 21"),
        ([0, 200], np.zeros((2, 4, 5)), "no class numbers from 0 to 20"),
        ([1, 2], np.zeros((2, 4, 5)), "no class numbers"),
        ([0, 3, 3], np.zeros((3, 4, 5)), "no class numbers"),
        ([0, 3, 2], np.zeros((3, 4, 5)), "no class numbers"),
        ([0, 1], np.zeros((2, 5, 4)), r"its maps are 4 x 5 \(width x height\), its image 5 x 4$"),
        ([0, 1], np.full((2, 4, 5), 7.0), r"values that do not lie in \[0, 1\]"),
        ([0, 1], np.full((2, 4, 5), -0.1), "values that do not lie"),
        ([0, 1], np.full((2, 4, 5), np.nan), "values that"),
    ],
)
def test_maps_that_do_not_fit_the_image_or_the_classes_are_refused(tmp_path, keys, cam, message):
    save_cam(tmp_path / "a.npz", keys, cam)
    with pytest.raises(UserError, match=f"a.npz: .*{message}"):
        load_cam(tmp_path / "a.npz", 21, (4, 5))
    save_cam(tmp_path / "a.npz", [0, 20], np.ones((2, 4, 5)))
    load_cam(tmp_path / "a.npz", 21, (4, 5))
