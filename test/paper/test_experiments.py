"""The experiments of docs/results*.md: their files against their tables, and one from a clean folder."""

import csv
import os
import sys
from types import SimpleNamespace

import pytest
from msgspec import convert
from scripts import SMALL, call, error_lines, run

from errors import UserError
from paper import document, experiments
from paper.document import PAGE
from paper.experiments import Experiment, make_experiment, plan, read_experiment
from tool.json_file import load_json
from tool.stages import STAGES
from tool.yaml_file import parse_yaml
from viz.runs import read_log

CONFIG = "configs/demo.yaml"
WALKS = f"""
config: {CONFIG}
head: [the walk, "mIoU, %"]
figures: {{x 1: "pseudo label x 1", all: pseudo label, ground: "pseudo label: background", pos: pos}}
settings:
- make_seg_labels.list=fifth
- make_seg_labels.keep_scores=true
- eval_seg.list=fifth
- eval_seg.background_weight=[1]
rows:
- {{cells: [as it is, 1]}}
- {{cells: [8 steps, 2], settings: [make_seg_labels.steps=8]}}
"""
BOUNDS = f"""
config: {CONFIG}
measure: bounds
list: fifth
head: [map]
figures: {{x 1: "{{}} x 1"}}
rows:
- {{cells: [exported], of: as exported}}
- {{cells: ["no boundary, walked"], of: "walk, no boundary"}}
"""


@pytest.mark.parametrize("name", experiments.experiments())
def test_each_table_is_of_the_rows_and_settings_of_its_experiment(name):
    """So a config that changes, and with it what a row would be today, is seen."""
    experiment = read_experiment(name)
    with open(PAGE.with_suffix("") / f"{name}.csv", newline="") as file:
        header, *rows = csv.reader(file)
    first = len(experiment.head)
    assert header == experiment.header
    assert [row[:first] for row in rows] == [[str(cell) for cell in row.cells] for row in experiment.rows]
    assert [row[-1] for row in rows] == [plan(experiment, row, ())[1] for row in experiment.rows]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Both experiments from a clean folder; the driver, which has its own tests, is acted in this process."""
    root = tmp_path_factory.mktemp("experiments")
    words = [*SMALL, f"common.dataset_root={root / 'toy'}", f"common.run_root={root / 'runs'}"]
    commands = []

    def drive(title, command):
        commands.append(command)
        names = [stage.name for stage in STAGES]
        assert command[:3] == ["bash", "run_pipeline.sh", CONFIG]
        flags = {flag: command[command.index(flag) + 1] for flag in ("--from", "--to") if flag in command}
        stages = STAGES[names.index(flags.get("--from", "dataset")) : names.index(flags["--to"]) + 1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RUN_STAGES", " ".join(stage.name for stage in stages))
            assignments = [word for word in command[3:] if "=" in word]
            assert call("check_config.py", CONFIG, root / "settings.yaml", *assignments).status == 0
        for stage in stages:
            done = call(stage.script, "--config", root / "settings.yaml")
            assert done.status == 0, done.err

    def make(text, publish=False, dry_run=False):
        (root / "small.yaml").write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(experiments, "FOLDER", root)
            make_experiment("small", words, drive, publish, dry_run)
            return read_experiment("small")

    def planned(text):
        """(the run, the digest) of each row."""
        experiment = convert(parse_yaml(text), Experiment)
        plans = [plan(experiment, row, words) for row in experiment.rows]
        return [(job.arguments("eval_cam").run.path, digest) for job, digest in plans]

    tables = {}
    for text in (BOUNDS, WALKS):
        make(text)
        with open(root / "runs/experiments/small.csv", newline="") as file:
            tables[text] = list(csv.reader(file))
    return SimpleNamespace(root=root, runs=root / "runs", make=make, planned=planned, tables=tables, commands=commands)


def test_a_row_has_the_figures_of_its_run(made):
    header, *rows = made.tables[WALKS]
    assert header == ["the walk", "mIoU, %", "x 1", "all", "ground", "pos", "settings"]
    for cells, row, (folder, digest) in zip((["as it is", "1"], ["8 steps", "2"]), rows, made.planned(WALKS)):
        result = load_json(folder / "eval/seg.json")
        assert result["list"] == "fifth"
        found = result["swept"][0]["miou"], result["miou"], result["iou"]["background"]
        losses = [each["pos"] for each in read_log(folder / "log.jsonl") if "pos" in each]
        expected = [*(f"{100 * value:.1f}" for value in found), f"{losses[-1]:.2f}"]
        assert row == [*cells, *expected, digest]


def test_the_figures_of_a_measure_are_those_of_its_command(made):
    (folder, first), (same, second) = made.planned(BOUNDS)
    assert same == folder and first != second
    done = run(sys.executable, "-m", "paper.bounds", folder, "--list", "fifth", "--num_workers", 0)
    printed = {row[0]: row for row in csv.reader(done.stdout.splitlines())}
    assert printed["mIoU, %"][2] == "x 1"
    assert made.tables[BOUNDS][1:] == [
        ["exported", printed["as exported"][2], first],
        ["no boundary, walked", printed["walk, no boundary"][2], second],
    ]


def test_what_settings_have_in_common_is_made_once(made):
    bounds, _, first, second = [folder for text in (BOUNDS, WALKS) for folder, _ in made.planned(text)]
    for name in (
        "ckpt/aesipe.pt",
        "ckpt/irn.pt",
        "ae_is_cam/train_000000.npz",
        "ae_is_cam/settings.yaml",
        "classes.txt",
    ):
        assert os.path.samefile(first / name, second / name)
    assert os.path.samefile(first / "ckpt/aesipe.pt", bounds / "ckpt/aesipe.pt")
    name = "seg_label/train_000000.png"
    assert not os.path.samefile(first / name, second / name)
    assert not (second / "ckpt/aesipe_state").exists()
    trained = [
        [each for each in read_log(folder / "log.jsonl") if each["stage"] == "irn"] for folder in (first, second)
    ]
    assert trained[0] == trained[1] != []


def test_the_lists_of_a_fifth_are_every_five_images(made):
    ids = (made.root / "toy/lists/train.txt").read_text().split()
    assert (made.root / "toy/lists/fifth.txt").read_text().split() == [ids[0], ids[5]]
    assert (made.root / "toy/lists/four_fifths.txt").read_text().split() == ids[1:5]
    ends = [command[command.index("--to") + 1] for command in made.commands]
    assert ends[:4] == ["dataset", "make_cam", "eval_seg", "eval_seg"] and "dataset" not in ends[1:]


def test_again_runs_nothing(made, capsys):
    before = len(made.commands)
    made.make(WALKS)
    assert capsys.readouterr().out == f"{made.runs / 'experiments/small.csv'}\n" and len(made.commands) == before
    made.make(WALKS, dry_run=True)
    assert capsys.readouterr().out == "# small: as it is, 1: finished\n# small: 8 steps, 2: finished\n"


def test_a_published_row_is_not_run_again_until_its_settings_change(made, tmp_path, monkeypatch, capsys):
    page, written = tmp_path / "results.md", made.runs / "experiments/small.csv"
    page.write_text("<!-- table: small.csv -->\n<!-- end -->\n")
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(document, "PAGE", page)
    monkeypatch.setattr(experiments, "PAGE", page)
    made.make(WALKS, publish=True)
    assert "| 8 steps | 2 |" in page.read_text() and "settings" not in page.read_text()
    assert (tmp_path / "results/small.csv").read_text() == written.read_text()
    there = written.read_text()
    written.unlink()
    capsys.readouterr()
    made.make(WALKS.replace("make_seg_labels.steps=8", "make_seg_labels.steps=9"), publish=True, dry_run=True)
    first, second, command = capsys.readouterr().out.splitlines()
    assert first == "# small: as it is, 1: finished" and second == "# small: 8 steps, 2"
    assert command.startswith(f"bash run_pipeline.sh {CONFIG} --to eval_seg ") and "make_seg_labels.steps=9" in command
    assert not written.exists()
    before = len(made.commands)
    made.make(WALKS, publish=True)
    assert written.read_text() == there and len(made.commands) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("config: configs/demo.yaml\n", "missing required field `head`"),
        (WALKS.replace("cells: [as", "cell: [as"), "contains unknown field `cell`"),
        (
            WALKS.replace("{cells: [as it is, 1]}", "{cells: [as it is, 1], network: fulll}"),
            "Invalid enum value 'fulll'",
        ),
    ],
)
def test_a_file_that_is_no_experiment_is_one_line(tmp_path, monkeypatch, text, said):
    (tmp_path / "wrong.yaml").write_text(text)
    monkeypatch.setattr(experiments, "FOLDER", tmp_path)
    done = call("reproduce.py", "--experiments", "wrong", "--dry_run")
    (line,) = error_lines(done.err)
    assert done.status == 2 and f"{tmp_path / 'wrong.yaml'}: " in line and said in line


def test_a_figure_that_a_run_does_not_have_is_one_line(made):
    with pytest.raises(UserError, match=r"has no figure 'pseudo label x 1.2': did you mean pseudo label x 1\?"):
        made.make(WALKS.replace("pseudo label x 1", "pseudo label x 1.2"))


def test_an_experiment_that_is_not_there_is_one_line():
    done = call("reproduce.py", "--experiments", "voc21_deeplabb")
    (line,) = error_lines(done.err)
    assert done.status == 2 and "did you mean voc21_deeplab?" in line


def test_the_command_lists_what_all_experiments_lack():
    done = call("reproduce.py", "--experiments", "all", "--dry_run", "--publish", "common.dataset_root=DATA")
    rows = sum(len(read_experiment(name).rows) for name in experiments.experiments())
    assert done.status == 0 and done.out.count(": finished\n") == rows == len(done.out.splitlines())


def test_the_example_of_the_documentation_is_one():
    text = (PAGE.parent / "tables.md").read_text(encoding="utf-8")
    example = text.partition("```yaml\n")[2].partition("```")[0]
    experiment = convert(parse_yaml(example), Experiment)
    jobs = [plan(experiment, row, ())[0] for row in experiment.rows]
    assert [job.name for job in jobs] == ["full_seed0", "full_seed0", "full_seed1"]
    assert [job.arguments("make_seg_labels").steps for job in jobs] == [256, 64, 64]
    assert all(job.stages[-1] == "eval_seg" and "eval_cam" in job.stages for job in jobs)
