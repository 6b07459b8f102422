"""The command lines as a user runs them, on a toy set so small that every stage takes seconds."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scripts import REPOSITORY, SMALL, error_lines, read_png, run, stamps

from data.layout import Layout
from tool.cam_file import load_cam
from tool.config import parse
from tool.record import checkpoint_record
from tool.settings import plain
from tool.stages import BY_NAME, STAGES

SCRIPTS = (
    "prepare_dataset.py",
    "train_aesipe.py",
    "make_cam.py",
    "eval_cam.py",
    "make_ir_labels.py",
    "train_irn.py",
    "make_seg_labels.py",
    "eval_seg.py",
    "deeplab/train.py",
    "deeplab/test.py",
    "report.py",
    "predict.py",
    "export.py",
)
MAPS = ("cam", "is_cam", "ae_is_cam")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """All stages, once. Holds the command without its stages, its output, the run's folder and the data set."""
    root = tmp_path_factory.mktemp("pipeline")
    command = [
        "bash",
        "run_pipeline.sh",
        "configs/demo.yaml",
        *SMALL,
        f"common.dataset_root={root / 'toy'}",
        f"common.run_root={root / 'runs'}",
    ]
    done = run(*command)
    assert done.returncode == 0, done.stderr[-3000:]
    return SimpleNamespace(
        command=command, output=done.stdout, run=root / "runs" / "demo", root=root, layout=Layout(root / "toy")
    )


def finished(run):
    """The records of what each stage took."""
    return [line for line in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if line.get("finished")]


@pytest.mark.parametrize("name", [stage.script for stage in STAGES if stage.name not in ("dataset", "report")])
def test_a_stage_that_finds_all_done_imports_nothing_heavy(demo, name):
    done = run(sys.executable, "-X", "importtime", name, "--config", demo.run / "config.yaml")
    assert done.returncode == 0 and not error_lines(done.stderr)
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "data.layout" in loaded and not loaded & {"torch", "torchvision", "numpy", "cv2", "scipy", "matplotlib"}


def where(demo, session):
    return (
        "--run_root",
        demo.run.parent,
        "--dataset_root",
        demo.layout.root,
        "--session_name",
        session,
        "--num_workers",
        "0",
    )


def present(layout, image_id):
    return {0, *(layout.labels(image_id).nonzero()[:, 0] + 1).tolist()}


def test_the_python_that_is_given_is_used(tmp_path):
    """Else every run installs the requirements anew, or fails where there is no network."""

    def check(path):
        done = run(sys.executable, "-m", "tool.requirements", path)
        assert done.stderr == ""
        return done.returncode

    assert check("requirements.txt") == 0 and check("requirements-test.txt") == 0
    (tmp_path / "a.txt").write_text("no-such-package-at-all>=1\n")
    (tmp_path / "b.txt").write_text("torch>=1  # or newer\n-r a.txt\n")
    (tmp_path / "c.txt").write_text("torch<1\n")
    assert [check(tmp_path / name) for name in ("a.txt", "b.txt", "c.txt")] == [1, 1, 1]


def test_the_driver_says_where_it_is(demo):
    stages = [line for line in demo.output.splitlines() if line.startswith("== ")]
    assert len(stages) == 11 and stages[0].startswith("== dataset (1 of 11") and "report (11 of 11" in stages[-1]
    assert "setup:" not in demo.output


@pytest.mark.parametrize("folder", MAPS)
def test_cams_fit_their_images(demo, folder):
    ids = demo.layout.ids("train_aug")
    assert {path.name for path in (demo.run / folder).iterdir()} == {*(f"{i}.npz" for i in ids), "settings.yaml"}
    for image_id in ids:
        with np.load(demo.run / folder / f"{image_id}.npz", allow_pickle=False) as data:
            assert sorted(data) == ["cam", "keys"]
            keys, cam = data["keys"], data["cam"]
        assert keys.dtype == np.uint8 and cam.dtype == np.float16
        assert keys.tolist() == sorted(present(demo.layout, image_id))
        assert cam.shape == (len(keys), *demo.layout.image(image_id).shape[1:])
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
def test_labels_are_palette_pngs_of_the_images_classes(demo, folder, list_name, extra):
    ids = demo.layout.ids(list_name)
    assert {path.name for path in (demo.run / folder).iterdir()} == {*(f"{i}.png" for i in ids), "settings.yaml"}
    for image_id in ids:
        labels = read_png(demo.run / folder / f"{image_id}.png")
        assert labels.shape == demo.layout.image(image_id).shape[1:]
        allowed = set(range(6)) if extra is None else present(demo.layout, image_id) | extra
        assert set(np.unique(labels).tolist()) <= allowed


def test_checkpoints_are_whole_and_know_their_settings(demo):
    assert sorted(path.name for path in (demo.run / "ckpt").iterdir()) == ["aesipe.pt", "deeplab.pt", "irn.pt"]
    for name in ("aesipe", "deeplab", "irn"):
        state = torch.load(demo.run / "ckpt" / f"{name}.pt", weights_only=True)
        assert set(state) == {"model", "step", "revision"} and all(
            value.isfinite().all() for value in state["model"].values()
        )
        assert checkpoint_record(demo.run / "ckpt" / f"{name}.pt")["settings"]["batch_size"] == 4


def test_the_log_tells_the_steps_the_mious_and_what_each_stage_took(demo):
    logged = [json.loads(line) for line in (demo.run / "log.jsonl").read_text().splitlines()]
    steps = [
        (line["stage"], line["step"], set(line["val"]) if "val" in line else "loss" in line)
        for line in logged
        if "step" in line
    ]
    assert steps == [("aesipe", 3, True), ("aesipe", 3, set(MAPS)), ("irn", 3, True), ("deeplab", 2, True)]
    usage = {line["stage"]: line for line in finished(demo.run)}
    assert {stage: (line["did"], line["of"]) for stage, line in usage.items()} == {
        "train_aesipe": (3, 3),
        "make_cam": (13, 13),
        "eval_cam": (6, 6),
        "make_ir_labels": (13, 13),
        "train_irn": (3, 3),
        "make_seg_labels": (13, 13),
        "eval_seg": (13, 13),
        "deeplab_train": (2, 2),
        "deeplab_test": (4, 4),
        "report": (2, 2),
    }
    for line in usage.values():
        assert 0 < line["seconds"] < 600 and 100 < line["peak_memory_mb"] < 10_000
        assert (line["device"], line["peak_gpu_memory_mb"], line["processes"]) == ("cpu", None, 1)
    assert sorted(path.name for path in (demo.run / "tensorboard").iterdir()) == [
        "aesipe",
        "deeplab",
        "deeplab_test",
        "eval_cam",
        "eval_seg",
        "irn",
    ]


def test_no_temporary_files_are_left(demo):
    assert not [path for path in demo.root.rglob("*") if path.name.endswith(".tmp")]


def miou(pairs):
    """Mean IoU and accuracy over pairs of truth and labels, counted class by class."""
    truth, labels = (np.concatenate([part.ravel() for part in parts]) for parts in zip(*pairs))
    ious = [((truth == k) & (labels == k)).sum() / ((truth == k) | (labels == k)).sum() for k in np.unique(truth)]
    return pytest.approx((np.mean(ious), (truth == labels).mean()))


@pytest.mark.parametrize("name", MAPS)
def test_scores_of_the_cams_counted_anew(demo, name):
    result = json.loads((demo.run / "eval/cam.json").read_text())
    assert result["list"] == "train" and set(result["maps"]) == set(MAPS)
    rows = {(row["background_weight"], row["crf"]): row for row in result["maps"][name]}
    weights = (0.3, 0.5, 0.8, 1.0)
    assert list(rows) == [*((weight, False) for weight in weights), (0.8, True), (1.0, True)]
    for weight in weights:
        pairs = []
        for image_id in demo.layout.ids("train"):
            with np.load(demo.run / name / f"{image_id}.npz") as data:
                keys, cam = data["keys"], data["cam"].astype(np.float32)
            cam[0] *= np.float32(weight)
            pairs.append((demo.layout.mask(image_id), keys[cam.argmax(axis=0)]))
        assert (rows[weight, False]["miou"], rows[weight, False]["accuracy"]) == miou(pairs)


def test_crf_of_some_maps_alone(demo, script, tmp_path):
    shutil.copytree(demo.run / "ae_is_cam", tmp_path / "one" / "ae_is_cam")
    shutil.copytree(demo.run / "is_cam", tmp_path / "one" / "is_cam")
    done = script(
        "eval_cam.py",
        "--run_root",
        tmp_path,
        "--session_name",
        "one",
        "--dataset_root",
        demo.layout.root,
        "--num_workers",
        1,
        "--maps",
        "is_cam",
        "ae_is_cam",
        "--crf_maps",
        "ae_is_cam",
        "--background_weight",
        0.8,
    )
    assert done.status == 0
    maps = json.loads((tmp_path / "one" / "eval" / "cam.json").read_text())["maps"]
    assert [row["crf"] for row in maps["is_cam"]] == [False]
    assert [row["crf"] for row in maps["ae_is_cam"]] == [False, True]
    known = json.loads((demo.run / "eval" / "cam.json").read_text())["maps"]["ae_is_cam"]
    assert all(row in known for row in maps["ae_is_cam"])


@pytest.mark.parametrize(
    "path, key, list_name, folder",
    [
        ("eval/seg.json", None, "train_aug", "seg_label"),
        ("eval/deeplab_val.json", "plain", "val", "deeplab/val"),
        ("eval/deeplab_val.json", "crf", "val", "deeplab/val_crf"),
    ],
)
def test_scores_of_labels_counted_anew(demo, path, key, list_name, folder):
    result = json.loads((demo.run / path).read_text())
    assert result["list"] == list_name
    result = result[key] if key else result
    pairs = [(demo.layout.mask(i), read_png(demo.run / folder / f"{i}.png")) for i in demo.layout.ids(list_name)]
    assert (result["miou"], result["accuracy"]) == miou(pairs)


def test_report_shows_every_stage(demo):
    text = (demo.run / "report/report.md").read_text()
    for start in (
        "| CAM | train | x 0.8 |",
        "| IS-CAM | train | x 1 |",
        "| AE-IS-CAM | train | x 0.8 |",
        "| pseudo label | train_aug |",
        "| DeepLabV3 | val |",
        "| striped |",
    ):
        assert any(line.startswith(start) for line in text.splitlines()), start
    with Image.open(demo.run / "report/panels.png") as image:
        assert np.array(image.convert("L")).std() > 10  # something is drawn


def test_the_page_holds_every_stage_and_refers_to_nothing_outside(demo):
    text = (demo.run / "report/index.html").read_text(encoding="utf-8")
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


def test_the_confusion_of_every_score_is_kept(demo):
    for row in json.loads((demo.run / "eval/cam.json").read_text())["maps"]["cam"]:
        matrix = np.array(row["confusion"])
        assert matrix.shape == (6, 7) and np.diag(matrix).sum() / matrix.sum() == pytest.approx(row["accuracy"])


def test_report_compares_runs_and_draws_the_papers_figures(demo, tmp_path):
    """The second run has maps alone; both folders stay as they are."""
    other = tmp_path / "other"
    shutil.copytree(demo.run / "is_cam", other / "ae_is_cam")
    before = sorted(demo.run.rglob("*")), (demo.run / "config.yaml").read_text()
    done = run(
        sys.executable,
        "report.py",
        demo.run,
        other,
        "--out",
        tmp_path / "out",
        "--images",
        "1",
        "--failure_images",
        "0",
        "--num_workers",
        "1",
        "--figure",
        "train_000001",
        "val_000000",
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "index.html",
        "report.md",
        "panels.png",
        "figure1_train_000001.png",
        "figure1_val_000000.png",
        "figure3.png",
    }
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "other: last map" in text and '<section id="figures">' in text and '<section id="failure">' not in text
    assert before == (sorted(demo.run.rglob("*")), (demo.run / "config.yaml").read_text())
    assert sorted(path.name for path in other.iterdir()) == ["ae_is_cam"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["{run}/none"], "none: no such run folder"),
        (["{run}", "--figure", "nothing"], "nothing.jpg: no such image"),
        (["{run}/ckpt"], "names no dataset: give --dataset_root"),
    ],
)
def test_report_refuses_what_it_cannot_show_before_it_writes(demo, script, tmp_path, arguments, message):
    done = script("report.py", *(part.replace("{run}", str(demo.run)) for part in arguments), "--out", tmp_path / "out")
    assert done.status == 2 and len(done.err.splitlines()) == 1 and message in done.err
    assert not (tmp_path / "out").exists()


def test_the_runs_config_gives_the_same_settings(demo):
    path = demo.run / "config.yaml"
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


def test_a_second_call_makes_only_what_is_missing(demo, script):
    """Some stages by the driver, the others within this process, which is faster."""
    before, usage = stamps(demo.run), finished(demo.run)
    lost_map, lost_label = demo.run / "is_cam/train_000003.npz", demo.run / "seg_label/train_000004.png"
    (_, cam), label = load_cam(lost_map), lost_label.read_bytes()
    lost_map.unlink()
    lost_label.unlink()
    for name in ("train_aesipe.py", "make_cam.py", "deeplab/train.py", "deeplab/test.py"):
        assert script(name, "--config", demo.run / "config.yaml").status == 0
    done = run(*demo.command, "--from", "make_ir_labels", "--to", "make_seg_labels")
    assert done.returncode == 0 and "irn.pt: already trained with these settings" in done.stdout
    after = stamps(demo.run)
    again = [demo.run / "ae_is_cam/train_000003.npz", demo.run / "cam/train_000003.npz"]  # of the same pass
    assert after.keys() == before.keys()
    assert {path for path in after if after[path] != before[path]} == {lost_map, lost_label, *again}
    assert np.abs(load_cam(lost_map)[1] - cam).max() < 0.01 and lost_label.read_bytes() == label
    usage = [(line["stage"], line["did"], line["of"]) for line in finished(demo.run)[len(usage) :]]
    assert usage == [("make_cam", 1, 13), ("make_seg_labels", 1, 13)]  # the others found everything done


def test_other_settings_end_a_process_with_status_2(demo):
    done = run(sys.executable, "make_cam.py", "--config", demo.run / "config.yaml", "--scales", "0.5")
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
def test_every_stage_refuses_outputs_of_other_settings(demo, script, name, flags, key):
    before = stamps(demo.run)
    done = script(name, "--config", demo.run / "config.yaml", *flags)
    assert done.status == 2 and len(done.err.splitlines()) == 1 and key in done.err
    assert stamps(demo.run) == before


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
def test_a_stage_before_its_turn_names_what_is_missing(demo, script, name, missing):
    done = script(name, *where(demo, "empty"))
    assert done.status == 2 and len(done.err.splitlines()) == 1
    assert f"{demo.run.parent / 'empty' / missing}" in done.err and "first" in done.err


def test_a_missing_image_ends_a_stage_with_one_line(demo):
    """With a worker process, as is the default: its error must not come with its traceback."""
    root = demo.root / "broken"
    shutil.copytree(demo.layout.root, root)
    (root / "JPEGImages/train_000000.jpg").unlink()
    done = run(
        sys.executable,
        "train_aesipe.py",
        "--dataset_root",
        root,
        "--run_root",
        demo.root,
        "--session_name",
        "broken_run",
        "--backbone",
        "resnet18",
        "--weights",
        "none",
        "--batch_size",
        "13",
        "--crop_size",
        "32",
        "--num_workers",
        "1",
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    (line,) = error_lines(done.stderr)
    assert line.startswith(f"error: {root / 'JPEGImages/train_000000'}.jpg: no such image (") and "--skip_bad" in line


def test_bad_images_are_named_at_the_start_of_a_run_or_left_out_and_listed(demo, script):
    root = demo.root / "bad"
    shutil.copytree(demo.layout.root, root)
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
    assert f"  train_000002: {cut}: cannot be decoded" in done.err and f"  val_000001: {wrong}: is [3, 4]" in done.err
    shutil.copytree(demo.run / "ckpt", demo.root / "skipping/demo/ckpt")
    done = script(
        "make_cam.py",
        "--config",
        demo.run / "config.yaml",
        "--dataset_root",
        root,
        "--run_root",
        demo.root / "skipping",
        "--num_workers",
        0,
        "--skip_bad",
    )
    assert done.status == 0, done.err
    made = {path.stem for path in (demo.root / "skipping/demo/cam").glob("*.npz")}
    assert made == {*demo.layout.ids("train_aug")} - {"train_000002"}


def test_sigterm_to_the_driver_saves_and_the_same_line_goes_on(demo):
    command = [
        *demo.command,
        "--from",
        "train_aesipe",
        "--to",
        "train_aesipe",
        "common.session_name=stopped",
        "train_aesipe.max_epochs=6",
        "train_aesipe.val_every=0",
    ]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    driver = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    log = demo.run.parent / "stopped/log.jsonl"
    while not log.exists():  # its first line comes after 10 steps
        assert driver.poll() is None
        time.sleep(0.02)
    driver.terminate()
    _, err = driver.communicate(timeout=60)
    states = list((demo.run.parent / "stopped/ckpt/aesipe_state").iterdir())
    assert driver.returncode == 130 and "Traceback" not in err and len(states) == 1 and 10 <= int(states[0].stem) < 18
    assert "stage train_aesipe was stopped: go on with: bash run_pipeline.sh" in err.splitlines()[-1]
    done = run(*command)
    assert done.returncode == 0 and f"going on after step {int(states[0].stem)}" in done.stdout


def test_data_without_masks_cannot_be_evaluated_but_is_no_error(demo, script, tmp_path):
    for part in ("JPEGImages", "lists", "classes.txt", "image_labels.txt"):
        (tmp_path / part).symlink_to(demo.layout.root / part)
    for name in ("eval_cam.py", "eval_seg.py"):
        done = script(name, "--dataset_root", tmp_path, "--run_root", tmp_path, "--session_name", "none")
        assert done.status == 0 and "no masks" in done.out and not (tmp_path / "none").exists()


def test_a_crop_too_small_for_irns_radius_is_refused(demo, script):
    """At stride 4 a crop of 64 is 16 pixels wide, less than 2 * 10 - 1: there would be no pair."""
    for part in ("ir_label", "ae_is_cam"):
        shutil.copytree(demo.run / part, demo.run.parent / "radius" / part)
    done = script(
        "train_irn.py",
        *where(demo, "radius"),
        "--backbone",
        "resnet18",
        "--weights",
        "none",
        "--crop_size",
        "64",
        "--radius",
        "10",
        "--batch_size",
        "4",
        "--max_epochs",
        "1",
    )
    assert done.status == 2 and len(error_lines(done.err)) == 1


def test_a_batch_of_one_image_trains_or_is_refused(demo, script):
    """DeepLab's head normalises a single position of the image over the batch, which takes two images."""
    done = script(
        "deeplab/train.py",
        *where(demo, "one"),
        "--backbone",
        "resnet18",
        "--weights",
        "none",
        "--labels",
        "truth",
        "--crop_size",
        "32",
        "--batch_size",
        "1",
        "--max_iters",
        "1",
    )
    assert (done.status, len(error_lines(done.err))) in ((0, 0), (2, 1))


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name, script):
    done = script(name, "--help")
    assert done.status == 0 and done.err == "" and "--config" in done.out and "--session_name" in done.out


def test_help_of_the_driver():
    done = run("bash", "run_pipeline.sh", "--help")
    assert done.returncode == 0 and "--from STAGE" in done.stdout and "train_aesipe make_cam" in done.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--from", "nonsense"], "'nonsense' is unknown: stages are dataset train_aesipe"),
        (["--to", "cam"], "'cam' is unknown"),
        (["--form", "make_cam"], "--form is unknown"),
        (["--from"], "--from needs a stage"),
        (["configs/none.yaml", "--to", "dataset"], "configs/none.yaml: cannot be read"),
        (["configs/demo.yaml", "--to", "dataset", "commen.seed=1"], "section 'commen' is unknown"),
    ],
)
def test_the_driver_refuses_bad_arguments_with_one_line(arguments, message):
    done = run("bash", "run_pipeline.sh", *arguments)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and message in done.stderr
    assert "==" not in done.stdout


def test_a_stage_that_fails_ends_the_driver_and_says_how_to_go_on(demo):
    shutil.copytree(demo.run / "ae_is_cam", demo.run.parent / "nothing/ae_is_cam")
    (demo.run.parent / "nothing/ae_is_cam/train_000001.npz").unlink()
    done = run(
        *demo.command,
        "--from",
        "make_ir_labels",
        "--to",
        "train_irn",
        "common.session_name=nothing",
        "train_irn.weights=none",
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr and "== train_irn" not in done.stdout
    hint = done.stderr.splitlines()[-1]
    assert "stage make_ir_labels failed" in hint and "--from make_ir_labels" in hint
    assert "common.session_name=nothing" in hint  # without it the hint would go on with another run


def test_two_processes_train_the_same_network_and_share_the_images(demo):
    """With the global batch the same and batch norm frozen, only the order of summation differs."""
    done = run(*demo.command, "--from", "train_aesipe", "--to", "make_cam", "common.session_name=two", GPUS="2")
    assert done.returncode == 0, done.stderr[-3000:]
    two = demo.run.parent / "two"
    stages = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("== ")]
    assert stages == ["train_aesipe", "make_cam"]
    one, other = (torch.load(run / "ckpt/aesipe.pt", weights_only=True)["model"] for run in (demo.run, two))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=1e-5, rtol=1e-4, msg=lambda text: f"{name}: {text}")
    records = [checkpoint_record(folder / "ckpt/aesipe.pt") for folder in (two, demo.run)]
    assert records[0].pop("result") != records[1].pop("result") and records[0] == records[1]
    for folder in MAPS:
        assert {path.name for path in (two / folder).iterdir()} == {path.name for path in (demo.run / folder).iterdir()}
    logged, alone = (
        [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()][:4] for run in (two, demo.run)
    )
    assert [line["stage"] for line in logged] == ["aesipe", "aesipe", "train_aesipe", "make_cam"]  # the first's alone
    assert logged[1]["val"] == pytest.approx(alone[1]["val"], abs=0.01)
    assert [(line["did"], line["of"], line["processes"]) for line in logged[2:]] == [(3, 3, 2), (13, 13, 2)]


def test_deterministic_training_gives_the_same_bits_twice(demo):
    """Dropout, random crops and two loader processes included: DeepLab's head has the first."""
    weights = []
    for name in ("one", "two"):
        done = run(
            sys.executable,
            "deeplab/train.py",
            "--config",
            demo.run / "config.yaml",
            "--session_name",
            name,
            "--run_root",
            demo.root / "deterministic",
            "--weights",
            "none",
            "--labels",
            "truth",
            "--deterministic",
            "--num_workers",
            2,
        )
        assert done.returncode == 0, done.stderr
        path = demo.root / "deterministic" / name / "ckpt" / "deeplab.pt"
        weights.append(torch.load(path, weights_only=True)["model"])
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    assert not torch.equal(weights[0]["head.4.weight"], torch.zeros_like(weights[0]["head.4.weight"]))


def test_cams_of_8_bits_are_read_as_others_are(demo, script):
    """Both exports in this process: on other threads, rounding moves seeds of so young a network."""
    cams = {}
    for bits in (16, 8):
        root = demo.root / f"{bits}bits"
        shutil.copytree(demo.run / "ckpt", root / "demo" / "ckpt")
        done = script(
            "make_cam.py",
            "--config",
            demo.run / "config.yaml",
            "--run_root",
            root,
            "--cam_bits",
            bits,
            "--list",
            "train",
            "--num_workers",
            0,
        )
        assert done.status == 0, done.err
        cams[bits] = [
            load_cam(root / "demo" / "ae_is_cam" / f"{image_id}.npz") for image_id in demo.layout.ids("train")
        ]
    for (keys, cam), (expected_keys, expected) in zip(cams[8], cams[16]):
        assert keys.tolist() == expected_keys.tolist() and np.abs(cam - expected).max() <= 0.5 / 255 + 1e-3


@pytest.mark.parametrize(
    "stage, precision",
    [("make_cam", "float32"), ("make_seg_labels", "float32"), ("deeplab_test", "float32"), ("train_aesipe", "auto")],
)
def test_exports_are_exact_unless_told_otherwise(stage, precision):
    """Rounding changes labels (docs/benchmarks.md), so only training takes what the GPU is fastest at."""
    assert BY_NAME[stage].settings().precision == precision
