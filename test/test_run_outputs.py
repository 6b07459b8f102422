"""What a finished run holds, and what its scores, pictures and log say, against the files and counted anew."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scripts import finished_stages, read_png

from tool.config import parse
from tool.json_file import load_json, save_json
from tool.record import checkpoint_record
from tool.settings import plain
from tool.usage import append_json

MAPS = ("cam", "is_cam", "ae_is_cam")


def present(layout, image_id):
    return {0, *(layout.labels(image_id).nonzero()[:, 0] + 1).tolist()}


@pytest.mark.parametrize("folder", MAPS)
def test_cams_fit_their_images(finished, folder):
    ids = finished.layout.ids("train_aug")
    assert {path.name for path in (finished.run / folder).iterdir()} == {*(f"{i}.npz" for i in ids), "settings.yaml"}
    for image_id in ids:
        with np.load(finished.run / folder / f"{image_id}.npz", allow_pickle=False) as data:
            assert sorted(data) == ["cam", "keys"]
            keys, cam = data["keys"], data["cam"]
        assert keys.dtype == np.uint8 and cam.dtype == np.float16
        assert keys.tolist() == sorted(present(finished.layout, image_id))
        assert cam.shape == (len(keys), *finished.layout.image(image_id).shape[1:])
        assert np.isfinite(cam).all() and cam.min() >= 0 and cam.max() <= 1


@pytest.mark.parametrize(
    "folder, list_name, extra",
    [
        ("ir_label", "train_aug", {255}),
        ("seg_label", "train_aug", set()),
        ("deeplab/val", "val", None),
        ("deeplab/val_crf", "val", None),
    ],
)
def test_labels_are_palette_pngs_of_the_images_classes(finished, folder, list_name, extra):
    ids = finished.layout.ids(list_name)
    assert {path.name for path in (finished.run / folder).iterdir()} == {*(f"{i}.png" for i in ids), "settings.yaml"}
    for image_id in ids:
        labels = read_png(finished.run / folder / f"{image_id}.png")
        assert labels.shape == finished.layout.image(image_id).shape[1:]
        allowed = set(range(6)) if extra is None else present(finished.layout, image_id) | extra
        assert set(np.unique(labels).tolist()) <= allowed


def test_checkpoints_are_whole_and_know_their_settings(finished):
    assert sorted(path.name for path in (finished.run / "ckpt").iterdir()) == ["aesipe.pt", "deeplab.pt", "irn.pt"]
    for name in ("aesipe", "deeplab", "irn"):
        state = torch.load(finished.run / "ckpt" / f"{name}.pt", weights_only=True)
        assert set(state) == {"model", "step", "revision"} and all(
            value.isfinite().all() for value in state["model"].values()
        )
        assert checkpoint_record(finished.run / "ckpt" / f"{name}.pt")["settings"]["batch_size"] == 4


def test_the_log_tells_the_steps_the_mious_and_what_each_stage_took(finished):
    logged = [json.loads(line) for line in (finished.run / "log.jsonl").read_text().splitlines()]
    steps = [
        (line["stage"], line["step"], set(line["val"]) if "val" in line else "loss" in line)
        for line in logged
        if "step" in line
    ]
    assert steps == [("aesipe", 3, True), ("aesipe", 3, set(MAPS)), ("irn", 3, True), ("deeplab", 2, True)]
    usage = {line["stage"]: line for line in finished_stages(finished.run)}
    assert {stage: (line["did"], line["of"]) for stage, line in usage.items()} == {
        "train_aesipe": (3, 3),
        "make_cam": (13, 13),
        "eval_cam": (6, 6),
        "make_ir_labels": (13, 13),
        "train_irn": (3, 3),
        "make_seg_labels": (13, 13),
        "eval_seg": (6, 6),
        "deeplab_train": (2, 2),
        "deeplab_test": (4, 4),
        "report": (2, 2),
    }
    for line in usage.values():
        assert 0 < line["seconds"] < 600 and 100 < line["peak_memory_mb"] < 10_000
        assert (line["device"], line["peak_gpu_memory_mb"], line["processes"]) == ("cpu", None, 1)
    assert sorted(path.name for path in (finished.run / "tensorboard").iterdir()) == [
        "aesipe",
        "deeplab",
        "deeplab_test",
        "eval_cam",
        "eval_seg",
        "irn",
    ]


def test_no_temporary_files_are_left(finished):
    assert not [path for path in finished.root.rglob("*") if path.name.endswith(".tmp")]


def miou(pairs):
    """Mean IoU and accuracy over pairs of truth and labels, counted class by class."""
    truth, labels = (np.concatenate([part.ravel() for part in parts]) for parts in zip(*pairs))
    ious = [((truth == k) & (labels == k)).sum() / ((truth == k) | (labels == k)).sum() for k in np.unique(truth)]
    return pytest.approx((np.mean(ious), (truth == labels).mean()))


@pytest.mark.parametrize("name", MAPS)
def test_scores_of_the_cams_counted_anew(finished, name):
    result = json.loads((finished.run / "eval/cam.json").read_text())
    assert result["list"] == "train" and set(result["maps"]) == set(MAPS)
    rows = {(row["background_weight"], row["crf"]): row for row in result["maps"][name]}
    weights = (0.3, 0.5, 0.8, 1.0)
    assert list(rows) == [*((weight, False) for weight in weights), (0.8, True), (1.0, True)]
    for weight in weights:
        pairs = []
        for image_id in finished.layout.ids("train"):
            with np.load(finished.run / name / f"{image_id}.npz") as data:
                keys, cam = data["keys"], data["cam"].astype(np.float32)
            cam[0] *= np.float32(weight)
            pairs.append((finished.layout.mask(image_id), keys[cam.argmax(axis=0)]))
        assert (rows[weight, False]["miou"], rows[weight, False]["accuracy"]) == miou(pairs)


@pytest.mark.parametrize(
    "path, key, list_name, folder",
    [
        ("eval/seg.json", None, "train", "seg_label"),
        ("eval/deeplab_val.json", "plain", "val", "deeplab/val"),
        ("eval/deeplab_val.json", "crf", "val", "deeplab/val_crf"),
    ],
)
def test_scores_of_labels_counted_anew(finished, path, key, list_name, folder):
    result = json.loads((finished.run / path).read_text())
    assert result["list"] == list_name
    result = result[key] if key else result
    pairs = [
        (finished.layout.mask(i), read_png(finished.run / folder / f"{i}.png")) for i in finished.layout.ids(list_name)
    ]
    assert (result["miou"], result["accuracy"]) == miou(pairs)


def test_the_confusion_of_every_score_is_kept(finished):
    for row in json.loads((finished.run / "eval/cam.json").read_text())["maps"]["cam"]:
        matrix = np.array(row["confusion"])
        assert matrix.shape == (6, 7) and np.diag(matrix).sum() / matrix.sum() == pytest.approx(row["accuracy"])


def test_report_shows_every_stage(finished):
    text = (finished.run / "report/report.md").read_text()
    for start in (
        "| CAM | train | x 0.8 |",
        "| IS-CAM | train | x 1 |",
        "| AE-IS-CAM | train | x 0.8 |",
        "| pseudo label | train |",
        "| DeepLabV3 | val |",
        "| striped |",
    ):
        assert any(line.startswith(start) for line in text.splitlines()), start
    with Image.open(finished.run / "report/panels.png") as image:
        assert np.array(image.convert("L")).std() > 10  # something is drawn


def test_the_page_holds_every_stage_and_refers_to_nothing_outside(finished):
    text = (finished.run / "report/index.html").read_text(encoding="utf-8")
    for part in ("scores", "classes", "sweeps", "confusion", "curves", "gallery", "settings"):
        assert f'<section id="{part}">' in text
    for title in (
        "AE-SIPE: losses",
        "IRN: losses",
        "DeepLabV3: losses",
        "seeds before AE",
        "seeds after AE",
        "CRF",
        "pseudo label",
        "prediction",
        "truth",
    ):
        assert title in text
    assert not re.search(r"https?:|<script|<link", re.sub(r"base64,[^\"]+", "", text))


def test_report_compares_runs_draws_the_papers_figures_and_opens_the_page(finished, script, tmp_path, monkeypatch):
    """The second run has maps alone; both folders stay as they are."""
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    other, out = tmp_path / "other", tmp_path / "out"
    shutil.copytree(finished.run / "is_cam", other / "ae_is_cam")
    before = sorted(finished.run.rglob("*")), (finished.run / "config.yaml").read_text()
    flags = ("--images", 1, "--failure_images", 0, "--num_workers", 0, "--figure", "train_000001", "val_000000")
    done = script("report.py", finished.run, other, "--open", "--out", out, *flags)
    assert done.status == 0 and opened == [(out / "index.html").as_uri()], done.err
    assert {path.name for path in out.iterdir()} == {
        "index.html",
        "report.md",
        "panels.png",
        "figure1_train_000001.png",
        "figure1_val_000000.png",
        "figure3.png",
    }
    text = (out / "index.html").read_text(encoding="utf-8")
    assert "other: last map" in text and '<section id="figures">' in text and '<section id="failure">' not in text
    assert before == (sorted(finished.run.rglob("*")), (finished.run / "config.yaml").read_text())
    assert sorted(path.name for path in other.iterdir()) == ["ae_is_cam"]


def test_the_report_is_made_again_when_what_it_shows_has_changed(moved, monkeypatch):
    page = moved.run / "report/index.html"

    def made():
        done = moved.stage("report.py", "--images", 1, "--failure_images", 0)
        assert done.status == 0, done.err
        return page.stat().st_mtime_ns

    def mask():
        path = moved.data / "SegmentationClassAug/train_000000.png"
        Image.fromarray(np.zeros(moved.layout.mask("train_000000").shape, np.uint8)).save(path)

    def score():
        result = load_json(moved.run / "eval/seg.json")
        save_json(moved.run / "eval/seg.json", {**result, "miou": 0.5})

    at = made()
    assert made() == at
    changes = (mask, score, lambda: append_json(moved.run / "log.jsonl", {"stage": "aesipe", "step": 9, "loss": 1.0}))
    for change in changes:
        change()
        before, at = at, made()
        assert at != before and made() == at
    monkeypatch.setattr("viz.page.write_page", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        moved.stage("report.py", "--images", 1, "--failure_images", 0, "--list", "val")
    assert not (moved.run / "report/settings.yaml").exists()  # or what is left would count as a page


@pytest.mark.parametrize("name", ["index.html", "report.md"])
def test_report_overwrites_nobody_elses_page(finished, script, tmp_path, name):
    (tmp_path / name).write_text("mine")
    done = script("report.py", finished.run, "--out", tmp_path)
    assert done.status == 2 and f"{name}: would be overwritten: move it, or choose another --out" in done.err
    assert (tmp_path / name).read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["{run}/none"], "none: no such run folder: give --run RUN, to report.py RUN before the flags"),
        (["{run}", "--figure", "nothing"], "nothing.jpg: no such image"),
        (["{run}/ckpt"], "names no dataset: give --dataset_root"),
    ],
)
def test_report_refuses_what_it_cannot_show_before_it_writes(finished, script, tmp_path, arguments, message):
    done = script(
        "report.py", *(part.replace("{run}", str(finished.run)) for part in arguments), "--out", tmp_path / "out"
    )
    assert done.status == 2 and len(done.err.splitlines()) == 1 and message in done.err
    assert not (tmp_path / "out").exists()


def test_the_runs_config_gives_the_same_settings(finished):
    path = finished.run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    assert set(config) == {
        "train_aesipe",
        "make_cam",
        "eval_cam",
        "make_ir_labels",
        "train_irn",
        "make_seg_labels",
        "eval_seg",
        "deeplab_train",
        "deeplab_test",
        "report",
    }
    for section, values in config.items():
        assert plain(parse(section, argv=["--config", str(path)])) == values
