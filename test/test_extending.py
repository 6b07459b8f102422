"""The recipes of docs/extending.md, followed to the letter in a copy of the project.

A recipe is the section under a heading: a sentence that ends in "Save this as `PATH`:", a python block with what the
file holds, a text block with the lines that change (a path, then lines with - as they are and with + as they become),
and a bash block.
"""

import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image
from scripts import REPOSITORY, in_turn, run

from tool.json_file import load_json

DOCUMENT = REPOSITORY / "docs/extending.md"
# What is added to a command so that it ends in seconds.
TRAINING = "--crop_size 64 --batch_size 4 --num_workers 0"
ADDED = {
    "prepare_dataset.py": "--train 6 --train_aug 8 --val 2 --size 80",
    "train_aesipe.py": f"{TRAINING} --max_epochs 1 --long_side 56 80 --val_every 0",
    "make_cam.py": "--scales 1 --num_workers 0",
    "count_classes.py": "",
    "deeplab/train.py": f"{TRAINING} --max_iters 2",
    "deeplab/test.py": "--scales 1 --num_workers 0",
    "-m": "-n 0 -x -p no:cacheprovider",
}


def section(heading):
    """The text under a heading of the document."""
    return re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S)[1]


def block(text, language):
    """The one fenced block of a language in a text."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    return found


def apply_changes(root, changes):
    """Make the changes of a text block: each group of lines with - must be in the file once."""
    for path, groups in re.findall(r"^([\w/.]+)\n((?:[-+].*\n)+)", changes, re.M):
        content = (root / path).read_text()
        for old, new in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)+)", groups, re.M):
            old, new = (re.sub(r"^[-+]", "", lines, flags=re.M) for lines in (old, new))
            assert f"\n{content}".count(f"\n{old}") == 1, f"{path}: {old}"
            content = f"\n{content}".replace(f"\n{old}", f"\n{new}")[1:]
        (root / path).write_text(content)


def follow(heading, root, prepare=lambda root: None):
    """A copy of the project at root in which the recipe was followed and its commands run, after prepare(root)."""
    files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(files, cwd=REPOSITORY, capture_output=True, text=True).stdout.split("\0"):
        if name and (REPOSITORY / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, root / name)
    text = section(heading)
    (root / re.search(r"Save\s+this\s+as\s+`([^`]+)`:", text)[1]).write_text(block(text, "python"))
    apply_changes(root, block(text, "text"))
    prepare(root)
    lines = []
    for command in block(text, "bash").splitlines():
        python, *words = shlex.split(command)
        assert python == "python"
        lines.append((*words, *ADDED[words[0]].split()))
    done = in_turn(lines, folder=root)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return root


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def test_an_affinity_module(tmp_path):
    run_folder = follow("An affinity module", tmp_path) / "runs/walk"
    assert "affinity: walk" in (run_folder / "config.yaml").read_text()
    assert len(list((run_folder / "ae_is_cam").glob("*.npz"))) == 8


def test_an_encoder(tmp_path):
    model = weights(follow("An encoder", tmp_path) / "runs/tiny/ckpt/aesipe.pt")
    assert model["encoder.stages.4.0.weight"].shape == (128, 64, 3, 3)


def test_a_segmentation_network(tmp_path):
    run_folder = follow("A segmentation network", tmp_path) / "runs/fcn"
    assert weights(run_folder / "ckpt/deeplab.pt")["head.2.weight"].shape[1] == 64
    assert len(list((run_folder / "deeplab/val").glob("*.png"))) == 2


def test_a_layer(tmp_path):
    model = weights(follow("A layer", tmp_path) / "runs/gate/ckpt/aesipe.pt")
    assert model["gate.gate"].abs().max() > 0  # it was trained


def draw_animals(root):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / "data/mine" / name).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 256, (60, 70, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "data/mine" / name / f"{number}.jpg")


def test_a_data_set(tmp_path):
    run_folder = follow("A data set", tmp_path, draw_animals) / "runs/mine"
    assert (run_folder / "classes.txt").read_text() == "background\ncat\ndog\n"
    assert len(list((run_folder / "ae_is_cam").glob("*.npz"))) == 9


def test_a_stage(tmp_path):
    root = follow("A stage", tmp_path)
    found = load_json(root / "runs/counted/eval/count_classes.json")
    assert found["list"] == "train" and sum(found["counts"].values()) >= 6
    done = run("bash", "run_pipeline.sh", "--help", folder=root)
    assert "eval_seg deeplab_train deeplab_test count_classes report" in done.stdout


def test_changes_that_do_not_fit_are_found(tmp_path):
    (tmp_path / "a.py").write_text("one = 1\ntwo = 2\n")
    apply_changes(tmp_path, "a.py\n-two = 2\n+two = 3\n+three = 4\n")
    assert (tmp_path / "a.py").read_text() == "one = 1\ntwo = 3\nthree = 4\n"
    with pytest.raises(AssertionError):
        apply_changes(tmp_path, "a.py\n-two = 2\n+two = 4\n")
