import json
import pickle
import zipfile

import numpy as np
import pytest

from errors import UserError
from tool.io import (claim_folder, is_whole, load_cam, load_json, missing_ids, require_outputs, save_cam, save_json,
                     save_settings, source_record)
from voc12.palette import save_label_png


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
    assert load_json(tmp_path / "a.json") == {"a": [1, 0.5, None]} == json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(UserError, match="a.json: is not valid JSON"):
        load_json(tmp_path / "a.json")


SETTINGS = {"lr": 0.1, "scales": [1.0, 0.5], "ae": True, "weights": None}


def test_a_folder_can_be_claimed_again_with_the_same_settings(tmp_path):
    claim_folder(tmp_path / "cam", SETTINGS)
    before = (tmp_path / "cam/settings.yaml").stat().st_mtime_ns
    claim_folder(tmp_path / "cam", dict(reversed(SETTINGS.items())))
    assert (tmp_path / "cam/settings.yaml").stat().st_mtime_ns == before
    assert names(tmp_path / "cam") == ["settings.yaml"]


@pytest.mark.parametrize("key, value", [("lr", 0.2), ("scales", [0.5, 1.0]), ("ae", False), ("weights", "x")])
def test_other_settings_are_refused_by_name(tmp_path, key, value):
    claim_folder(tmp_path / "cam", SETTINGS)
    with pytest.raises(UserError, match=rf"cam was made with other settings \({key}: .* there, ") as error:
        claim_folder(tmp_path / "cam", {**SETTINGS, key: value})
    assert str(SETTINGS[key]) in str(error.value) and str(value) in str(error.value)
    claim_folder(tmp_path / "cam", SETTINGS)  # the refusal changed nothing


def test_settings_added_or_gone_are_other_settings(tmp_path):
    claim_folder(tmp_path / "cam", SETTINGS)
    with pytest.raises(UserError, match="power"):
        claim_folder(tmp_path / "cam", {**SETTINGS, "power": 2})
    with pytest.raises(UserError, match="lr"):
        claim_folder(tmp_path / "cam", {key: value for key, value in SETTINGS.items() if key != "lr"})


def test_a_folder_belongs_to_what_it_was_made_from(tmp_path):
    """The record of the source is part of the record, so a new source two stages above is noticed too."""
    claim_folder(tmp_path / "cam", {"lr": 0.1})
    claim_folder(tmp_path / "labels", {"power": 1}, source=tmp_path / "cam")
    claim_folder(tmp_path / "labels", {"power": 1}, source=tmp_path / "cam")
    assert source_record(tmp_path / "labels") == {"power": 1, "source": {"lr": 0.1, "source": None}}
    (tmp_path / "cam/settings.yaml").unlink()
    claim_folder(tmp_path / "cam", {"lr": 0.2})
    with pytest.raises(UserError, match="labels was made with other settings .source: "):
        claim_folder(tmp_path / "labels", {"power": 1}, source=tmp_path / "cam")


def test_a_source_that_is_not_made_is_named(tmp_path):
    (tmp_path / "cam").mkdir()
    for source in (tmp_path / "cam", tmp_path / "ckpt" / "aesipe.pt"):
        with pytest.raises(UserError, match=f"{source} is missing or unfinished"):
            claim_folder(tmp_path / "labels", {}, source=source)
    assert names(tmp_path) == ["cam"]


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


@pytest.mark.parametrize("suffix", [".npz", ".png"])
def test_an_output_cut_short_is_made_again_and_refused_as_input(tmp_path, suffix):
    ids = ["a", "b", "c", "d"]
    for image_id in ids[:3]:
        if suffix == ".npz":
            save_cam(tmp_path / f"{image_id}.npz", [0, 1], np.random.default_rng(0).random((2, 9, 8)))
        else:
            save_label_png(tmp_path / f"{image_id}.png", np.eye(8, dtype=int))
    assert missing_ids(ids, [tmp_path], suffix) == ["d"] and missing_ids(ids[:3], [tmp_path], suffix) == []
    require_outputs(ids[:3], tmp_path, suffix, "x.py")
    path = tmp_path / f"b{suffix}"
    whole = path.read_bytes()
    for length in (0, 1, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert not is_whole(path)
    assert missing_ids(ids, [tmp_path], suffix) == ["b", "d"]
    with pytest.raises(UserError, match=rf"b\{suffix}: is cut short, as are 1 more of 4: run x.py for this list first"):
        require_outputs(ids, tmp_path, suffix, "x.py")
    with pytest.raises(UserError, match=rf"d\{suffix}: is missing: run x.py"):
        require_outputs(["a", "d"], tmp_path, suffix, "x.py")


def test_an_output_must_be_whole_in_every_folder(tmp_path):
    for folder in ("one", "two"):
        save_cam(tmp_path / folder / "a.npz", [0], np.zeros((1, 2, 2)))
    save_cam(tmp_path / "one" / "b.npz", [0], np.zeros((1, 2, 2)))
    assert missing_ids(["a", "b"], [tmp_path / "one", tmp_path / "two"], ".npz") == ["b"]


def test_a_claimed_folder_is_cleared_of_what_a_killed_process_left(tmp_path):
    claim_folder(tmp_path, {"lr": 1})
    dead = tmp_path / ".a.npz.999999999.tmp"
    dead.write_bytes(b"half")
    claim_folder(tmp_path, {"lr": 1})
    assert names(tmp_path) == ["settings.yaml"]
