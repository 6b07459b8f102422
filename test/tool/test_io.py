import json
import pickle
import zipfile

import numpy as np
import pytest

from errors import UserError
from files import read_stamp
from tool.cam_file import load_cam, save_cam
from tool.io import load_json, outdated, require_outputs, save_json, save_settings
from voc12.palette import save_label_png

STAMPS = {image_id: f"{number:032x}" for number, image_id in enumerate("abcd", 1)}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        save_json(tmp_path / "file" / "a.json", {})


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


def test_json(tmp_path):
    assert load_json(tmp_path / "a.json") is None
    save_json(tmp_path / "a.json", {"a": [1, 0.5, None]})
    assert load_json(tmp_path / "a.json") == {"a": [1, 0.5, None]}
    assert json.loads((tmp_path / "a.json").read_text())["a"] == [1, 0.5, None]
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(UserError, match="a.json: is not valid JSON"):
        load_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"a": 1}')  # an earlier version's
    assert load_json(tmp_path / "a.json") == {"a": 1}


def test_a_score_that_changed_on_the_disk_is_not_believed(tmp_path):
    save_json(tmp_path / "a.json", {"miou": 0.4375})
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text().replace("0.4375", "0.6375"))
    with pytest.raises(UserError, match="a.json: .* changed since it was written: delete it and run its stage again"):
        load_json(tmp_path / "a.json")


def test_settings_of_all_stages_are_kept(tmp_path):
    save_settings(tmp_path, "make_cam", {"scales": [1.0]})
    save_settings(tmp_path, "report", {"images": 2})
    save_settings(tmp_path, "make_cam", {"scales": [2.0]})
    assert (tmp_path / "config.yaml").read_text() == "make_cam:\n  scales:\n  - 2.0\nreport:\n  images: 2\n"


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


def save(path, stamp):
    if path.suffix == ".npz":
        save_cam(path, [0, 1], np.random.default_rng(0).random((2, 9, 8)), stamp=stamp)
    else:
        save_label_png(path, np.eye(8, dtype=int), stamp)


@pytest.mark.parametrize("suffix", [".npz", ".png"])
def test_outputs_carry_what_they_were_made_from(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    assert read_stamp(path) is None
    save(path, "")
    assert read_stamp(path) == ""
    save(path, STAMPS["a"])
    assert read_stamp(path) == STAMPS["a"]
    if suffix == ".npz":
        assert load_cam(path)[0].tolist() == [0, 1]
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert read_stamp(path) is None


@pytest.mark.parametrize("suffix", [".npz", ".png"])
def test_an_output_cut_short_or_of_another_image_is_made_again_and_refused_as_input(tmp_path, suffix):
    for image_id in "abc":
        save(tmp_path / f"{image_id}{suffix}", STAMPS[image_id])
    three = {image_id: STAMPS[image_id] for image_id in "abc"}
    assert outdated(STAMPS, [tmp_path], suffix) == ["d"] and outdated(three, [tmp_path], suffix) == []
    require_outputs(three, tmp_path, suffix, "x.py")
    assert outdated({**three, "b": STAMPS["d"]}, [tmp_path], suffix) == ["b"]
    with pytest.raises(UserError, match=rf"b\{suffix}: was made from another image or other labels: run x.py"):
        require_outputs({**three, "b": STAMPS["d"]}, tmp_path, suffix, "x.py")
    path = tmp_path / f"b{suffix}"
    path.write_bytes(path.read_bytes()[:-1])
    assert outdated(STAMPS, [tmp_path], suffix) == ["b", "d"]
    with pytest.raises(UserError, match=rf"b\{suffix}: is cut short, as are 1 more of 4: run x.py for this list first"):
        require_outputs(STAMPS, tmp_path, suffix, "x.py")
    with pytest.raises(UserError, match=rf"d\{suffix}: is missing: run x.py"):
        require_outputs({image_id: STAMPS[image_id] for image_id in "ad"}, tmp_path, suffix, "x.py")


def test_an_output_must_be_whole_in_every_folder(tmp_path):
    for folder in ("one", "two"):
        save(tmp_path / folder / "a.npz", STAMPS["a"])
    save(tmp_path / "one" / "b.npz", STAMPS["b"])
    both = {image_id: STAMPS[image_id] for image_id in "ab"}
    assert outdated(both, [tmp_path / "one", tmp_path / "two"], ".npz") == ["b"]


@pytest.mark.parametrize("keys, cam, message", [
    ([0, 21], np.zeros((2, 4, 5)), "no class numbers from 0 to 20 in order: 0 21"),
    ([0, 200], np.zeros((2, 4, 5)), "no class numbers from 0 to 20"), ([1, 2], np.zeros((2, 4, 5)), "no class numbers"),
    ([0, 3, 3], np.zeros((3, 4, 5)), "no class numbers"), ([0, 3, 2], np.zeros((3, 4, 5)), "no class numbers"),
    ([0, 1], np.zeros((2, 5, 4)), r"its maps are \[5, 4\], its image \[4, 5\]"),
    ([0, 1], np.full((2, 4, 5), 7.0), r"values that do not lie in \[0, 1\]"),
    ([0, 1], np.full((2, 4, 5), -0.1), "values that do not lie"), ([0, 1], np.full((2, 4, 5), np.nan), "values that")])
def test_maps_that_do_not_fit_the_image_or_the_classes_are_refused(tmp_path, keys, cam, message):
    save_cam(tmp_path / "a.npz", keys, cam)
    with pytest.raises(UserError, match=f"a.npz: .*{message}"):
        load_cam(tmp_path / "a.npz", 21, (4, 5))
    save_cam(tmp_path / "a.npz", [0, 20], np.ones((2, 4, 5)))
    load_cam(tmp_path / "a.npz", 21, (4, 5))
