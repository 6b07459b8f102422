"""The experiments of docs/results*.md that are no table of the paper: what each row runs, and which figures it has.

A file of configs/experiments is one, NAME.yaml of docs/results/NAME.csv:

    config: configs/photos_best.yaml      # base config of the rows that name no other
    head: [DeepLabV3 on val, seed, rate]  # titles of the columns that say what a row is
    figures: {val: DeepLabV3}             # {title of a column: the figure that stands there}
    settings: [deeplab_test.crf=false]    # section.key=value, of every row
    rows:
    - cells: [SIPE, 0, 0.001]             # what stands below the head
      network: baseline                   # of `paper.tables.NETWORKS`, or supervised
      seed: 0
      settings: [deeplab_train.lr=0.001]

Figures have the names of a run's page, `AE-IS-CAM x 0.8 + CRF`, `pseudo label`, `DeepLabV3`: mIoU in percent, with
`: bird` the IoU of a class. `pseudo label x 1.2` is of the kept scores; `pos` is a loss, as the run's log has it last.
With `measure: walks` (or bounds) the figures are those of `python -m paper.walks RUN --list LIST`, named by line and
column. `{}` in a figure stands for the row's `of`.

Each row is a run, RUN_ROOT/STEM/NETWORK_seedN_DIGEST. It begins with hard links to what a run beside it, such as one of
reproduce.py's tables, has made with the same settings.
"""

import csv
import json
import os
import shlex
import shutil
from dataclasses import replace
from functools import cache, partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Literal

from msgspec import Struct, ValidationError, convert

from data.datasets import open_dataset
from errors import UserError, nearest
from files import atomic, save_lines
from paper.document import PAGE, fill_pages
from paper.plan import MAP, make_job
from paper.runs import SETTINGS
from paper.tables import NETWORKS, SUPERVISED
from tool.config import override, read_config
from tool.json_file import load_json
from tool.run import Run
from tool.settings import deciding
from tool.stages import BY_NAME, IRN
from tool.yaml_file import read_yaml
from viz.runs import MAP_NAMES, collect_scores, read_log
from viz.tables import column_title, comma_separated

FOLDER = Path(__file__).resolve().parents[1] / "configs" / "experiments"
RESULTS = dict.fromkeys(MAP_NAMES.values(), "eval/cam.json") | {"pseudo label": "eval/seg.json", "DeepLabV3": "deeplab"}
MEASURES = {"walks": IRN, "bounds": "ae_is_cam"}  # and the last thing that each reads in a run
LOSSES = ("pos", "neg", "loss")
SCORED = ("eval_cam", "eval_seg", "deeplab_test")  # stages whose results are a list's: made anew in each run
WORKERS = 2  # processes of a measure
PARTS = {"fifth": (0,), "four_fifths": (1, 2, 3, 4)}  # lists: of every five images of train these


class Row(Struct, forbid_unknown_fields=True):
    cells: list[str | int | float]
    network: Literal[(*NETWORKS, SUPERVISED)] = "full"
    seed: int = 0
    config: str | None = None
    settings: list[str] = []
    of: str = ""


class Experiment(Struct, forbid_unknown_fields=True):
    config: str
    head: list[str]
    figures: dict[str, str]
    rows: list[Row]
    settings: list[str] = []
    measure: Literal[tuple(MEASURES)] | None = None
    list: str = "train"  # of the measure

    @property
    def header(self):
        return [*self.head, *self.figures, SETTINGS]


def experiments():
    """The names of all, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_experiment(name):
    """The Experiment of a name. Raises UserError if its file is none."""
    path = FOLDER / f"{name}.yaml"
    try:
        return convert(read_yaml(path), Experiment)
    except ValidationError as error:
        raise UserError(f"{path}: {error}") from error


def plan(experiment, row, overrides):
    """The `paper.plan.Job` of a row, and a digest of its figures' names and of all settings behind them.

    overrides: the user's section.key=value.
    """
    config = row.config or experiment.config
    names = [text.format(row.of) for text in experiment.figures.values()]
    results = {result for title, result in RESULTS.items() if any(name.startswith(title) for name in names)}
    if experiment.measure:
        results = {MEASURES[experiment.measure]}
    own = *overrides, *experiment.settings, *row.settings
    job = make_job(row.network, row.seed, config, own, results)
    last = [name for name in job.stages if name in SCORED] or job.stages[-1:]
    made = _digest(job.digest(name) for name in last)
    session = f"common.session_name={Path(config).stem}/{job.name}_{made}"
    job = replace(job, overrides=(*job.overrides, session))
    return job, _digest((made, *names, experiment.measure or "", experiment.list))


def _digest(texts):
    return sha256("\n".join(texts).encode()).hexdigest()[:8]


def make_experiment(name, overrides, drive, publish, dry_run):
    """Run what an experiment lacks and write RUN_ROOT/experiments/NAME.csv after each row.

    overrides: the user's section.key=value. drive: function of the row's name and a command, a list of words, that runs
    it to its end. publish: whether to begin with the rows of docs/results, and to put the whole table there and on the
    pages. dry_run: print what the rows lack, and run and write nothing.
    """
    experiment = read_experiment(name)
    common = override(read_config(experiment.config), overrides).get("common") or {}
    path = Path(common.get("run_root") or "runs") / "experiments" / f"{name}.csv"
    shown = PAGE.with_suffix("") / path.name
    known = (known_rows(shown, experiment) if publish else {}) | known_rows(path, experiment)
    made, ran = [], set()
    for row in experiment.rows:
        job, digest = plan(experiment, row, overrides)
        cells = *map(str, row.cells), digest
        title = f"{name}: {', '.join(cells[:-1])}"
        if dry_run:
            print(f"# {title}: finished" if cells in known else f"# {title}\n{shlex.join(command(job))}")
            continue
        if cells not in known:
            known[cells] = row_figures(experiment, row, job, partial(drive, title), ran)
        made.append((*cells[:-1], *known[cells], digest))
        with atomic(path) as temporary:
            temporary.write_text(comma_separated(experiment.header, made))
    if dry_run:
        return
    print(path)
    if publish:
        shutil.copyfile(path, shown)
        print(fill_pages())


def command(job):
    """The call of the driver that makes a row's run."""
    return job.call("--to", job.stages[-1])


def known_rows(path, experiment):
    """{(*cells, digest): figures} of a CSV of the experiment; {} if it is not there or has other columns."""
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if header != experiment.header:
        return {}
    first = len(experiment.head)
    return {(*row[:first], row[-1]): row[first:-1] for row in rows}


def row_figures(experiment, row, job, drive, ran):
    """The figures of a row, as texts, after its run has been made or finished.

    ran: the jobs whose runs have been finished by now; this one is added. A measure's rows share one.
    """
    wanted = [text.format(row.of) for text in experiment.figures.values()]
    run = job.arguments(job.stages[-1]).run
    found = figures(run)
    if not found.keys() >= set(wanted) and job not in ran:
        make_lists(job, drive)
        share(job, run)
        drive(command(job))
        ran.add(job)
        found = figures(run)
    if experiment.measure:
        found |= measured(experiment.measure, experiment.list, run)
    for name in wanted:
        if name not in found:
            raise UserError(f"{run}: has no figure {name!r}{nearest(name, found)}")
    return [found[name] for name in wanted]


def make_lists(job, drive):
    """Make the data set and, where it lacks them, the lists of PARTS."""
    folder = Path(job.arguments("dataset").dataset_root) / "lists"
    if all((folder / f"{name}.txt").exists() for name in PARTS):
        return
    drive(job.call("--from", "dataset", "--to", "dataset"))
    ids = open_dataset(job.arguments("dataset")).ids("train")
    for name, kept in PARTS.items():
        save_lines(folder / f"{name}.txt", [each for number, each in enumerate(ids) if number % 5 in kept])


def share(job, run):
    """Begin a job's run, unless it has begun, with links to what a run beside it has made with the same settings: of
    all runs the one that has most of it."""
    if run.path.exists():
        return
    others = (Run(path.parent) for path in sorted(run.path.parent.glob("*/config.yaml")))
    source, stages = max(
        ((each, same_stages(each, job)) for each in others), key=lambda pair: len(pair[1]), default=(None, ())
    )
    if not stages:
        return
    written = [name for stage in stages for name in BY_NAME[stage].written(job.arguments(stage))]
    with atomic(run.path) as part:
        for name in ("classes.txt", *written):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            if (source / name).is_dir():
                shutil.copytree(source / name, part / name, copy_function=os.link)
            else:
                os.link(source / name, part / name)
        begun = Run(part)
        for stage in stages:
            begun.keep_settings(stage, source.used_settings(stage))
        logged = {*stages, *(Path(name).stem for name in written)}
        lines = [json.dumps(each) for each in read_log(source / "log.jsonl") if each["stage"] in logged]
        save_lines(part / "log.jsonl", lines)


def same_stages(run, job):
    """The first stages of a job, but for those that score, that a run has made with the same settings."""
    config, stages = run.config(), []
    for name in job.stages:
        if name in SCORED:
            continue
        settings = job.arguments(name)
        used = run.used_settings(name) if name in config else None
        if used is None or deciding(used) != deciding(settings) or used.dataset_root != settings.dataset_root:
            break
        if not all((run / each).exists() for each in BY_NAME[name].written(settings)):
            break
        stages.append(name)
    return stages


def figures(run):
    """{name of a figure: its text} of all that a run's evaluations and its log say."""
    rows = [] if not run.path.exists() else [*collect_scores(run), *swept_scores(run)]
    found = {}
    for row in rows:
        scores, title = row[4], column_title(row)
        values = {title: scores["miou"]} | {f"{title}: {name}": value for name, value in scores["iou"].items()}
        found |= {name: f"{100 * value:.1f}" for name, value in values.items() if value is not None}
    for record in read_log(run / "log.jsonl"):
        found |= {key: f"{value:.2f}" for key, value in record.items() if key in LOSSES}
    return found


def swept_scores(run):
    """The rows of `viz.runs.collect_scores` for pseudo labels from kept scores, at each weight of the background."""
    result = load_json(run / "eval" / "seg.json") or {}
    for each in result.get("swept", ()):
        yield "pseudo label", result["list"], each["background_weight"], each["crf"], each


@cache
def measured(name, list_name, run):
    """As `figures`, of one of the MEASURES on a list."""
    layout = open_dataset(run.used_settings("make_cam"))
    tables = import_module(f"paper.{name}").tables(layout, run, layout.ids(list_name), MAP, WORKERS)
    return {
        f"{title} {column}": value
        for header, *rows in tables
        for title, *values in rows
        for column, value in zip(header[1:], values)
    }
