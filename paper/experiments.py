"""The experiments of docs/results*.md that are no table of the paper: what each row runs, and which figures it has.

A file of configs/experiments is one, NAME.yaml of docs/results/NAME.csv:

    config: configs/photos_best.yaml      # base config of the rows that name no other
    head: [DeepLabV3 on val, seed, rate]  # titles of the columns that say what a row is
    figures: {val: DeepLabV3}             # {title of a column: the figure that stands there}
    settings: [deeplab_test.crf=false]    # section.key=value, of every row
    rows:
    - cells: [SIPE, 0, 0.001]             # what stands below the head
      network: baseline                   # of `paper.tables.NETWORKS`, or supervised; full, AE-SIPE, unless given
      seed: 0
      settings: [deeplab_train.lr=0.001]

Figures have the names of a run's page, `AE-IS-CAM x 0.8 + CRF`, `pseudo label`, `DeepLabV3`: mIoU in percent, with
`: bird` the IoU of a class. `pseudo label x 1.2` is of the kept scores; `pos`, `neg` and `loss` are the last losses of
IRN and DeepLabV3 in the run's log. `{}` stands for the row's `of`. With `measure: walks` (or bounds, ir_labels) they
are the figures of `python -m paper.walks` (paper.bounds) on a `list`, named by line and column.

Each row is a run, RUN_ROOT/STEM/NETWORK_seedN_DIGEST. It begins with hard links to what a run beside it, such as one of
reproduce.py's tables, has made with the same settings. The driver is called in any case: its stages know what is made.
"""

import csv
import json
import shlex
from dataclasses import replace
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Literal

from msgspec import Struct, ValidationError, convert, field

from data.content import inputs
from data.datasets import open_dataset
from errors import UserError, nearest
from files import atomic, save_lines
from paper.document import PAGE, fill_pages
from paper.plan import MAP, make_job
from paper.runs import SETTINGS
from paper.share import SCORED, list_of, share
from paper.tables import NETWORKS, SUPERVISED
from tool.config import override, read_config
from tool.json_file import load_json, save_json
from tool.settings import deciding
from tool.stages import BY_NAME, DEEPLAB, IRN
from tool.yaml_file import read_yaml
from viz.runs import MAP_NAMES, collect_scores, read_log
from viz.tables import column_title, comma_separated

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs" / "experiments"
PSEUDO, SEGMENTED = "pseudo label", "DeepLabV3"
MADE_IN = dict.fromkeys(MAP_NAMES.values(), "eval/cam.json") | {PSEUDO: "eval/seg.json", SEGMENTED: "deeplab"}
LOSSES = {"pos": IRN, "neg": IRN, "loss": DEEPLAB}  # and the network whose training logs each
MEASURES = {  # the function that gives a measure's tables, and what it reads in a run
    "walks": ("paper.walks", "tables", (MAP, IRN)),
    "bounds": ("paper.bounds", "walk_tables", (MAP,)),
    "ir_labels": ("paper.bounds", "ir_tables", (MAP,)),
}
WORKERS = 2  # processes of a measure
PARTS = {"fifth": (0,), "four_fifths": (1, 2, 3, 4)}  # lists: of every five images of train these
OWN = ("seed", "session_name")  # settings that the rows themselves have


class Row(Struct, forbid_unknown_fields=True):
    cells: list[str | int | float]
    network: Literal[(*NETWORKS, SUPERVISED)] = "full"
    seed: int = 0
    config: str = ""
    settings: list[str] = []
    of: str = ""


class Experiment(Struct, forbid_unknown_fields=True):
    config: str
    head: list[str]
    figures: dict[str, str]
    rows: list[Row]
    settings: list[str] = []
    measure: Literal[tuple(MEASURES)] | None = None
    measured: str = field(default="train", name="list")

    @property
    def header(self):
        return [*self.head, *self.figures, SETTINGS]

    def names(self, row):
        """The names of a row's figures, in the order of the columns."""
        return [name.replace("{}", row.of) for name in self.figures.values()]

    def problem(self):
        """What is wrong with values that are right each by itself; None if nothing is."""
        if not self.rows or not self.figures:
            return "needs rows and figures"
        cells = [tuple(map(str, row.cells)) for row in self.rows]
        wrong = next((each for each in cells if len(each) != len(self.head) or cells.count(each) > 1), None)
        if wrong is not None:
            return (
                f"cells {', '.join(wrong) or '[]'}: every row needs its own, one below each of {len(self.head)} titles"
            )
        for word in (*self.settings, *(word for row in self.rows for word in row.settings)):
            if word.partition("=")[0].rpartition(".")[2] in OWN:
                return f"{word}: give a row's seed as `seed: N`; the name of its run is made of its settings"
        return None


def experiments():
    """The names of all, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_experiment(name):
    """The Experiment of a name. Raises UserError if its file is none."""
    path = FOLDER / f"{name}.yaml"
    try:
        experiment = convert(read_yaml(path), Experiment)
    except ValidationError as error:
        raise UserError(f"{path}: {error}") from error
    if problem := experiment.problem():
        raise UserError(f"{path}: {problem}")
    return experiment


def plan(experiment, row, overrides):
    """The `paper.plan.Job` of a row, and a digest of its figures' names and of all settings behind them.

    overrides: the user's section.key=value. Raises UserError for figures that no such run has.
    """
    config, names = row.config or experiment.config, experiment.names(row)
    settings = (*experiment.settings, *row.settings)
    results = {result for name in names for title, result in MADE_IN.items() if name.startswith(title)}
    results |= {LOSSES[name] for name in names if name in LOSSES}
    if experiment.measure:
        results = set(MEASURES[experiment.measure][2])
    job = make_job(row.network, row.seed, config, overrides, settings, results)
    if experiment.measure is None:
        there = producible(job)
        wrong = next((name for name in names if name.partition(": ")[0] not in there), None)
        if wrong is not None:
            raise UserError(f"such a run has no figure {wrong!r}{nearest(wrong, there)}: it has {', '.join(there)}")
    elif row.network == SUPERVISED:
        raise UserError(f"measure {experiment.measure}: network {SUPERVISED} has no maps")
    # Weights that the user gives are where a file is; another content the stages refuse.
    plain = make_job(row.network, row.seed, config, (), settings, results)
    told = {name: {**_told(job, name), "weights": getattr(plain.arguments(name), "weights", "")} for name in job.stages}
    made = _digest(json.dumps(told, sort_keys=True))
    session = f"common.session_name={Path(config).stem}/{job.name}_{made}"
    job = replace(job, overrides=(*job.overrides, session))
    return job, _digest("\n".join((made, *names, experiment.measure or "", experiment.measured)))


def _told(job, stage):
    """What decides a stage's result and is no default: settings, and the list unless each image is made by itself."""
    settings, default = job.arguments(stage), BY_NAME[stage].settings()
    found = {key: value for key, value in deciding(settings).items() if value != deciding(default)[key]}
    return found | list_of(stage, settings)


def _digest(text):
    return sha256(text.encode()).hexdigest()[:8]


def producible(job):
    """The names of the figures, but for those of single classes, that a job's run will have."""
    names, stages = [], {name: job.arguments(name) for name in job.stages}

    def add(title, weights, crf):
        names.extend(f"{title} x {weight:g}{end}" for weight in weights for end in ("", " + CRF")[: 1 + crf])

    if scored := stages.get("eval_cam"):
        for kind, title in MAP_NAMES.items():
            if kind in scored.maps:
                add(title, scored.background_weight, scored.crf and kind in (scored.crf_maps or scored.maps))
                add(title, set(scored.sweep) - set(scored.background_weight), False)
    if scored := stages.get("eval_seg"):
        names.append(PSEUDO)
        add(PSEUDO, scored.background_weight or (), scored.crf)
    if scored := stages.get("deeplab_test"):
        names.extend((SEGMENTED, f"{SEGMENTED} + CRF")[: 1 + scored.crf])
    written = {name for stage, settings in stages.items() for name in BY_NAME[stage].written(settings)}
    return names + [name for name, network in LOSSES.items() if network in written]


def make_experiment(name, overrides, drive, publish, dry_run):
    """Run what an experiment lacks and write RUN_ROOT/experiments/NAME.csv after each row.

    overrides: the user's section.key=value. drive: function of the row's name and a command, a list of words, that runs
    it to its end. publish: whether to leave out the rows of docs/results that have these settings and all figures, and
    to put the whole table there and on the pages. dry_run: print what would be run, and run and write nothing.
    """
    experiment = read_experiment(name)
    for word in overrides:
        if word.partition("=")[0].rpartition(".")[2] in OWN:
            raise UserError(f"{word}: an experiment's rows have seeds and names of their own: leave it out")
    run_root = (override(read_config(ROOT / experiment.config), overrides).get("common") or {}).get("run_root")
    path = Path(run_root or "runs") / "experiments" / f"{name}.csv"
    shown = PAGE.with_suffix("") / path.name
    known = known_rows(shown, experiment) if publish else {}
    plans, made, found = [], [], {}
    for row in experiment.rows:  # all, before the first one runs
        title = f"{name}: {', '.join(map(str, row.cells))}"
        try:
            plans.append((row, title, *plan(experiment, row, overrides)))
        except UserError as error:
            raise UserError(f"{title}: {error}") from error
    for row, title, job, digest in plans:
        cells = *map(str, row.cells), digest
        if dry_run:
            print(f"# {title}: finished" if cells in known else f"# {title}\n{shlex.join(command(job))}")
            continue
        if cells not in known:
            if job not in found:
                found[job] = run_job(experiment, job, partial(drive, title))
            known[cells] = row_figures(experiment.names(row), found[job], job)
        made.append((*cells[:-1], *known[cells], digest))
        _write(path, experiment, made)
    if dry_run:
        return
    print(path)
    if publish:
        _write(shown, experiment, made)
        print(fill_pages())


def command(job):
    """The call of the driver that makes a row's run."""
    return job.call("--to", job.stages[-1])


def known_rows(path, experiment):
    """{(*cells, digest): figures} of the rows of an experiment's CSV that lack none; {} of one with other columns."""
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if header != experiment.header:
        return {}
    first = len(experiment.head)
    return {(*row[:first], row[-1]): row[first:-1] for row in rows if len(row) == len(header) and all(row[first:-1])}


def _write(path, experiment, rows):
    with atomic(path) as temporary:
        temporary.write_text(comma_separated(experiment.header, rows), encoding="utf-8")


def run_job(experiment, job, drive):
    """Make or finish a row's run. Returns all its figures (`figures`)."""
    run = job.arguments(job.stages[-1]).run
    share(job, run)
    make_lists(experiment, job, drive)
    drive(command(job))
    for stage in job.stages:
        used = run.used_settings(stage)
        if deciding(used) != deciding(job.arguments(stage)):
            raise UserError(f"{job.config}: its section {stage} changed while it was run: run this again")
    return measured(experiment, run) if experiment.measure else figures(run, job)


def row_figures(names, found, job):
    """The texts of a row's figures; empty for a class that does not occur. UserError for one that there is none of."""
    for name in names:
        if name not in found:
            run = job.arguments(job.stages[-1]).run
            raise UserError(f"{run}: has no figure {name!r}{nearest(name, found)}")
    return [found[name] for name in names]


def make_lists(experiment, job, drive):
    """Make the lists of PARTS that a job or a measure reads and the data set lacks, which is made first if need be."""
    read = {list_of(stage, job.arguments(stage)).get("list") for stage in job.stages} | {experiment.measured}
    folder = Path(job.arguments("dataset").dataset_root) / "lists"
    lacking = [name for name in PARTS if name in read and not (folder / f"{name}.txt").exists()]
    if not lacking:
        return
    drive(job.call("--from", "dataset", "--to", "dataset"))
    ids = open_dataset(job.arguments("dataset")).ids("train")
    for name in lacking:
        save_lines(folder / f"{name}.txt", [each for number, each in enumerate(ids) if number % 5 in PARTS[name]])


def figures(run, job):
    """{name: text} of what a run's evaluations, of the job's lists, and its log say."""
    lists, found = {job.arguments(name).list for name in job.stages if name in SCORED}, {}
    for row in (*collect_scores(run), *_swept_scores(run)):
        title, scores = column_title(row), row[4]
        if row[1] in lists:
            values = {title: scores["miou"]} | {f"{title}: {name}": value for name, value in scores["iou"].items()}
            found |= {name: "" if value is None else f"{100 * value:.1f}" for name, value in values.items()}
    for record in read_log(run / "log.jsonl"):
        for name, network in LOSSES.items():
            if name in record and record["stage"] == Path(network).stem:
                found[name] = f"{record[name]:.2f}"
    return found


def _swept_scores(run):
    """The rows of `viz.runs.collect_scores` for pseudo labels from kept scores, at each weight of the background."""
    result = load_json(run / "eval" / "seg.json") or {}
    for each in result.get("swept", ()):
        yield PSEUDO, result["list"], each["background_weight"], each["crf"], each


def measured(experiment, run):
    """{line and column: text} of an experiment's measure on its list; kept in RUN/eval/MEASURE_LIST.json."""
    module, function, reads = MEASURES[experiment.measure]
    layout = open_dataset(run.used_settings("make_cam"))
    ids = layout.ids(experiment.measured)
    path = Path("eval") / f"{experiment.measure}_{experiment.measured}.json"
    record = {"stage": experiment.measure, "settings": {}, "inputs": inputs(layout, ids, "images", "masks")}
    record["sources"] = run.sources(*reads)
    result = run.evaluated(path, record)
    if result is None:
        tables = getattr(import_module(module), function)(layout, run, ids, MAP, WORKERS)
        found = {
            f"{title} {column}": value
            for header, *rows in tables
            for title, *values in rows
            for column, value in zip(header[1:], values)
        }
        result = {"figures": found, "record": record}
        save_json(run / path, result)
    return result["figures"]
