"""What the tables need and what of it is missing: one run per network and seed, shared between the rows."""

import json
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path

from coco14.classes import FEW as FEW_OF_COCO
from data.content import inputs
from data.datasets import open_dataset
from data.usable import check_image, check_labels, usable_ids
from errors import UserError
from paper.tables import NETWORKS, SUPERVISED
from tool.config import override, parse, read_config
from tool.json_file import load_json
from tool.record import checkpoint_record, make_record, refuse_other, weights_input
from tool.settings import deciding
from tool.stages import AESIPE, BY_NAME, STAGES
from tool.yaml_file import dump_yaml


def stages_for(*results, arguments=lambda name: BY_NAME[name].settings()):
    """Names of the stages, in order, that outputs in a run's folder come from: what the table says that each reads.

    arguments: function of a stage's name that gives its settings; their defaults where it is not given.
    """
    needed, names = set(results), []
    for stage in reversed(STAGES):
        settings = arguments(stage.name)
        if needed.intersection(stage.written(settings)):
            needed.update(stage.read(settings))
            names.insert(0, stage.name)
    return tuple(names)


CAM_STAGES = stages_for("eval/cam.json")  # to the scores of Tables 2 and 3
RESULTS = ("eval/cam.json", "eval/seg.json", "deeplab")  # of Table 1
ALL_STAGES = stages_for(*RESULTS)
SEGMENTATION = ("deeplab_train", "deeplab_test")  # what full supervision needs
TEST = "test"  # VOC's list whose masks only its server has
MAP = "ae_is_cam"  # the method's last map, whatever the network: what the tables compare
MAPS = {"cam": "cam", "is_cam": "is_cam", "plain": MAP, "crf": MAP}  # columns of a table, and the maps that they are of
MADE_BY = dict.fromkeys(MAPS, "eval_cam") | {"pseudo": "eval_seg"}  # of all other columns deeplab_test
FEW = ("train_aesipe.max_epochs=1", "train_irn.max_epochs=1", "deeplab_train.max_iters=100")  # steps, to be timed
FEW_IMAGES = {"coco14": FEW_OF_COCO}  # lists to be timed on, where that of eval_cam is long


@cache
def _arguments(config, overrides, stage):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(dump_yaml(override(read_config(config), overrides)))
        file.flush()
        try:
            return parse(stage, argv=["--config", file.name])
        except UserError as error:
            raise UserError(str(error).replace(file.name, str(config))) from error


@dataclass(frozen=True)
class Job:
    """All that the tables need of one network and seed.

    config: path of the base config. overrides: the user's and this job's section.key=value, for the driver.
    stages: those that the tables need, in order; the driver makes the dataset and the report beside them.
    figures: (column, background weight), each a figure of the tables.
    """

    name: str
    network: str
    seed: int
    config: str
    overrides: tuple
    stages: tuple
    figures: tuple

    def arguments(self, stage):
        """The settings of a stage of this job, as its script parses them."""
        return _arguments(self.config, self.overrides, stage)

    def commands(self):
        """Calls of the driver as lists of arguments; stages that are finished cost seconds in them.

        A generator: whether there is a list `test` shows only when the first call has made the dataset.
        """
        yield self.call("--to", self.stages[-1])
        if self._tested_list():
            layout = open_dataset(self.arguments("deeplab_test"))
            archive = () if layout.has_mask(layout.ids(TEST)[0]) else (f"deeplab_test.submission={self.archive}",)
            more = f"deeplab_test.list={TEST}", *archive
            yield self.call("--from", "deeplab_test", "--to", "deeplab_test", more=more)

    def short_run(self, stages):
        """A call of the driver, into a run of its own, whose log tells how fast these of the job's stages are."""
        last = [stage for stage in self.stages if stage in stages][-1]
        evaluated = self.arguments("eval_cam")  # its list has both labels and masks
        name = FEW_IMAGES.get(self.arguments("dataset").kind, evaluated.list)
        lists = [f"{stage}.{'train_' * (stage == 'train_aesipe')}list={name}" for stage in ALL_STAGES]
        return self.call("--to", last, more=(f"common.session_name={evaluated.session_name}_timing", *FEW, *lists))

    def call(self, *flags, more=()):
        """A call of the driver with flags, and with section.key=value that count more than the job's own."""
        start = ("--from", self.stages[0]) if self.network == SUPERVISED and "--from" not in flags else ()
        return ["bash", "run_pipeline.sh", self.config, *start, *flags, *self.overrides, *more]

    @property
    def archive(self):
        """The labels of the list `test` for VOC's evaluation server, where the list has no masks."""
        return self.arguments("deeplab_test").run / "submission_test.tgz"

    def _tested_list(self):
        """Whether the segmentation network is to be run on a list `test` that the dataset has."""
        root = Path(self.arguments("deeplab_test").dataset_root)
        return "deeplab_test" in self.stages and (root / "lists" / f"{TEST}.txt").exists()

    def missing(self):
        """The stages whose result is not there; UserError where there is one of other settings."""
        if self.network != SUPERVISED and not self._trained():
            return self.stages
        lacking = {MADE_BY.get(each[0], "deeplab_test") for each in self.figures if self.scores(*each) is None}
        todo = {"make_cam", "eval_cam"} if "eval_cam" in lacking else set()
        if lacking - {"eval_cam"}:
            todo.update(self.stages if self.network == SUPERVISED else self.stages[1:])
        if self._tested_list() and self.scores(TEST) is None and not self.archive.exists():
            todo.add("deeplab_test")
        return tuple(stage for stage in self.stages if stage in todo)

    def _trained(self):
        """Whether the method's network is there; UserError where it is one of other settings."""
        args = self.arguments("train_aesipe")
        path = args.run / AESIPE
        known = checkpoint_record(path)
        if known is not None:
            refuse_other(path, known, make_record("train_aesipe", args, self.trained_inputs(args, known)))
        return known is not None

    def trained_inputs(self, args, known):
        """The inputs of a record of AE-SIPE trained now; of the known one if the dataset is elsewhere at the moment."""
        if not (Path(args.dataset_root) / "classes.txt").exists():
            return known.get("inputs", {})
        layout = open_dataset(args)
        ids = usable_ids(layout, args.train_list, (check_image, check_labels), args.skip_bad, show=False)
        return inputs(layout, ids, "labels", "images") | weights_input(args)

    def initialisation(self, column):
        """What the network that a column of a table is of (see `scores`) was initialised with, in a word."""
        weights = self.arguments("train_aesipe" if column in {*MAPS, "pseudo"} else "deeplab_train").weights
        return {"imagenet": "ImageNet", "none": "random"}.get(weights, Path(weights).name)

    def settings(self, column):
        """A digest, 8 hexadecimal digits, of the settings behind a column of a table (see `scores`), seed and all.

        They are those of the stages up to its own, of an evaluation the list alone. Defaults are left out, so that a
        setting which is added later changes nothing.
        """
        last = MADE_BY.get(column, "deeplab_test")
        used = {"list": self.arguments(last).list}
        for name in self.stages[: self.stages.index(last) + 1]:
            if name not in MADE_BY.values():
                default = deciding(BY_NAME[name].settings())
                chosen = deciding(self.arguments(name))
                used[name] = {key: value for key, value in chosen.items() if value != default[key]}
        return sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:8]

    def scores(self, column, weight=1.0):
        """Scores (`tool.metric.scores`) of a column of a table, or None if they are not there.

        column: cam, is_cam, plain (the last map) and crf (that with dense CRF), all at a weight of the background;
        pseudo (the pseudo labels); seg and seg_crf (DeepLabV3 on the list of deeplab_test, without and with CRF); val
        (the last of these that there is), test (that on VOC's list of the name).
        """
        args = self.arguments(MADE_BY.get(column, "deeplab_test"))
        if column in MAPS:
            results = load_json(args.run / "eval" / "cam.json")
            rows = results["maps"].get(MAPS[column], ()) if results and results["list"] == args.list else ()
            wanted = weight, column == "crf"
            return next((row for row in rows if (row["background_weight"], row["crf"]) == wanted), None)
        if column == "pseudo":
            results = load_json(args.run / "eval" / "seg.json")
            return results if results and results["list"] == args.list else None
        results = load_json(args.run / "eval" / f"deeplab_{TEST if column == TEST else args.list}.json") or {}
        plain = results.get("plain")
        return {"seg": plain, "seg_crf": results.get("crf")}.get(column, results.get("crf", plain))


def make_jobs(tables, config, overrides, seeds):
    """The jobs of the tables, one a network and seed, those of the first seed first.

    tables: of `paper.tables.TABLES`. config: path of the base config. overrides: the user's section.key=value.
    seeds: number of seeds, 0..seeds-1. Returns (jobs, the folder of their runs).
    """
    common = override(read_config(config), overrides).get("common") or {}
    folder = Path(common.get("run_root") or "runs") / Path(config).stem
    networks = dict.fromkeys(network for table in tables for network in table.networks)
    return [_make_job(tables, config, overrides, name, seed) for seed in range(seeds) for name in networks], folder


def make_job(network, seed, config, overrides, settings, results):
    """The Job, of no table, of a network and seed that makes results, files or folders of its run (see `stages_for`).

    overrides: the user's section.key=value. settings: those that count more than the network's own switches.
    """
    own = *overrides, *switches(network), f"common.seed={seed}", *settings
    job = Job(f"{network}_seed{seed}", network, seed, config, own, SEGMENTATION, ())
    return job if network == SUPERVISED else replace(job, stages=stages_for(*results, arguments=job.arguments))


def switches(network):
    """section.key=value of a network of `paper.tables`."""
    if network == SUPERVISED:
        return ("deeplab_train.labels=truth",)
    return tuple(f"train_aesipe.{key}={_yaml(value)}" for key, value in NETWORKS[network].items())


def _make_job(tables, config, overrides, network, seed):
    rows = [(table, row) for table in tables for row in table.rows if row.network == network]
    figures = tuple(
        (column, row.background_weight) for table, row in rows for column in table.columns if column != TEST
    )
    weights = sorted({row.background_weight for _, row in rows})
    name = f"{network}_seed{seed}"
    own = [f"common.session_name={Path(config).stem}/{name}", f"common.seed={seed}"]
    if network == SUPERVISED:
        figures = tuple(figure for figure in figures if figure[0].startswith("seg"))
        overrides = (*overrides, *own, *switches(network))
        return Job(name, network, seed, config, overrides, SEGMENTATION, figures)
    maps = [each for each in MAPS if each in {column for column, _ in figures} & {*MAPS.values()}]
    own += [
        *switches(network),
        *((f"{stage}.maps={_yaml([*maps, MAP])}" for stage in ("make_cam", "eval_cam")) if maps else ()),
        f"eval_cam.background_weight={_yaml(weights)}",
        *(("eval_cam.crf=true",) if any(table.kind == "voc12" for table, _ in rows) else ()),
        f"eval_cam.crf_maps=[{MAP}]",
    ]
    stages = ALL_STAGES if any(table.segmentation for table, _ in rows) else CAM_STAGES
    job = Job(name, network, seed, config, (*overrides, *own), stages, figures)
    if "deeplab_test" in stages:
        return replace(job, stages=stages_for(*RESULTS, arguments=job.arguments))  # without IRN's, where refine is crf
    # The CAMs of the evaluated list are all that Tables 2 and 3 need.
    return replace(job, overrides=(*job.overrides, f"make_cam.list={job.arguments('eval_cam').list}"))


def _yaml(value):
    """A boolean, a word or a list, as YAML on one line."""
    return str(value).replace("'", "").lower()
