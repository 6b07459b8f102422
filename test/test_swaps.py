"""Data and settings swapped under a finished run: what belongs to other content is refused or made again, by name.

A run that is moved, with its dataset elsewhere, is taken as it is.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from files import read_stamp
from tool import stages

STAGES = (
    "train_aesipe.py",
    "make_cam.py",
    "eval_cam.py",
    "make_ir_labels.py",
    "train_irn.py",
    "make_seg_labels.py",
    "eval_seg.py",
    "deeplab/train.py",
    "deeplab/test.py",
)
TRAININGS = ("train_aesipe.py", "train_irn.py", "deeplab/train.py")


def outputs(folder):
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.suffix in (".npz", ".png", ".pt", ".json") and path.parent.name != "report"
    }


def relist(moved, name, keep):
    path = moved.data / "lists" / f"{name}.txt"
    path.write_text("".join(f"{image_id}\n" for image_id in keep))


def recolour(moved, image_id):
    """Another picture of the same size."""
    path = moved.data / "JPEGImages" / f"{image_id}.jpg"
    with Image.open(path) as image:
        pixels = 255 - np.array(image)
    Image.fromarray(pixels).save(path, quality=95)


def relabel(moved, image_id):
    """The image shows another class than it did."""
    path = moved.data / "image_labels.txt"
    lines = dict(line.split(maxsplit=1) for line in path.read_text().splitlines())
    names = moved.layout.class_names[1:]
    lines[image_id] = next(name for name in names if name not in lines[image_id].split())
    path.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))


def rename_class(moved):
    for name in ("classes.txt", "image_labels.txt"):
        path = moved.data / name
        path.write_text(path.read_text().replace(moved.layout.class_names[1], "renamed"))


def refused(done, words):
    assert done.status == 2 and len(done.err.splitlines()) == 1, done
    assert words in done.err, done.err


def test_a_run_and_its_data_in_other_folders_are_taken_as_they_are(moved):
    before = outputs(moved.run)
    for name in STAGES:
        done = moved.stage(name)
        assert done.status == 0, (name, done.err)
    assert outputs(moved.run) == before


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize(
    "change, words",
    [
        (
            lambda moved: relist(moved, "train_aug", moved.layout.ids("train_aug")[:9]),
            "other data (the list of images: 13 images, ",
        ),
        (
            lambda moved: relist(moved, "train_aug", moved.layout.ids("train_aug")[::-1]),
            "other data (the list of images: 13 images, ",
        ),
        (lambda moved: relabel(moved, "train_000003"), "other data (the image labels: "),
        (lambda moved: recolour(moved, "train_000003"), "other data (the images: "),
        (rename_class, "other data (the class names: "),
    ],
    ids=["shorter", "reordered", "labels", "image", "classes"],
)
def test_a_network_trained_on_other_data_is_refused_by_name(moved, name, change, words):
    change(moved)
    before = outputs(moved.run)
    refused(moved.stage(name), words)
    assert outputs(moved.run) == before


@pytest.mark.parametrize(
    "name, folder",
    [
        ("make_cam.py", "ae_is_cam"),
        ("make_ir_labels.py", "ir_label"),
        ("make_seg_labels.py", "seg_label"),
        ("deeplab/test.py", "deeplab/val"),
    ],
)
def test_of_a_changed_image_alone_the_outputs_are_made_again(moved, name, folder):
    image_id = "val_000001" if name == "deeplab/test.py" else "train_000003"
    recolour(moved, image_id)
    if name in ("make_ir_labels.py", "make_seg_labels.py"):  # which first ask for the map of the new image
        refused(moved.stage(name), f"{image_id}.npz: was made from another image or other labels: run make_cam.py")
        assert moved.stage("make_cam.py").status == 0
    before = outputs(moved.run / folder)
    assert moved.stage(name).status == 0
    changed = {path.stem for path, at in outputs(moved.run / folder).items() if at != before[path]}
    assert changed == {image_id}
    before = outputs(moved.run)
    assert moved.stage(name).status == 0 and outputs(moved.run) == before


def test_maps_of_other_labels_are_made_again(moved):
    relabel(moved, "train_000003")
    before = outputs(moved.run / "ae_is_cam")
    assert moved.stage("make_cam.py").status == 0
    assert {path.stem for path, at in outputs(moved.run / "ae_is_cam").items() if at != before[path]} == {
        "train_000003"
    }


def test_images_that_change_places_are_noticed(moved):
    """Names, sizes and times are the same as before; only what is in them is not."""
    one, other = (moved.data / "JPEGImages" / f"train_00000{number}.jpg" for number in (3, 4))
    for path in (one, other):
        os.utime(path, ns=(10**18, 10**18))
    assert moved.stage("make_cam.py").status == 0
    one.rename(moved.data / "held")
    other.rename(one)
    (moved.data / "held").rename(other)
    before = outputs(moved.run / "ae_is_cam")
    assert moved.stage("make_cam.py").status == 0
    changed = {path.stem for path, at in outputs(moved.run / "ae_is_cam").items() if at != before[path]}
    assert changed == {"train_000003", "train_000004"}


@pytest.mark.parametrize(
    "change",
    [
        lambda moved: recolour(moved, moved.layout.ids("train")[0]),
        lambda moved: relist(moved, "train", moved.layout.ids("train")[:3]),
    ],
)
def test_an_evaluation_of_other_data_is_made_again(moved, change):
    change(moved)
    before = (moved.run / "eval/cam.json").read_bytes()
    assert moved.stage("make_cam.py").status == 0 and moved.stage("eval_cam.py").status == 0
    assert (moved.run / "eval/cam.json").read_bytes() != before


@pytest.mark.parametrize(
    "name, result, list_name",
    [("eval_cam.py", "cam", "train"), ("eval_seg.py", "seg", "train"), ("deeplab/test.py", "deeplab_val", "val")],
)
def test_an_evaluation_by_another_mask_is_made_again(moved, name, result, list_name):
    image_id = moved.layout.ids(list_name)[0]
    mask = moved.data / "SegmentationClassAug" / f"{image_id}.png"
    black = np.zeros(moved.layout.mask(image_id).shape, np.uint8)
    Image.fromarray(black + 1 if list_name == "val" else black).save(mask)
    path, before = moved.run / f"eval/{result}.json", (moved.run / f"eval/{result}.json").read_text()
    assert moved.stage(name).status == 0
    before, after = ({key: each for key, each in json.loads(text).items() if key not in ("record", "checksum")}
                     for text in (before, path.read_text()))  # fmt: skip
    assert before.keys() == after.keys() and before != after


def test_other_initial_weights_are_refused_and_the_same_elsewhere_are_not(moved, tmp_path):
    kept = tmp_path / "kept.pt"
    shutil.copy(moved.run / "ckpt/aesipe.pt", kept)
    assert moved.stage("train_irn.py", "--weights", kept).status == 0
    refused(moved.stage("train_irn.py", "--weights", "none"), "other data (the initial weights: ")
    state = torch.load(kept, weights_only=True)["model"]
    torch.save({key: value + 1 for key, value in state.items()}, kept)
    refused(moved.stage("train_irn.py", "--weights", kept), "other data (the initial weights: ")


@pytest.mark.parametrize("name", TRAININGS)
def test_every_training_knows_its_initial_weights(moved, name):
    """Else a network that began with others would be taken for the one that is asked for."""
    config = yaml.safe_load((moved.run / "config.yaml").read_text())
    stage = next(each.name for each in stages.STAGES if each.script == name)
    other = moved.run / "ckpt/irn.pt" if config[stage]["weights"] == "none" else "none"
    refused(moved.stage(name, "--weights", other), "other data (the initial weights: ")


def test_a_training_on_the_truth_knows_its_masks(moved):
    (moved.run / "ckpt/deeplab.pt").unlink()
    words = ("deeplab/train.py", "--labels", "truth", "--list", "train")
    assert moved.stage(*words).status == 0 and "already trained" in moved.stage(*words).out
    image_id = moved.layout.ids("train")[0]
    mask = moved.layout.mask(image_id)
    Image.fromarray(np.zeros_like(mask)).save(moved.data / "SegmentationClassAug" / f"{image_id}.png")
    refused(moved.stage(*words), "other data (the masks: ")


def test_a_network_trained_anew_makes_what_came_of_the_old_one_refused(moved):
    assert moved.stage("train_aesipe.py", "--resume", "never", "--seed", 1, "--val_every", 0).status == 0
    refused(
        moved.stage("make_cam.py"),
        "cam was made from another ckpt/aesipe.pt, which was made with other settings "
        "(seed: 0 there, 1 now): delete it",
    )


@pytest.mark.parametrize(
    "words",
    [
        ("predict.py", "--image", "{image}", "--labels", "striped", "--network", "aesipe"),
        ("export.py", "--what", "deeplab", "--out", "{run}/net.pt2"),
    ],
)
def test_class_names_that_the_networks_were_not_trained_with_are_refused(moved, words):
    names = moved.run / "classes.txt"
    names.write_text(names.read_text().replace("dotted", "dottee"))
    image = moved.layout.path("train_000001")
    script_name, *flags = (word.format(image=image, run=moved.run) for word in words)
    refused(moved.script(script_name, "--run", moved.run, *flags), "classes.txt: holds other class names than ")
    assert not (moved.run / "net.pt2").exists() and not (moved.run / "predict").exists()


def test_a_damaged_network_does_not_keep_another_from_being_used(moved):
    (moved.run / "ckpt/irn.pt").unlink()  # a link, see copy_run
    (moved.run / "ckpt/irn.pt").write_bytes(b"damaged")
    done = moved.script(
        "predict.py", "--run", moved.run, "--image", moved.layout.path("train_000001"), "--network", "deeplab"
    )
    assert done.status == 0 and (moved.run / "predict/train_000001_deeplab.png").exists(), done.err


def test_a_dataset_that_cannot_be_written_is_indexed_in_the_run(moved, monkeypatch):
    import data.index

    def denied(path):
        raise data.index.UserError("no")

    real = data.index.atomic
    monkeypatch.setattr(
        data.index, "atomic", lambda path: denied(path) if Path(path).parent == moved.data else real(path)
    )
    assert moved.stage("make_cam.py").status == 0
    assert (moved.run / ".aesipe_index.json").exists() and not (moved.data / ".aesipe_index.json").exists()


def test_every_output_of_an_image_carries_its_stamp(moved):
    for folder, suffix in (("ae_is_cam", ".npz"), ("ir_label", ".png"), ("seg_label", ".png")):
        stamps = {
            image_id: read_stamp(moved.run / folder / f"{image_id}{suffix}")
            for image_id in moved.layout.ids("train_aug")
        }
        assert len(set(stamps.values())) == 13 and all(len(stamp) == 32 for stamp in stamps.values())
