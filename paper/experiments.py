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
from paper.plan import MAP, RESULTS, make_job
from paper.runs import SETTINGS
from paper.share import SCORED, list_of, share
from paper.tables import NETWORKS, SUPERVISED
from tool.json_file import load_json, save_json
from tool.settings import deciding
from tool.stages import BY_NAME, DEEPLAB, IRN, STAGES
from tool.yaml_file import read_yaml
from viz.runs import MAP_NAMES, collect_scores, read_log
from viz.tables import column_title, comma_separated

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs" / "experiments"
PSEUDO, SEGMENTED = "pseudo label", "DeepLabV3"
SCORED_IN = dict.fromkeys(MAP_NAMES.values(), "eval_cam") | {PSEUDO: "eval_seg", SEGMENTED: "deeplab_test"}
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
    measured: str | None = field(default=None, name="list")  # train unless given

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
        if self.measured is not None and self.measure is None:
            return "list is of a measure: give eval_cam.list, eval_seg.list or deeplab_test.list as settings"
        for word in (*self.settings, *(word for row in self.rows for word in row.settings)):
            if word.partition("=")[0].rpartition(".")[2] in OWN:
                return f"{word}: give a row's seed as `seed: N`; the name of its run is made of its settings"
        return None


def experiments():
    """The names of all, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def shown():
    """The names of those that have a table in docs/results, in order."""
    return [name for name in experiments() if _published(name).exists()]


def _published(name):
    return PAGE.with_suffix("") / f"{name}.csv"


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
    results = {
        BY_NAME[stage].writes[0] for title, stage in SCORED_IN.items() for name in names if name.startswith(title)
    }
    results |= {LOSSES[name] for name in names if name in LOSSES}
    if experiment.measure:
        results = set(MEASURES[experiment.measure][2])
    job = make_job(row.network, row.seed, config, overrides, settings, results or RESULTS)
    check_classes(names, job)
    if experiment.measure is None:
        there = producible(job)
        wrong = next((name for name in names if name.partition(": ")[0] not in there), None)
        if wrong is not None:
            raise UserError(f"such a run has no figure {wrong!r}{nearest(wrong, there)}: it has {', '.join(there)}")
    elif row.network == SUPERVISED:
        raise UserError(f"measure {experiment.measure}: network {SUPERVISED} has no maps")
    # What the user gives of weights and data is where they are; another content the stages refuse.
    plain = make_job(row.network, row.seed, config, (), settings, results)
    told = {name: {**_told(job, name), "weights": getattr(plain.arguments(name), "weights", "")} for name in job.stages}
    told["dataset"] = {**_told(plain, "dataset"), "root": plain.arguments("dataset").dataset_root}
    made = _digest(json.dumps(told, sort_keys=True))
    session = f"common.session_name={Path(config).stem}/{job.name}_{made}"
    job = replace(job, overrides=(*job.overrides, session))
    return job, _digest("\n".join((made, *names, experiment.measure or "", experiment.measured or "")))


def check_classes(names, job):
    """UserError for a figure of a class that the data set, if it is there already, does not have."""
    settings = job.arguments("dataset")
    if (Path(settings.dataset_root) / "classes.txt").exists():
        known = open_dataset(settings).class_names
        wrong = next((name for name in names if ": " in name and name.partition(": ")[2] not in known), None)
        if wrong is not None:
            raise UserError(f"{wrong!r}: no such class{nearest(wrong.partition(': ')[2], known)}: {', '.join(known)}")


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


def plan_experiment(name, overrides):
    """(the Experiment, [(row, its title, its job, its digest)]). Raises UserError for what cannot be run.

    overrides: the user's section.key=value.
    """
    experiment, plans = read_experiment(name), []
    for word in overrides:
        if word.partition("=")[0].rpartition(".")[2] in OWN:
            raise UserError(f"{word}: an experiment's rows have seeds and names of their own: leave it out")
    for row in experiment.rows:
        title = f"{name}: {', '.join(map(str, row.cells))}"
        try:
            plans.append((row, title, *plan(experiment, row, overrides)))
        except UserError as error:
            raise UserError(f"{title}: {error}") from error
    return experiment, plans


def list_experiment(name, planned, publish):
    """Print what the rows of an experiment lack: the call of the driver for each run, once.

    planned: of `plan_experiment`.
    """
    experiment, plans = planned
    known, listed = known_rows(_published(name), experiment) if publish else {}, set()
    for row, title, job, digest in plans:
        finished = (*map(str, row.cells), digest) in known
        print(f"# {title}{': finished' if finished else ''}")
        if not finished and job not in listed:
            print(shlex.join(command(job)))
            listed.add(job)


def make_experiment(name, planned, drive, publish):
    """Run what an experiment lacks and write RUN_ROOT/experiments/NAME.csv after each row.

    planned: of `plan_experiment`. drive: function of the row's name and a command, a list of words, that runs it to its
    end. publish: whether to leave out the rows of docs/results that have these settings and all figures, and to put the
    whole table there and on the pages.
    """
    experiment, plans = planned
    path = Path(plans[0][2].arguments("dataset").run_root) / "experiments" / f"{name}.csv"
    known = known_rows(_published(name), experiment) if publish else {}
    there, found = known_rows(path, experiment) | known, {}
    order = [(*map(str, row.cells), digest) for row, _, _, digest in plans]
    for (row, title, job, _), cells in zip(plans, order):
        if cells not in known:
            if job not in found:
                found[job] = run_job(experiment, job, partial(drive, title))
            there[cells] = row_figures(experiment.names(row), found[job], job)
        made = [(*each[:-1], *there[each], each[-1]) for each in order if each in there]
        _write(path, experiment, made)
    print(path)
    if publish:
        _write(_published(name), experiment, made)
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
    """Make or finish a row's run. Returns all its figures: `figures`, or those of its measure."""
    run = job.arguments(job.stages[-1]).run
    prepare(experiment, job, drive)
    share(job, run)
    drive(command(job))
    config = run.config()
    for stage in job.stages:
        if stage in config and deciding(run.used_settings(stage)) != deciding(job.arguments(stage)):
            raise UserError(f"{job.config}: its section {stage} changed while it was run: run this again")
    return measured(experiment, run) if experiment.measure else figures(run, job)


def row_figures(names, found, job):
    """The texts of a row's figures; empty for a class that does not occur. UserError for one that there is none of."""
    for name in names:
        if name not in found:
            run = job.arguments(job.stages[-1]).run
            raise UserError(f"{run}: has no figure {name!r}{nearest(name, found)}")
    return [found[name] for name in names]


def prepare(experiment, job, drive):
    """Make the data set if it is not there, and those lists of PARTS that it lacks and a stage or the measure reads.
    Raises UserError if there are no masks to score a list by."""
    settings = [job.arguments(stage.name) for stage in STAGES[: STAGES.index(BY_NAME[job.stages[-1]]) + 1]]
    read = {getattr(each, key, None) for each in settings for key in ("list", "train_list", "val_list")}
    root = Path(job.arguments("dataset").dataset_root)
    lacking = [name for name in PARTS if name in read | {experiment.measured} and not _list(root, name).exists()]
    if lacking or not (root / "classes.txt").exists():
        # Of a run of its own, which holds nothing: a row's run begins with links.
        drive(job.call("--from", "dataset", "--to", "dataset", more=("common.session_name=experiments",)))
    layout = open_dataset(job.arguments("dataset"))
    for name in lacking:
        ids = [each for number, each in enumerate(layout.ids("train")) if number % 5 in PARTS[name]]
        save_lines(_list(root, name), ids)
    for name in {job.arguments(stage).list for stage in job.stages if stage in SCORED}:
        if not any(map(layout.has_mask, layout.ids(name))):
            raise UserError(f"{root}: has no masks of {name}: there are no figures without them")


def _list(root, name):
    return root / "lists" / f"{name}.txt"


def figures(run, job):
    """{name: text} of what a run's evaluations, each of its stage's list, and its log say."""
    lists = {title: job.arguments(stage).list for title, stage in SCORED_IN.items() if stage in job.stages}
    found = {}
    for row in (*collect_scores(run), *_swept_scores(run)):
        title, scores = column_title(row), row[4]
        if row[1] == lists.get(row[0]):
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
    layout, scored = open_dataset(run.used_settings("make_cam")), experiment.measured or "train"
    ids = layout.ids(scored)
    path = Path("eval") / f"{experiment.measure}_{scored}.json"
    record = {"stage": experiment.measure, "settings": {}, "inputs": inputs(layout, ids, "images", "masks")}
    record["sources"] = run.sources(*reads)
    wanted = {name for row in experiment.rows for name in experiment.names(row)}
    result = run.evaluated(path, record)
    if result is None or not wanted <= result["figures"].keys():  # of a version with fewer
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
