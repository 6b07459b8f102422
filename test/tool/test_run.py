import json
import subprocess

import numpy as np
import pytest

from data.label_png import save_label_png
from errors import UserError
from files import read_stamp
from tool.cam_file import load_cam, save_cam
from tool.json_file import load_json, save_json
from tool.record import make_record
from tool.run import Run, keep_record, outdated, require_outputs
from tool.settings import MakeCam, MakeIrLabels, MakeSegLabels, TrainIrn
from viz.runs import read_runs

TINY = TrainIrn()
STAMPS = {image_id: f"{number:032x}" for number, image_id in enumerate("abcd", 1)}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "name, hint", [("dmo", ": did you mean demo?"), ("zzz", ": {root} holds demo, own"), ("demo/x", "")]
)
def test_a_run_that_is_not_there_is_said_with_those_that_are(tmp_path, name, hint):
    for other in ("demo", "own"):
        Run(tmp_path / other).keep_settings("train_irn", TINY)
    (tmp_path / "no_run").mkdir()
    with pytest.raises(UserError) as error:
        Run(tmp_path / name).require_folder()
    said = f"no such run folder{hint.format(root=tmp_path)}: give --run RUN, to report.py RUN before the flags"
    assert str(error.value) == f"{tmp_path / name}: {said}"


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        save_json(tmp_path / "file" / "a.json", {})


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
    run = Run(tmp_path)
    run.keep_settings("make_cam", MakeCam(scales=(1.0,)))
    run.keep_settings("make_seg_labels", MakeSegLabels(steps=2))
    run.keep_settings("make_cam", MakeCam(scales=(2.0,)))
    config = run.config()
    assert [*config] == ["make_cam", "make_seg_labels"]
    assert (config["make_cam"]["scales"], config["make_seg_labels"]["steps"]) == ([2.0], 2)
    assert run.used_settings("make_cam") == MakeCam(scales=(2.0,)) and run.used_settings("eval_cam").crf


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
    for length in (*range(0, len(whole) - 130, 9), *range(len(whole) - 130, len(whole))):  # the end tells
        path.write_bytes(whole[:length])
        assert read_stamp(path) is None


@pytest.mark.parametrize("suffix", [".npz", ".png"])
def test_an_output_cut_short_or_of_another_image_is_made_again_and_refused_as_input(tmp_path, suffix):
    for image_id in "abc":
        save(tmp_path / f"{image_id}{suffix}", STAMPS[image_id])
    three = {image_id: STAMPS[image_id] for image_id in "abc"}
    assert outdated(STAMPS, {tmp_path: suffix}) == ["d"] and outdated(three, {tmp_path: suffix}) == []
    require_outputs(three, tmp_path, suffix, "x.py")
    assert outdated({**three, "b": STAMPS["d"]}, {tmp_path: suffix}) == ["b"]
    with pytest.raises(UserError, match=rf"b\{suffix}: was made from another image or other labels: run x.py"):
        require_outputs({**three, "b": STAMPS["d"]}, tmp_path, suffix, "x.py")
    path = tmp_path / f"b{suffix}"
    path.write_bytes(path.read_bytes()[:-1])
    assert outdated(STAMPS, {tmp_path: suffix}) == ["b", "d"]
    with pytest.raises(UserError, match=rf"b\{suffix}: is cut short, as are 1 more of 4: run x.py for this list first"):
        require_outputs(STAMPS, tmp_path, suffix, "x.py")
    with pytest.raises(UserError, match=rf"d\{suffix}: is missing: run x.py"):
        require_outputs({image_id: STAMPS[image_id] for image_id in "ad"}, tmp_path, suffix, "x.py")


def test_an_output_must_be_whole_in_every_folder(tmp_path):
    for folder in ("one", "two"):
        save(tmp_path / folder / "a.npz", STAMPS["a"])
    save(tmp_path / "one" / "b.npz", STAMPS["b"])
    both = {image_id: STAMPS[image_id] for image_id in "ab"}
    assert outdated(both, dict.fromkeys((tmp_path / "one", tmp_path / "two"), ".npz")) == ["b"]


def make_old_run(folder):
    """As earlier versions left one: AE-IS-CAM in cam/, the classifier's CAM in classifier_cam/."""
    cams = make_record("make_cam", MakeCam(), {"classes": "c1"}, {"ckpt/aesipe.pt": make_record("tiny", TINY, {})})
    for name in ("cam", "classifier_cam", "is_cam"):
        keep_record(folder / name, cams)
    labels = make_record("make_ir_labels", MakeIrLabels(), {"classes": "c1"}, {"cam": cams})
    keep_record(folder / "ir_label", labels)
    return cams


def test_a_run_with_the_old_names_says_how_to_rename_them(tmp_path):
    cams, run = make_old_run(tmp_path), Run(tmp_path)
    commands = f"mv {tmp_path}/cam {tmp_path}/ae_is_cam && mv {tmp_path}/classifier_cam {tmp_path}/cam"
    looks = (lambda: run.sources("ae_is_cam"), lambda: run.claim("ae_is_cam", cams), lambda: read_runs([tmp_path]))
    for look in looks:
        with pytest.raises(UserError, match=f"is of an earlier version.*: {commands}$"):
            look()
    subprocess.run(["bash", "-c", commands], check=True)
    run.claim("ae_is_cam", cams)
    run.claim("cam", cams)
    labels = make_record("make_ir_labels", MakeIrLabels(), {"classes": "c1"}, run.sources("ae_is_cam"))
    run.claim("ir_label", labels)  # what was made from cam/ was made from ae_is_cam/


def test_half_of_the_renaming_is_finished(tmp_path):
    make_old_run(tmp_path)
    (tmp_path / "cam").rename(tmp_path / "ae_is_cam")
    with pytest.raises(UserError, match=f"rename them: mv {tmp_path}/classifier_cam {tmp_path}/cam$"):
        Run(tmp_path).sources("ae_is_cam")


def test_a_run_that_exports_the_cam_alone_is_no_old_one(tmp_path):
    cams = make_record("make_cam", MakeCam(), {"classes": "c1"})
    Run(tmp_path).claim("cam", cams)
    assert Run(tmp_path).sources("cam")["cam"]["output"] == "cam"
