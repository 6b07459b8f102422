"""A result and its record appear together: every stage is killed at each of its renames, before it and after it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from scripts import REPOSITORY, SMALL, pipeline

TINY = (
    *SMALL,
    "common.session_name=run",
    "dataset.train=2",
    "dataset.train_aug=3",
    "dataset.val=2",
    "train_aesipe.batch_size=1",
    "train_aesipe.save_every=2",
    "train_aesipe.val_every=1",
    "train_irn.batch_size=1",
    "train_irn.save_every=2",
    "deeplab_train.batch_size=2",
    "deeplab_train.save_every=1",
    "make_cam.maps=[ae_is_cam, cam]",
    "eval_cam.maps=[ae_is_cam]",
    "eval_cam.sweep=[]",
)
# What a stage makes, and so is taken from its run before it is tried.
MADE = {
    "train_aesipe.py": ("ckpt",),
    "make_cam.py": ("ae_is_cam", "cam"),
    "eval_cam.py": ("eval",),
    "make_ir_labels.py": ("ir_label",),
    "train_irn.py": ("ckpt/irn.pt",),
    "make_seg_labels.py": ("seg_label",),
    "eval_seg.py": ("eval",),
    "deeplab/train.py": ("ckpt/deeplab.pt",),
    "deeplab/test.py": ("deeplab", "eval"),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("renames")
    pipeline(
        "configs/demo.yaml", *TINY, f"common.dataset_root={root / 'toy'}", f"common.run_root={root}", to="deeplab_test"
    )
    return root


@pytest.mark.parametrize(
    "script",  # test_killed.py has a training in the tests that take seconds
    [name if name == "make_ir_labels.py" else pytest.param(name, marks=pytest.mark.slow) for name in MADE],
)
def test_a_kill_at_any_rename_leaves_the_former_state_or_the_finished_one(tiny, tmp_path, script):
    before = tmp_path / "before"
    shutil.copytree(tiny / "run", before)
    for name in MADE[script]:
        shutil.rmtree(before / name) if (before / name).is_dir() else (before / name).unlink()
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("renames.py"), tmp_path, script, tiny / "run/config.yaml"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kills = int(done.stdout.splitlines()[0])
    stage = script.replace("deeplab/", "deeplab_").removesuffix(".py")
    assert stage in yaml.safe_load((tiny / "run/config.yaml").read_text())
    assert kills >= (2 if script.startswith("eval") else 6)
