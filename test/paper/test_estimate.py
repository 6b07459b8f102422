"""The time of the missing stages follows from the logs of earlier runs, and of no others than those like them."""

import shlex

import pytest

from data.toy import make_toy
from paper.estimate import amount, estimate
from paper.plan import ALL_STAGES, CAM_STAGES, make_jobs
from paper.tables import TABLES
from tool.run import Run
from tool.settings import plain
from tool.usage import append_json
from tool.yaml_file import dump_yaml


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A set of 40 training images."""
    root = tmp_path_factory.mktemp("estimate") / "toy"
    make_toy(root, train=4, train_aug=40, val=2, size=64, seed=0)
    return root


@pytest.fixture
def job(toy, tmp_path):
    """The network `full` of Table 1, on the toy set."""
    overrides = [f"common.dataset_root={toy}", f"common.run_root={tmp_path}"]
    return make_jobs([TABLES[1]], "configs/demo.yaml", overrides, 1)[0][1]


def keep(folder, stage, values):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(dump_yaml({**Run(folder).config(), stage: values}))


def log(folder, job, stage, did, seconds, device="cpu", processes=1, **other):
    """A finished call of a stage in the run's log, of the job's settings but for the others."""
    keep(folder, stage, {**plain(job.arguments(stage)), **other})
    line = {"did": did, "of": did, "seconds": seconds, "device": device, "processes": processes}
    append_json(folder / "log.jsonl", {"stage": stage, "finished": True, **line})


def times(job, root, device="cpu"):
    """{stage: what the estimate says of it}."""
    heading = next(estimate([job], [job.stages], root, device)).strip()
    return dict(part.split(" ", 1) for part in heading.removeprefix(f"# {job.name}: ").split(", "))


def test_amounts(job):
    assert amount(job, "train_aesipe") == 12 * (40 // 16)
    assert amount(job, "deeplab_train") == 260
    assert amount(job, "make_cam") == 40 and amount(job, "eval_cam") == 4


def test_amounts_of_a_dataset_that_is_not_there_are_vocs(tmp_path):
    job = make_jobs([TABLES[1]], "configs/demo.yaml", [f"common.dataset_root={tmp_path / 'none'}"], 1)[0][0]
    assert amount(job, "train_aesipe") == 12 * (10_582 // 16)
    assert amount(job, "deeplab_test") == 1449


def test_amounts_of_coco_are_its_own(tmp_path):
    where = [f"common.dataset_root={tmp_path / 'none'}"]
    job = make_jobs([TABLES["coco"]], "configs/coco14_resnet101.yaml", where, 1)[0][0]
    assert amount(job, "train_aesipe") == 25_650 and amount(job, "deeplab_test") == 40_137
    assert amount(job, "make_cam") == 82_081


def test_the_rate_is_the_mean_of_all_alike_runs(job, tmp_path):
    log(tmp_path / "a", job, "train_aesipe", did=10, seconds=500)
    log(tmp_path / "demo" / "b", job, "train_aesipe", did=30, seconds=1900)
    assert times(job, tmp_path)["train_aesipe"] == "0:24:00"  # 24 steps of 60 s
    text = list(estimate([job], [job.stages], tmp_path, "cpu"))
    assert "\ntogether at least 0:24:00 (h:mm:ss) on this machine (cpu)" in text
    *_, known = estimate([job], [("train_aesipe",)], tmp_path, "cpu")
    assert known == "\ntogether about 0:24:00 (h:mm:ss) on this machine (cpu)"


@pytest.mark.parametrize(
    "other",
    [{"device": "a GPU"}, {"processes": 2}, {"backbone": "resnet101"}, {"batch_size": 1}, {"dataset_root": "data/VOC"}],
)
def test_runs_of_another_kind_do_not_count(job, tmp_path, other):
    log(tmp_path / "a", job, "train_aesipe", did=10, seconds=500, **other)
    assert times(job, tmp_path)["train_aesipe"] == "not known"


def test_exports_are_as_fast_as_those_of_the_same_backbone(job, tmp_path):
    log(tmp_path / "a", job, "make_cam", did=40, seconds=2400)
    assert times(job, tmp_path)["make_cam"] == "0:40:00"
    keep(tmp_path / "a", "train_aesipe", {"backbone": "resnet101"})
    assert times(job, tmp_path)["make_cam"] == "not known"


def test_on_a_gpu_the_stages_of_crf_alone_are_logged_as_the_cpus(job, tmp_path):
    log(tmp_path / "a", job, "make_ir_labels", did=40, seconds=2400)
    log(tmp_path / "a", job, "make_cam", did=40, seconds=2400)
    known = times(job, tmp_path, device="a GPU")
    assert known["make_ir_labels"] == "0:40:00" and known["make_cam"] == "not known"


def test_what_no_run_tells_is_said_with_the_command_that_would(job, tmp_path):
    log(tmp_path / "a", job, "train_aesipe", did=20, seconds=60)
    said, command = list(estimate([job], [CAM_STAGES], tmp_path, "cpu"))[-2:]
    assert "tells what make_cam, eval_cam take" in said
    words = shlex.split(command)
    assert words[:5] == ["bash", "run_pipeline.sh", "configs/demo.yaml", "--to", "eval_cam"]
    assert words.index("common.session_name=demo/full_seed0_timing") > words.index(
        "common.session_name=demo/full_seed0"
    )
    assert "train_aesipe.max_epochs=1" in words and "make_cam.list=train" in words


def test_few_images_of_coco_are_timed(tmp_path):
    where = [f"common.dataset_root={tmp_path / 'none'}"]
    words = make_jobs([TABLES["coco"]], "configs/coco14_resnet101.yaml", where, 1)[0][0].short_run(ALL_STAGES)
    lists = {word for word in words if "list=" in word}
    assert {word.partition("=")[2] for word in lists} == {"train_few"}
    assert {word.partition(".")[0] for word in lists} == {*ALL_STAGES}


def test_a_finished_job_costs_nothing(job, tmp_path):
    lines = list(estimate([job], [()], tmp_path, "cpu"))
    assert lines == ["\n# full_seed0: finished", "\ntogether about 0:00:00 (h:mm:ss) on this machine (cpu)"]
