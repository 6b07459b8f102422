"""Stages called again: what is there is kept, what is missing is made, what other settings made is refused."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from scripts import HEAVY, copy_run, error_lines, finished_stages, in_turn, run, stamps

from tool.cam_file import load_cam
from tool.checkpoint import save_state
from tool.stages import BY_NAME, STAGES


def test_stages_that_find_all_done_import_nothing_heavy(finished):
    names = [stage.script for stage in STAGES if stage.name not in ("dataset", "report")]
    before = stamps(finished.run)
    done = in_turn([(name, "--config", finished.run / "config.yaml") for name in names], *HEAVY)
    assert done.returncode == 0 and not error_lines(done.stderr), done.stderr
    assert len(names) == 9 and stamps(finished.run) == before


def test_a_second_call_makes_only_what_is_missing(moved):
    before, usage = stamps(moved.run), finished_stages(moved.run)
    lost_map, lost_label = moved.run / "is_cam/train_000003.npz", moved.run / "seg_label/train_000004.png"
    (_, cam), label = load_cam(lost_map), lost_label.read_bytes()
    lost_map.unlink()
    lost_label.unlink()
    said = ""
    for stage in STAGES[1:-1]:
        done = moved.stage(stage.script)
        assert done.status == 0, done.err
        said += done.out
    assert "irn.pt: already trained with these settings" in said
    after = stamps(moved.run)
    again = [moved.run / "ae_is_cam/train_000003.npz", moved.run / "cam/train_000003.npz"]  # of the same pass
    assert after.keys() == before.keys()
    assert {path for path in after if after[path] != before[path]} == {lost_map, lost_label, *again}
    assert np.abs(load_cam(lost_map)[1] - cam).max() < 0.01 and lost_label.read_bytes() == label
    usage = [(line["stage"], line["did"], line["of"]) for line in finished_stages(moved.run)[len(usage) :]]
    assert usage == [("make_cam", 1, 13), ("make_seg_labels", 1, 13)]  # the others found everything done


def test_other_settings_end_a_process_with_status_2(moved):
    where = ("--run_root", moved.run.parent, "--session_name", moved.run.name)
    done = run(sys.executable, "make_cam.py", "--config", moved.run / "config.yaml", *where, "--scales", "0.5")
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ") and "(scales: [1.0] there, [0.5] now)" in done.stderr


@pytest.mark.parametrize(
    "name, flags, key",
    [
        ("train_aesipe.py", ("--lr", "0.5"), "lr: 0.01 there, 0.5 now"),
        ("make_cam.py", ("--no-ae",), "ae: None there, False now"),
        ("make_ir_labels.py", ("--background_weight", "0.5"), "background_weight: 0.8 there, 0.5 now"),
        ("train_irn.py", ("--radius", "4"), "radius: 5 there, 4 now"),
        ("make_seg_labels.py", ("--beta", "8"), "beta: 10.0 there, 8.0 now"),
        ("deeplab/train.py", ("--max_iters", "3"), "max_iters: 2 there, 3 now"),
    ],
)
def test_every_stage_refuses_outputs_of_other_settings(moved, name, flags, key):
    before = stamps(moved.run)
    done = moved.stage(name, *flags)
    assert done.status == 2 and len(done.err.splitlines()) == 1 and key in done.err
    assert stamps(moved.run) == before


@pytest.mark.parametrize(
    "name, missing",
    [
        ("make_cam.py", "ckpt/aesipe.pt"),
        ("make_ir_labels.py", "ae_is_cam"),
        ("train_irn.py", "ir_label"),
        ("make_seg_labels.py", "ckpt/irn.pt"),
        ("deeplab/train.py", "seg_label"),
    ],
)
def test_a_stage_before_its_turn_names_what_is_missing(finished, script, tmp_path, name, missing):
    done = script(name, "--run_root", tmp_path, "--session_name", "empty", "--dataset_root", finished.layout.root)
    assert done.status == 2 and len(done.err.splitlines()) == 1
    assert f"{tmp_path / 'empty' / missing}" in done.err and "first" in done.err


def test_crf_of_some_maps_alone(finished, script, tmp_path):
    for name in ("ae_is_cam", "is_cam"):
        shutil.copytree(finished.run / name, tmp_path / "one" / name)
    where = ("--run_root", tmp_path, "--session_name", "one", "--dataset_root", finished.layout.root)
    chosen = ("--maps", "is_cam", "ae_is_cam", "--crf_maps", "ae_is_cam", "--background_weight", 0.8)
    assert script("eval_cam.py", *where, "--num_workers", 0, *chosen).status == 0
    maps = json.loads((tmp_path / "one" / "eval" / "cam.json").read_text())["maps"]
    assert [row["crf"] for row in maps["is_cam"]] == [False]
    assert [row["crf"] for row in maps["ae_is_cam"]] == [False, True]
    known = json.loads((finished.run / "eval" / "cam.json").read_text())["maps"]["ae_is_cam"]
    assert all(row in known for row in maps["ae_is_cam"])


def test_cams_of_8_bits_are_read_as_others_are(finished, script, tmp_path):
    """Both exports in this process: on other threads, rounding moves seeds of so young a network."""
    cams = {}
    for bits in (16, 8):
        root = tmp_path / f"{bits}bits"
        copy_run(finished.run / "ckpt", root / "demo" / "ckpt")
        where = ("--config", finished.run / "config.yaml", "--run_root", root, "--num_workers", 0)
        done = script("make_cam.py", *where, "--cam_bits", bits, "--list", "train")
        assert done.status == 0, done.err
        cams[bits] = [load_cam(root / f"demo/ae_is_cam/{image_id}.npz") for image_id in finished.layout.ids("train")]
    for (keys, cam), (expected_keys, expected) in zip(cams[8], cams[16]):
        assert keys.tolist() == expected_keys.tolist() and np.abs(cam - expected).max() <= 0.5 / 255 + 1e-3


def test_an_export_that_is_refused_claims_none_of_its_folders(moved):
    """Found: the folder that was not there was claimed for these settings, and refused the right ones from then on."""
    shutil.rmtree(moved.run / "cam")
    done = moved.stage("make_cam.py", "--maps", "cam", "ae_is_cam", "--scales", 0.5)
    assert done.status == 2 and "ae_is_cam was made with other settings" in done.err
    assert not (moved.run / "cam").exists()


def test_deterministic_training_gives_the_same_bits_twice(finished, tmp_path):
    """Dropout, random crops and two loader processes included: DeepLab's head has the first."""
    settings = ("--weights", "none", "--labels", "truth", "--deterministic", "--num_workers", 2)
    where = ("--config", finished.run / "config.yaml", "--run_root", tmp_path, *settings)
    done = in_turn([("deeplab/train.py", *where, "--session_name", name) for name in ("one", "two")])
    assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / name / "ckpt/deeplab.pt", weights_only=True)["model"] for name in ("one", "two"))
    assert all(torch.equal(value, two[key]) for key, value in one.items())
    assert not torch.equal(one["head.4.weight"], torch.zeros_like(one["head.4.weight"]))


@pytest.mark.parametrize(
    "stage, precision",
    [("make_cam", "float32"), ("make_seg_labels", "float32"), ("deeplab_test", "float32"), ("train_aesipe", "auto")],
)
def test_exports_are_exact_unless_told_otherwise(stage, precision):
    """Rounding changes labels (docs/benchmarks.md), so only training takes what the GPU is fastest at."""
    assert BY_NAME[stage].settings().precision == precision


def test_a_stage_that_is_refused_leaves_the_settings_of_the_run(moved):
    """Found: config.yaml then held what was refused, and the run's own settings were refused from then on."""
    config = moved.run / "config.yaml"
    moved.stage("make_cam.py")
    before = config.read_text()
    done = moved.stage("make_cam.py", "--scales", 0.5)
    assert done.status == 2 and "with other settings (scales" in done.err and config.read_text() == before
    (moved.run / "ckpt/aesipe.pt").unlink()
    folder = moved.run / "ckpt/aesipe_state"
    torch_state = {"model": {}, "step": 1, "record": {}, "best": None, "revision": None}
    save_state(folder / "00000001.pt", torch_state)
    done = moved.stage("train_aesipe.py", "--lr", 0.5)
    assert done.status == 2 and "earlier version" in done.err and config.read_text() == before
