import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from PIL import Image
from scripts import run

import check_config
from data.toy import make_toy
from tool.stages import BY_NAME


def test_writes_the_file_with_the_overrides(tmp_path):
    (tmp_path / "in.yaml").write_text("common: {seed: 1, backbone: resnet18}\nreport:\n")
    assignments = ["common.seed=7", "report.scales=[1.0, 2]", "train_aesipe.ae=false", "report.list=a=b"]
    done = run(sys.executable, "check_config.py", tmp_path / "in.yaml", tmp_path / "out.yaml", *assignments)
    assert done.returncode == 0 and done.stderr == ""
    assert yaml.safe_load((tmp_path / "out.yaml").read_text()) == {
        "common": {"seed": 7, "backbone": "resnet18"},
        "report": {"scales": [1.0, 2], "list": "a=b"},
        "train_aesipe": {"ae": False},
    }


@pytest.fixture
def main(monkeypatch, capsys):
    """main(words, variables): its refusal, or what it prints; within this process to save time."""

    def call(*words, **variables):
        for name in ("GPUS", "NNODES", "RUN_STAGES"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["check_config.py", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            check_config.run_main(lambda: check_config.main() or sys.exit(0))
        said = capsys.readouterr()
        assert not said.err or (stop.value.code, len(said.err.splitlines()), said.out) == (2, 1, "")
        return said.err or said.out

    return call


def test_batches_that_cannot_be_shared_out_are_refused_for_the_stages_that_run(tmp_path, main):
    (tmp_path / "in.yaml").write_text("deeplab_train: {batch_size: 4}\n")
    words = tmp_path / "in.yaml", tmp_path / "out.yaml"
    for stage, batch in (("train_aesipe", 16), ("train_irn", 32), ("deeplab_train", 4)):
        said = main(*words, GPUS="3", RUN_STAGES=f"make_cam {stage}")
        assert f"in.yaml: section {stage}: batch_size {batch} " in said
        if stage != "deeplab_train":  # whose batch of 4 is too small as well
            assert "cannot be shared out evenly in 3 parts, processes times accumulate: choose a multiple" in said
    assert "train_aesipe: batch_size 16 cannot be shared out evenly in 32 " in main(*words, GPUS="16", NNODES="2")
    assert "deeplab_train: batch_size 4 in 5 part" in main(*words, GPUS="5", RUN_STAGES="deeplab_train report")
    for variables in ({"GPUS": "2", "NNODES": "2"}, {"GPUS": "4"}):
        said = main(*words, **variables)
        assert "section deeplab_train: batch_size 4 in 4 part(s), processes times accumulate: batch norm" in said
    assert not words[1].exists()
    assert main(*words, GPUS="3", RUN_STAGES="dataset") == main(*words, GPUS="1", NNODES="2")
    assert words[1].exists()


def test_scores_that_nothing_keeps_are_named_with_the_setting_that_keeps_them(tmp_path, main):
    (tmp_path / "in.yaml").write_text(f"common: {{run_root: {tmp_path}}}\neval_seg: {{background_weight: [0.5, 1]}}\n")
    words = tmp_path / "in.yaml", tmp_path / "out.yaml"
    said = main(*words)
    assert said.endswith("makes it: give make_seg_labels.keep_scores=true\n") and "seg_score" in said
    (tmp_path / "aesipe/seg_label").mkdir(parents=True)
    said = main(*words, RUN_STAGES="eval_seg")
    assert said.endswith("give make_seg_labels.keep_scores=true, and begin with --from dataset\n")
    said = main(*words, "make_seg_labels.keep_scores=true", "common.refine=crf")
    assert "section make_seg_labels: keep_scores: with refine crf there is no walk" in said


def test_the_stage_to_begin_with_is_named_at_once(tmp_path, main, capsys):
    """Found: --from deeplab_test was answered with the stage before it, that one with the stage before, six times."""
    (tmp_path / "in.yaml").write_text(f"common: {{dataset_root: {tmp_path}/toy, run_root: {tmp_path}}}\n")
    words, run = (tmp_path / "in.yaml", tmp_path / "out.yaml"), tmp_path / "aesipe"
    assert main(*words, RUN_STAGES="deeplab_test").endswith("makes it: begin with --from dataset\n")
    make_toy(tmp_path / "toy", 2, 4, 2, size=64)
    capsys.readouterr()
    for made, begin in (
        ("", "train_aesipe"),
        ("ckpt/aesipe.pt", "make_cam"),
        ("ae_is_cam", "make_ir_labels"),
        ("ir_label", "train_irn"),
        ("ckpt/irn.pt", "make_seg_labels"),
        ("seg_label", "deeplab_train"),
    ):
        (run / made).mkdir(parents=True)
        said = main(*words, RUN_STAGES="deeplab_test report")
        assert said.endswith(
            f"ckpt/deeplab.pt, which is not there, and no stage from --from on makes it: begin with --from {begin}\n"
        )


def test_with_dense_crf_in_irns_place_nothing_of_irn_is_asked_for(tmp_path, main, capsys):
    """Found: its weights and labels were demanded, though its stages do nothing then."""
    make_toy(tmp_path / "toy", 2, 4, 2, size=64)
    capsys.readouterr()
    config = {"common": {"dataset_root": f"{tmp_path}/toy", "run_root": str(tmp_path)}}
    (tmp_path / "in.yaml").write_text(yaml.safe_dump(config | {"train_irn": {"weights": f"{tmp_path}/no.pt"}}))
    words = tmp_path / "in.yaml", tmp_path / "out.yaml"
    (tmp_path / "aesipe/ae_is_cam").mkdir(parents=True)
    stages = "train_irn make_seg_labels"
    assert "ir_label" in main(*words, RUN_STAGES=stages)
    assert "no.pt" in main(*words, RUN_STAGES=f"make_ir_labels {stages}")
    assert main(*words, "common.refine=crf", RUN_STAGES=stages) == f"{tmp_path}/aesipe\n"


@pytest.mark.parametrize(
    "setting, usual",
    [
        ("train_irn.labels", "ir_label, or truth"),
        ("deeplab_train.labels", "seg_label, or truth"),
        ("eval_seg.folder", "seg_label"),
    ],
)
def test_a_folder_that_no_stage_writes_is_said_to_be_one(tmp_path, main, setting, usual):
    """Found: the line said to begin with --from make_cam, which does not write it either."""
    (tmp_path / "in.yaml").write_text(f"common: {{run_root: {tmp_path}}}\n")
    words = tmp_path / "in.yaml", tmp_path / "out.yaml", f"{setting}=pseudo"
    says = (
        f"{setting} is pseudo, but no stage writes it and {tmp_path}/aesipe/pseudo is not there: name a folder of the"
    )
    assert main(*words) == f"error: {says} run, such as {usual}\n"
    (tmp_path / "aesipe/pseudo").mkdir(parents=True)
    assert "pseudo" not in main(*words)


def test_masks_that_training_on_the_truth_will_miss_are_named_at_once(tmp_path, main, capsys):
    make_toy(tmp_path / "toy", 2, 4, 2, size=64)
    capsys.readouterr()
    root = f"common: {{dataset_root: {tmp_path}/toy, run_root: {tmp_path}}}\n"
    (tmp_path / "in.yaml").write_text(f"{root}deeplab_train: {{labels: truth}}\ntrain_irn: {{labels: truth}}\n")
    words = tmp_path / "in.yaml", tmp_path / "out.yaml"
    assert main(*words) == f"{tmp_path}/aesipe\n"
    first = (tmp_path / "toy/lists/train_aug.txt").read_text().split()[0]
    (tmp_path / f"toy/SegmentationClassAug/{first}.png").unlink()
    for section in ("train_irn", "deeplab_train"):
        said = main(*words, RUN_STAGES=f"dataset {section}")
        assert f"{section}.labels is truth, but {tmp_path}/toy has no mask of {first}" in said


def test_images_of_the_reports_figures_are_looked_for_before_the_first_training(tmp_path, main, capsys):
    (tmp_path / "in.yaml").write_text(f"common: {{dataset_root: {tmp_path}/toy, run_root: {tmp_path}}}\n")
    words = tmp_path / "in.yaml", tmp_path / "out.yaml", "report.figure=[nowhere]"
    assert main(*words) == f"{tmp_path}/aesipe\n"  # the stage dataset has yet to make the images
    make_toy(tmp_path / "toy", 2, 4, 2, size=64)
    capsys.readouterr()
    assert "error: report.figure: " in (said := main(*words)) and "nowhere" in said
    first, second = (tmp_path / "toy/lists/train_aug.txt").read_text().split()[:2]
    assert main(*words[:2], f"report.figure=[{first}]") == f"{tmp_path}/aesipe\n"
    labels = tmp_path / "toy/image_labels.txt"
    labels.write_text("".join(line for line in labels.open() if not line.startswith(second)))
    said = main(*words[:2], f"report.figure=[{first}, {second}]", RUN_STAGES="report")
    assert second in said and "report.figure: " in said


@pytest.mark.parametrize(
    "section, setting",
    [("make_cam", "scales=[1, 8]"), ("make_seg_labels", "boundary_scale=8"), ("deeplab_test", "scales=[1, 8]")],
)
def test_images_too_large_for_the_scales_are_named_before_the_first_training(tmp_path, main, capsys, section, setting):
    make_toy(tmp_path / "toy", 2, 4, 2, size=64)
    capsys.readouterr()
    (tmp_path / "in.yaml").write_text(f"common: {{dataset_root: {tmp_path}/toy, run_root: {tmp_path}}}\n")
    words = tmp_path / "in.yaml", tmp_path / "out.yaml"
    assert main(*words) == f"{tmp_path}/aesipe\n"
    name = "val" if section == "deeplab_test" else "train"
    path = tmp_path / f"toy/JPEGImages/{(tmp_path / f'toy/lists/{name}.txt').read_text().split()[0]}.jpg"
    Image.new("RGB", (900, 900)).save(path)
    said = main(*words, f"{section}.{setting}")
    assert said.startswith(f"error: {section}: {path}: an image of 900 x 900 cannot be resized by 8")
    path.write_bytes(b"")
    first = "make_cam" if name == "train" else section  # that reads it
    assert f"{first}: {path}: " in main(*words)
    assert main(*words, "common.skip_bad=true") == f"{tmp_path}/aesipe\n"


def test_files_that_the_system_refuses_are_named(tmp_path, main):
    """Found: the file that was being written was blamed."""
    (tmp_path / "in.yaml").write_text("")
    long = f"common.session_name={'x' * 260}"
    said = main(tmp_path / "in.yaml", tmp_path / "out.yaml", f"common.run_root={tmp_path}", long)
    assert "x" * 260 in said and "File name too long" in said and "out.yaml" not in said


def test_one_image_that_the_stage_before_leaves_out_is_named_with_their_number(tmp_path, main, capsys):
    make_toy(tmp_path / "toy", 2, 4, 2, size=64)
    capsys.readouterr()
    lists = tmp_path / "toy/lists"
    (lists / "most.txt").write_text((lists / "train.txt").read_text() + (lists / "val.txt").read_text())
    root = f"common: {{dataset_root: {tmp_path}/toy, run_root: {tmp_path}}}\n"
    (tmp_path / "in.yaml").write_text(f"{root}eval_cam: {{list: most}}\n")
    said = main(tmp_path / "in.yaml", tmp_path / "out.yaml", RUN_STAGES="train_aesipe make_cam eval_cam")
    assert "eval_cam.list is most, but 2 of its 4 images, such as val_000000, are not in make_cam.list" in said


def test_ids_with_brackets_are_found_in_a_folder(tmp_path, main, capsys):
    make_toy(tmp_path / "toy", 2, 4, 2, size=64)
    capsys.readouterr()
    (tmp_path / "toy/lists/odd.txt").write_text("photo[1]\n")
    root = f"common: {{dataset_root: {tmp_path}/toy, run_root: {tmp_path}}}\n"
    (tmp_path / "in.yaml").write_text(f"{root}eval_seg: {{list: odd}}\n")
    words = tmp_path / "in.yaml", tmp_path / "out.yaml"
    stages = "make_cam make_ir_labels train_irn make_seg_labels eval_seg"
    (tmp_path / "aesipe/ckpt").mkdir(parents=True)
    (tmp_path / "aesipe/ckpt/aesipe.pt").write_bytes(b"")
    assert "seg_label would not hold them" in main(*words, RUN_STAGES=stages)
    (tmp_path / "aesipe/seg_label").mkdir()
    (tmp_path / "aesipe/seg_label/photo[1].png").write_bytes(b"")
    assert main(*words, RUN_STAGES=stages) == f"{tmp_path}/aesipe\n"


def test_an_override_in_the_place_of_out_is_no_file(tmp_path, main, monkeypatch):
    (tmp_path / "in.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert "CONFIG and OUT are needed" in main("in.yaml", "train_aesipe.lr=0.1")
    assert main("in.yaml", "out.yaml", "make_cam.maps=[cam, cam]").endswith("maps cam cam: name each once\n")


@pytest.mark.parametrize("section", ["train_aesipe", "make_cam"])
def test_an_order_of_modules_that_cannot_be_is_refused_of_exports_too(tmp_path, main, section):
    (tmp_path / "in.yaml").write_text("")
    words = tmp_path / "in.yaml", tmp_path / "out.yaml", f"{section}.sequence=[is_cam]"
    assert "sequence is_cam: is_cam needs a prototype step before it" in main(*words)
    assert "needs a prototype step" not in main(*words, f"{section}.ae=false", RUN_STAGES="dataset")


@pytest.mark.parametrize(
    "variables", [{"GPUS": "0"}, {"GPUS": "abc"}, {"NNODES": "-1"}, {"GPUS": "1.5"}, {"GPUS": "1_0"}]
)
def test_numbers_of_processes_that_are_none_are_refused(tmp_path, main, variables):
    (tmp_path / "in.yaml").write_text("")
    ((name, value),) = variables.items()
    assert f"{name}={value} must be a whole number" in main(tmp_path / "in.yaml", tmp_path / "out.yaml", **variables)


def test_help_and_missing_words(main):
    assert "python check_config.py CONFIG OUT [section.key=value ...]" in main("--help") and main("a", "-h") == main(
        "-h"
    )
    assert main() == main("configs/demo.yaml") and "CONFIG and OUT are needed" in main()


def test_a_file_that_must_not_be_overwritten_stays(tmp_path, main):
    """Found: with OUT the config itself, the user's file was replaced, its comments lost."""
    path = tmp_path / "in.yaml"
    path.write_text("# mine\n")
    (tmp_path / "link.yaml").symlink_to(path)
    for out in (path, tmp_path / "link.yaml", tmp_path, "/dev/null"):
        assert "would be overwritten" in main(path, out)
    assert path.read_text() == "# mine\n" and (tmp_path / "link.yaml").is_symlink()
    assert "none.yaml: cannot be read" in main(tmp_path / "none.yaml", path)
    assert "cannot be written" in main(path, path / "out.yaml")


@pytest.mark.parametrize(
    "assignment, message",
    [
        ("common.dataset_root=", "common.dataset_root=: has no value: null stands for the default"),
        ("common.seed= ", "has no value"),
        ("common.seed=010", "'010' is not a YAML value: line 1, column 1: '010' is one number to some"),
        ("common.seed=1:30", "write it in decimal"),
        ("common={seed: 1}", "are written section.key=value"),
        ("=", "are written section.key=value"),
        (".seed=1", "section '' is unknown"),
        ("common.=1", "are written"),
        ("lr=0.1", "lr=0.1: overrides are written section.key=value: train_aesipe, train_irn, deeplab_train have it\n"),
        ("device=cpu", "device=cpu: overrides are written section.key=value: common has it\n"),
        ("annotations=x", "annotations=x: overrides are written section.key=value: dataset has it\n"),
        ("sead=1", "sead=1: overrides are written section.key=value\n"),
        ("common.batch_size=4", "common.batch_size is unknown: train_aesipe, train_irn, deeplab_train have it: keys"),
        ("make_cam.seed=1", "make_cam.seed is unknown: common has it: keys are"),
        ("Common.seed=1", "section 'Common' is unknown"),
        ("common.a.b=1", "in.yaml: common.a.b is unknown"),
        ("make_cam.scales={a: 1, a: 2}", "'a' is given twice"),
        ("make_cam.scales=[1", "expected ',' or ']'"),
        ("common.session_name=a: b", "session_name must be a text"),
        ("common.seed=*a", "aliases (*) are not read"),
        ("deeplab_test.scale=1", "in.yaml: deeplab_test.scale is unknown"),  # of the last stage: hours before it runs
        ("train_irn.lr=fast", "in.yaml: train_irn.lr must be"),
        ("common.sead=1", "in.yaml: common.sead is unknown"),
        ("eval_cam.crf_maps=[cam]", "in.yaml: section eval_cam: crf_maps names cam, which maps does not: add it there"),
        ("train_aesipe.ae=yes", "train_aesipe.ae must be true or false: yes"),
        ("train_aesipe.ae=on", "train_aesipe.ae must be true or false: on"),
        ("train_aesipe.lr=1:30.5", "is one number to some"),
        ("make_cam.scales=[1.0, 0x1]", "'0x1' is one number to some"),
    ],
)
def test_overrides_that_say_nothing_clear_or_nothing_that_is_known_are_refused(tmp_path, main, assignment, message):
    (tmp_path / "in.yaml").write_text("")
    assert message in main(tmp_path / "in.yaml", tmp_path / "out.yaml", assignment)
    assert not (tmp_path / "out.yaml").exists()


def test_of_an_override_that_is_given_twice_the_later_one_counts(tmp_path, main):
    (tmp_path / "in.yaml").write_text("common: {seed: 1}\n")
    main(tmp_path / "in.yaml", tmp_path / "out.yaml", "common.seed=2", "common.seed=3", "train_aesipe.lr=1e-3")
    assert yaml.safe_load((tmp_path / "out.yaml").read_text()) == {"common": {"seed": 3}, "train_aesipe": {"lr": 0.001}}


def test_text_that_looks_like_a_number_reaches_the_stages_as_text(tmp_path, main):
    (tmp_path / "in.yaml").write_text("common: {session_name: '010'}\n")
    assert main(tmp_path / "in.yaml", tmp_path / "out.yaml", "report.figure=[2007_000032]") == "runs/010\n"
    written = yaml.safe_load((tmp_path / "out.yaml").read_text())
    assert written == {"common": {"session_name": "010"}, "report": {"figure": ["2007_000032"]}}


@pytest.fixture
def forecasts(monkeypatch):
    """A machine with a GPU of 8 GiB, and what is asked of `bench.memory.warnings`, which is tested by itself."""
    asked = []

    def warnings(path, names, processes, gib):
        asked.append((path, names, processes, gib))
        return [f"{name} may need 9 GiB" for name in names]

    monkeypatch.setattr("bench.memory.warnings", warnings)
    monkeypatch.setattr("check_config.DRIVER", Path(__file__))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8 << 30))
    return asked


def called(tmp_path, monkeypatch, capsys, *words, **variables):
    """What check_config.py prints, and what to stderr, of a run in tmp_path."""
    for name in ("GPUS", "NNODES", "RUN_STAGES"):
        monkeypatch.setenv(name, variables.get(name, ""))
    line = ["check_config.py", "configs/voc12_resnet101.yaml", tmp_path / "out.yaml", f"common.run_root={tmp_path}"]
    monkeypatch.setattr(sys, "argv", [*map(str, line), *words])
    check_config.main()
    return capsys.readouterr()


def test_the_driver_is_told_of_trainings_that_the_gpu_will_not_hold(tmp_path, monkeypatch, capsys, forecasts):
    """Found: the function was there and tested, and nothing called it."""

    def said(*words, **variables):
        return called(tmp_path, monkeypatch, capsys, *words, **variables)

    every = said(GPUS="2")
    names = ["train_aesipe", "train_irn", "deeplab_train"]
    assert forecasts == [(str(tmp_path / "out.yaml"), names, 2, 8.0)]
    assert every.err == "".join(f"warning: {name} may need 9 GiB\n" for name in names)
    run = tmp_path / "voc12_resnet101"
    assert every.out == f"{run}\n"
    assert said(RUN_STAGES="dataset train_aesipe make_cam").err == "warning: train_aesipe may need 9 GiB\n"
    assert said("common.device=cpu").err == said(RUN_STAGES="dataset").err == ""
    (run / "ckpt").mkdir(parents=True)
    (run / "ckpt/aesipe.pt").touch()
    assert said(RUN_STAGES="dataset train_aesipe").err == ""  # it is done
    assert len(forecasts) == 2
    monkeypatch.setattr("check_config.DRIVER", Path("/nowhere"))
    assert said().err == ""


def test_a_forecast_that_fails_stops_no_run(tmp_path, monkeypatch, capsys, forecasts):
    def warnings(*_):
        raise RuntimeError("a fake tensor\nhas no such thing")

    monkeypatch.setattr("bench.memory.warnings", warnings)
    said = called(tmp_path, monkeypatch, capsys)
    assert said.err == "warning: no forecast of memory (a fake tensor has no such thing)\n"
    assert said.out == f"{tmp_path / 'voc12_resnet101'}\n"


@pytest.mark.parametrize(
    "assignments, said",
    [
        (
            ["deeplab_train.network=smp:Unett", "deeplab_train.frozen_stages=0"],
            "smp:Unett' is unknown: did you mean Unet?: smp has",
        ),
        (["common.backbone=timm:resnet1"], "did you mean timm:resnet1"),
        (["train_irn.backbone=timm:vit_tiny_patch16_224"], "backbone timm:vit_tiny_patch16_224"),
    ],
)
def test_a_network_that_its_library_does_not_have_is_named_at_once(tmp_path, main, assignments, said):
    """Found: a name with a slip in it was refused by deeplab_train, hours after the first stage had begun."""
    pytest.importorskip("timm" if "timm" in said else "segmentation_models_pytorch")
    words = "configs/demo.yaml", tmp_path / "out.yaml", *assignments, f"common.run_root={tmp_path}"
    assert said in main(*words)
    assert not main(*words, RUN_STAGES="dataset").startswith("error")


@pytest.mark.parametrize(
    "assignment, package, module",
    [
        ("train_aesipe.backbone=timm:resnet18", "timm", "timm"),
        ("deeplab_train.network=smp:Unet", "segmentation-models-pytorch", "segmentation_models_pytorch"),
        ("eval_cam.tracker=wandb", "wandb", "wandb"),
        ("deeplab_train.tracker=mlflow", "mlflow", "mlflow"),
    ],
)
def test_a_package_that_a_later_stage_will_miss_is_named_at_once(
    tmp_path, main, monkeypatch, assignment, package, module
):
    """Found: the last stage but two said it, hours after the first had begun."""
    monkeypatch.setitem(sys.modules, module, None)
    words = "configs/demo.yaml", tmp_path / "out.yaml", assignment, f"common.run_root={tmp_path}"
    key, _, value = assignment.partition("=")
    command = f"{key} {value} needs a package that is not installed: {sys.executable} -m pip install {package}\n"
    assert main(*words) == f"error: {command}"
    assert not main(*words, RUN_STAGES="dataset").startswith("error")
    section = key.partition(".")[0]
    for name in BY_NAME[section].written(BY_NAME[section].settings()):  # a stage that is done imports it no more
        (tmp_path / "demo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "demo" / name).touch()
    assert not main(*words).startswith("error")
