"""Data and sizes that a stage cannot use: refused in one line before anything is written, or left out and listed."""

import shutil
import sys

import numpy as np
from PIL import Image
from scripts import copy_run, error_lines, run

SMALL_NETWORK = ("--backbone", "resnet18", "--weights", "none", "--num_workers", 0)


def test_a_missing_image_ends_a_stage_with_one_line(finished, tmp_path):
    """With a worker process, as is the default: its error must not come with its traceback."""
    root = tmp_path / "broken"
    shutil.copytree(finished.layout.root, root)
    (root / "JPEGImages/train_000000.jpg").unlink()
    where = ("--dataset_root", root, "--run_root", tmp_path, "--session_name", "run", *SMALL_NETWORK[:-1], 1)
    done = run(sys.executable, "train_aesipe.py", *where, "--batch_size", 13, "--crop_size", 32)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    (line,) = error_lines(done.stderr)
    assert line.startswith(f"error: {root / 'JPEGImages/train_000000'}.jpg: no such image (") and "--skip_bad" in line


def test_bad_images_are_named_at_the_start_of_a_run_or_left_out_and_listed(finished, script, tmp_path):
    root = tmp_path / "bad"
    shutil.copytree(finished.layout.root, root)
    (root / "toy.json").unlink()
    cut, wrong = root / "JPEGImages/train_000002.jpg", root / "SegmentationClassAug/val_000001.png"
    cut.write_bytes(cut.read_bytes()[:-100])
    Image.fromarray(np.full((3, 4), 9, np.uint8)).save(wrong)
    known = ("prepare_dataset.py", "--dataset_root", root, "--kind", "folder")
    done = script(*known)
    assert done.status == 2 and len(done.err.splitlines()) == 1
    assert str(cut) in done.err or str(wrong) in done.err
    done = script(*known, "--skip_bad")
    assert done.status == 0 and f"left out 1 of the 13 images in {root / 'lists/train_aug.txt'}" in done.err
    assert (
        f"  train_000002: {cut}: cannot be decoded" in done.err
        and f"  val_000001: {wrong}: is 4 x 3 pixels (width x height), its image 80 x 80" in done.err
    )
    copy_run(finished.run / "ckpt", tmp_path / "skipping/demo/ckpt")
    where = ("--config", finished.run / "config.yaml", "--dataset_root", root, "--run_root", tmp_path / "skipping")
    done = script("make_cam.py", *where, "--num_workers", 0, "--skip_bad")
    assert done.status == 0, done.err
    made = {path.stem for path in (tmp_path / "skipping/demo/cam").glob("*.npz")}
    assert made == {*finished.layout.ids("train_aug")} - {"train_000002"}


def test_data_without_masks_cannot_be_evaluated_but_is_no_error(finished, script, tmp_path):
    for part in ("JPEGImages", "lists", "classes.txt", "image_labels.txt"):
        (tmp_path / part).symlink_to(finished.layout.root / part)
    for name in ("eval_cam.py", "eval_seg.py"):
        done = script(name, "--dataset_root", tmp_path, "--run_root", tmp_path, "--session_name", "none")
        assert done.status == 0 and "no masks" in done.out and not (tmp_path / "none").exists()


def test_a_list_of_which_some_images_have_masks_is_refused_before_the_network_runs_or_shortened(
    finished, script, tmp_path
):
    """Found: all of the list was segmented, and the evaluation then failed, with --skip_bad as well."""
    root = tmp_path / "toy"
    shutil.copytree(finished.layout.root, root)
    first, *others = finished.layout.ids("val")
    (root / f"SegmentationClassAug/{first}.png").unlink()
    copy_run(finished.run / "ckpt", tmp_path / "demo/ckpt")
    where = ("--config", finished.run / "config.yaml", "--dataset_root", root, "--run_root", tmp_path)
    done = script("deeplab/test.py", *where, "--num_workers", 0)
    assert done.status == 2 and f"{first}.png" in done.err and len(error_lines(done.err)) == 1
    assert not (tmp_path / "demo/deeplab").exists()
    done = script("deeplab/test.py", *where, "--num_workers", 0, "--skip_bad")
    assert done.status == 0, done.err
    assert {path.stem for path in (tmp_path / "demo/deeplab/val").glob("*.png")} == {*others}
    assert "DeepLabV3 on val: mIoU" in done.out


def test_a_crop_too_small_for_irns_radius_is_refused(finished, script, tmp_path):
    """At stride 4 a crop of 64 is 16 pixels wide, less than 2 * 10 - 1: there would be no pair."""
    for part in ("ir_label", "ae_is_cam"):
        shutil.copytree(finished.run / part, tmp_path / "radius" / part)
    where = ("--run_root", tmp_path, "--session_name", "radius", "--dataset_root", finished.layout.root)
    size = ("--crop_size", 64, "--radius", 10, "--batch_size", 4, "--max_epochs", 1)
    done = script("train_irn.py", *where, *SMALL_NETWORK, *size)
    assert done.status == 2 and len(error_lines(done.err)) == 1


def test_a_batch_of_one_image_trains_or_is_refused(finished, script, tmp_path):
    """DeepLab's head normalises a single position of the image over the batch, which takes two images."""
    where = ("--run_root", tmp_path, "--session_name", "one", "--dataset_root", finished.layout.root)
    size = ("--labels", "truth", "--crop_size", 32, "--batch_size", 1, "--max_iters", 1)
    done = script("deeplab/train.py", *where, *SMALL_NETWORK, *size)
    assert (done.status, len(error_lines(done.err))) in ((0, 0), (2, 1))
