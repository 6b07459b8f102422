"""reproduce.py on a toy set, and the calls that it plans."""

import csv
import io
import json
import re
import runpy
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace

import pytest
from scripts import REPOSITORY, SMALL, error_lines

from data.toy import make_toy
from paper import document
from paper.plan import make_jobs
from paper.render import write_tables
from paper.runs import finished
from paper.tables import NETWORKS, TABLES
from tool import signals
from tool.stages import STAGES


def call(patch, name, *arguments):
    patch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(REPOSITORY / name), run_name="__main__")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Table 2 with one network, from a clean folder; the driver, which has its own tests, is acted in this process."""
    root = tmp_path_factory.mktemp("reproduce")
    words = ["--table", "2", "--dataset", "configs/demo.yaml", "--networks", "full", *SMALL, "common.num_workers=0"]
    words += [f"common.dataset_root={root / 'toy'}", f"common.run_root={root / 'runs'}"]

    def drive(command, folder):
        config, to, last, *assignments = command[2:]
        assert command[:2] == ["bash", "run_pipeline.sh"] and folder == REPOSITORY and to == "--to"
        call(patch, "check_config.py", config, root / "settings.yaml", *assignments)
        for stage in STAGES[: [stage.name for stage in STAGES].index(last) + 1]:
            call(patch, stage.script, "--config", root / "settings.yaml")
        return 0

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as output:
        patch.setattr(signals, "run_to_its_end", drive)
        patch.setattr("torch.cuda.is_available", lambda: False)
        call(patch, "reproduce.py", *words)
    return SimpleNamespace(words=words, output=output.getvalue(), root=root, folder=root / "runs" / "demo")


def test_the_table_holds_what_was_evaluated(made):
    results = json.loads((made.folder / "full_seed0" / "eval" / "cam.json").read_text())["maps"]["ae_is_cam"]
    miou = {(row["background_weight"], row["crf"]): 100 * row["miou"] for row in results}
    text = (made.folder / "table2.md").read_text()
    assert text.strip() in made.output
    lines = {
        line.split(" | ")[0].strip("| "): [cell.strip("| ") for cell in line.split(" | ")]
        for line in text.splitlines()
        if line.startswith("| ")
    }
    for title, weight in (("+ norm", 1.0), ("+ bg (x 0.8)", 0.8)):
        assert lines[title][2] == f"{miou[weight, False]:.1f}" and lines[title][5] == f"{miou[weight, True]:.1f}"
    assert lines["baseline (SIPE)"][1:] == ["58.6", "", "", "64.7", "", ""]  # not run: the paper's figures alone
    with open(made.folder / "table2.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["row"] == "+ norm" and row["column"] == "plain"]
    assert float(rows[0]["mean"]) == pytest.approx(miou[1.0, False], abs=1e-3)
    assert "+ bg" in (made.folder / "table2.tex").read_text()


def test_again_runs_nothing(made, script):
    log = (made.folder / "full_seed0" / "log.jsonl").read_bytes()
    again = script("reproduce.py", *made.words)
    assert again.status == 0 and "run_pipeline.sh" not in again.out
    assert (made.folder / "full_seed0" / "log.jsonl").read_bytes() == log
    assert "+ norm" in again.out


def test_the_mean_can_be_taken_over_some_classes(made, script):
    again = script("reproduce.py", *made.words, "--classes", "background")
    assert again.status == 0 and "over background;" in again.out
    wrong = script("reproduce.py", *made.words, "--classes", "background", "unicorn")
    assert wrong.status == 2 and len(error_lines(wrong.err)) == 1 and "unicorn" in wrong.err


def test_a_run_that_is_published_is_not_run_again(made, script, tmp_path, monkeypatch):
    """The page and its CSVs in another place, as the driver is in `made`: what runs would fail."""
    page = tmp_path / "results.md"
    page.write_text("<!-- table 2: demo_table2.csv -->\n<!-- end -->\n")
    monkeypatch.setattr(document, "PAGE", page)
    monkeypatch.setattr(signals, "run_to_its_end", lambda *_: pytest.fail("a run was started"))
    with redirect_stdout(io.StringIO()):
        call(monkeypatch, "reproduce.py", *made.words, "--publish")
        there = page.read_text()
        call(monkeypatch, "reproduce.py", *made.words, "--publish", f"common.run_root={tmp_path / 'elsewhere'}")
    assert "+ norm" in there and page.read_text() == there
    assert (tmp_path / "results/demo_runs.csv").read_text() == (made.folder / "runs.csv").read_text()
    again = script("reproduce.py", *made.words, "--dry_run", f"common.run_root={tmp_path / 'elsewhere'}")
    assert "# full_seed0: finished" not in again.out  # without --publish one's own runs alone count
    for changed in ("train_aesipe.lr=0.5", "make_cam.scales=[2]"):
        other = script("reproduce.py", *made.words, "--publish", "--dry_run", changed)
        (line,) = error_lines(other.err)
        assert other.status == 2 and "results/demo_runs.csv: plain of full_seed0 is of other settings" in line


def test_the_digest_of_settings_is_of_those_that_decide_a_figure():
    def digests(*overrides, name="full_seed0"):
        jobs, _ = make_jobs([TABLES["end"]], REPOSITORY / "configs/photos_best.yaml", overrides, 2)
        job = next(job for job in jobs if job.name == name)
        return [job.settings(column) for column in ("plain", "crf", "pseudo", "seg")]

    maps, crf, pseudo, segmented = usual = digests()
    assert maps == crf and len({maps, pseudo, segmented}) == 3 and re.fullmatch("[0-9a-f]{8}", maps)
    assert (
        digests("common.num_workers=0", "train_aesipe.val_every=0", "eval_cam.sweep=[]", "make_cam.list=val") == usual
    )
    assert digests("train_aesipe.batch_size=16") == usual  # the default, written out
    changed = digests("train_irn.lr=0.3")
    assert changed[:2] == usual[:2] and changed[2] != pseudo and changed[3] != segmented
    assert digests("deeplab_train.lr=0.3")[:3] == usual[:3] and digests("deeplab_train.lr=0.3")[3] != segmented
    for other in (digests("eval_cam.list=val"), digests(name="full_seed1"), digests(name="baseline_seed0")):
        assert other[0] != maps


def test_ones_own_figures_go_before_published_ones(made, tmp_path, monkeypatch):
    page, runs = tmp_path / "results.md", tmp_path / "results/demo_runs.csv"
    page.write_text("<!-- table 2: demo_table2.csv -->\n<!-- end -->\n")
    monkeypatch.setattr(document, "PAGE", page)
    with redirect_stdout(io.StringIO()):
        call(monkeypatch, "reproduce.py", *made.words, "--publish")
        there = page.read_text()
        rows = [line.split(",") for line in runs.read_text().splitlines()]
        runs.write_text("\n".join(",".join([*row[:6], "99.9", *row[7:]] if row[1] == "0" else row) for row in rows))
        call(monkeypatch, "reproduce.py", *made.words, "--publish")
    assert page.read_text() == there and "99.9" not in runs.read_text()


def test_a_run_that_fails_ends_the_call_with_the_tables_until_then(made, script, tmp_path, monkeypatch):
    statuses = iter([0, 3])
    monkeypatch.setattr(signals, "run_to_its_end", lambda *_: next(statuses))
    networks = ("--networks", "baseline", "full", f"common.run_root={tmp_path}")
    done = script("reproduce.py", *made.words, *networks)
    assert done.status == 2 and error_lines(done.err) == [
        "error: full_seed0 failed with status 3: see above; run this again to continue"
    ]
    assert (tmp_path / "demo/table2.md").exists()


def test_dry_run_lists_what_is_missing_and_runs_nothing(made, script):
    before = sorted(made.root.rglob("*"))
    done = script("reproduce.py", *made.words, "--table", "2", "--networks", "full", "baseline", "--dry_run")
    assert done.status == 0, done.err
    assert "# full_seed0: finished" in done.out and "together at least" in done.out
    # The run of the network `full` tells of two stages; its evaluation took other background weights.
    assert re.search(r"# baseline_seed0: train_aesipe 0:\d\d:\d\d, make_cam 0:\d\d:\d\d, eval_cam not known", done.out)
    assert "baseline_seed0_timing" in done.out.splitlines()[-1]
    assert sorted(made.root.rglob("*")) == before


def test_a_run_of_other_settings_is_refused(made, script):
    done = script("reproduce.py", *made.words, "train_aesipe.lr=0.5")
    assert done.status == 2 and len(error_lines(done.err)) == 1 and "lr: 0.01 there, 0.5 now" in done.err


def test_help_groups_the_flags_and_says_default_and_range(script):
    done = script("reproduce.py", "--help")
    text = " ".join(done.out.partition("options:")[2].split())
    _, run, written = re.split(r"what is (?:run|written): ", text)
    assert done.status == 0
    for flag in ("--table", "--dataset", "--seeds", "--networks", "--dry_run"):
        assert f"{flag} " in run and f"{flag} " not in written
    assert "--classes NAME" in written and "--publish" in written
    for default in (
        "(default: 1 2 3)",
        "(a whole number from 1 to 4294967295; default: 1)",
        "configs/coco14_resnet101",
    ):
        assert default in run
    assert "(default: all that the tables need)" in run and "(default: all that occur)" in written


@pytest.mark.parametrize(
    "arguments",
    [
        ["--table", "4"],
        ["--dataset", "none.yaml"],
        ["nonsense"],
        ["train_aesipe.no_such=1"],
        ["--seeds", "0"],
        ["--networks", "ful"],
    ],
)
def test_bad_input_is_one_line(script, arguments):
    done = script("reproduce.py", *arguments)
    assert done.status == 2 and len(error_lines(done.err)) == 1 and "Traceback" not in done.err
    assert "--networks" not in arguments or "ful: did you mean full?" in done.err


def test_the_table_of_coco_is_of_its_own_data_set(script, tmp_path):
    done = script("reproduce.py", "--table", "coco", "--dry_run", f"common.run_root={tmp_path}")
    assert done.status == 0 and "# full_seed0: train_aesipe not known" in done.out, done.err
    assert "run_pipeline.sh configs/coco14_resnet101.yaml --to deeplab_test" in done.out
    assert "eval_cam.crf=true" not in done.out
    mixed = script("reproduce.py", "--table", "1", "coco", "--dry_run")
    assert mixed.status == 2 and "of two data sets: ask for coco by itself" in mixed.err
    jobs, folder = make_jobs([TABLES["coco"]], "configs/coco14_resnet101.yaml", [f"common.run_root={tmp_path}"], 1)
    text = write_tables(
        {"coco": TABLES["coco"]}, finished(jobs, [TABLES["coco"]]), folder, "configs/coco14_resnet101.yaml"
    )
    assert "| SIPE (ResNet-101) | 40.6 |  |  |" in text and "| RIB (ResNet-101), published | 43.8 |  |  |" in text
    assert "- RIB (ResNet-101): Lee et al., NeurIPS 2021" in text and "| AE-SIPE (ResNet-101) |  |  |  |" in text
    assert text.startswith("## COCO 2014") and (folder / "tablecoco.tex").exists()


def jobs_of(numbers, root, seeds=1):
    return make_jobs(
        [TABLES[number] for number in numbers],
        "configs/demo.yaml",
        [f"common.dataset_root={root / 'toy'}", f"common.run_root={root}"],
        seeds,
    )[0]


def test_with_dense_crf_in_irns_place_no_stage_of_irn_is_planned():
    """Found: they stayed in the forecast, their time not known."""
    overrides = ("common.refine=crf",)
    (job, *_), _ = make_jobs([TABLES["end"]], REPOSITORY / "configs/photos_best.yaml", overrides, 1)
    names = [stage.name for stage in STAGES if stage.name not in ("dataset", "report")]
    assert job.stages == tuple(name for name in names if name not in ("make_ir_labels", "train_irn"))


def test_networks_are_shared_by_rows_and_tables(tmp_path):
    jobs = jobs_of((1, 2, 3), tmp_path, seeds=2)
    assert len(jobs) == 2 * len(NETWORKS) and len({job.name for job in jobs}) == len(jobs)
    full = next(job for job in jobs if job.name == "full_seed1")
    assert full.stages[-1] == "deeplab_test" and full.arguments("eval_cam").background_weight == (0.8, 1.0)
    args = full.arguments("train_aesipe")
    assert (
        args.seed == 1
        and args.normalization == "minmax"
        and args.ae
        and args.run.path == tmp_path / "demo" / "full_seed1"
    )
    assert full.arguments("make_cam").list == "train_aug"  # the later stages need them all
    alone = next(job for job in jobs if job.name == "ae_seed0")
    assert alone.stages[-1] == "eval_cam" and alone.arguments("make_cam").list == "train"


def test_a_figure_is_of_the_list_and_the_kind_that_its_column_names(tmp_path):
    job = next(job for job in jobs_of((1, 2), tmp_path) if job.network == "full")
    folder, value = job.arguments("eval_cam").run / "eval", {"miou": 0.5, "iou": {}}
    folder.mkdir(parents=True)
    rows = [{"background_weight": 0.8, "crf": crf, **value} for crf in (False, True)]
    for name, list_name, content in (
        ("cam", "train", {"maps": {"ae_is_cam": rows, "cam": rows}}),
        ("seg", "train", value),
        ("deeplab_val", "val", {"plain": value, "crf": {**value, "miou": 0.6}}),
    ):
        (folder / f"{name}.json").write_text(json.dumps({"list": list_name, **content}))
    assert job.scores("plain", 0.8)["crf"] is False and job.scores("crf", 0.8)["crf"] is True
    assert job.scores("plain") is None and job.scores("pseudo")["miou"] == 0.5
    assert [job.scores(column)["miou"] for column in ("val", "seg", "seg_crf")] == [0.6, 0.5, 0.6]
    (folder / "deeplab_val.json").write_text(json.dumps({"list": "val", "plain": value}))
    assert job.scores("val")["miou"] == 0.5 and job.scores("seg_crf") is None and job.scores("test") is None
    for name in ("cam", "seg"):  # of another list
        (folder / f"{name}.json").write_text((folder / f"{name}.json").read_text().replace('"train', '"other'))
    assert job.scores("plain", 0.8) is None and job.scores("pseudo") is None


def test_the_table_to_the_end_has_all_maps_pseudo_labels_and_full_supervision(tmp_path):
    sipe, ours, supervised = jobs_of(("end",), tmp_path)
    assert sipe.arguments("make_cam").maps == sipe.arguments("eval_cam").maps == ("cam", "is_cam", "ae_is_cam")
    assert ours.network == "full" and "eval_seg" in ours.stages and ours.arguments("make_cam").list == "train_aug"
    assert ours.missing() == ours.stages and supervised.missing() == ("deeplab_train", "deeplab_test")
    (command,) = supervised.commands()
    assert command[3:7] == ["--from", "deeplab_train", "--to", "deeplab_test"]
    assert supervised.arguments("deeplab_train").labels == "truth"

    def scores(value):
        return {"miou": value, "iou": {}}

    rows = [{"background_weight": 1.0, "crf": crf, **scores(value)} for crf, value in ((False, 0.5), (True, 0.6))]
    maps = {"cam": rows[:1], "is_cam": rows[:1], "ae_is_cam": rows}
    results = {"cam": {"list": "train", "maps": maps}, "seg": {"list": "train", **scores(0.65)}}
    both = {"list": "val", "plain": scores(0.7), "crf": scores(0.75)}
    for job, files in ((ours, {**results, "deeplab_val": both}), (supervised, {"deeplab_val": both})):
        for name, content in files.items():
            path = job.arguments("eval_seg").run / f"eval/{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
    assert not supervised.missing()
    runs = finished([sipe, ours, supervised], [TABLES["end"]])
    text = write_tables({"end": TABLES["end"]}, runs, tmp_path, "configs/demo.yaml")
    lines = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[1:4:2] + line.split(" | ")[6::3]
        for line in text.splitlines()
        if "|" in line
    }
    assert lines["AE-SIPE"] == ["aesipe.pt", "50.0", "50.0", "50.0", "60.0", "65.0", "70.0", "75.0"]
    assert lines["full supervision"] == ["aesipe.pt", "", "", "", "", "", "70.0", "75.0"] and lines["SIPE"] == 8 * [""]


def test_a_test_list_without_masks_ends_in_an_archive_for_the_server(tmp_path):
    make_toy(tmp_path / "toy", train=1, train_aug=2, val=1, size=64, seed=0)
    job = jobs_of((1,), tmp_path)[0]
    assert len(list(job.commands())) == 1
    names = (tmp_path / "toy" / "lists" / "val.txt").read_text().split()
    (tmp_path / "toy" / "lists" / "test.txt").write_text(names[0] + "\n")
    assert not any("submission" in part for part in list(job.commands())[1])  # there is a mask to evaluate
    next((tmp_path / "toy").glob(f"SegmentationClass*/{names[0]}.png")).unlink()
    assert f"deeplab_test.submission={job.archive}" in list(job.commands())[1]
