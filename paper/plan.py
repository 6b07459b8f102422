"""What the tables need and what of it is missing: one run per network and seed, shared between the rows."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from data.content import inputs
from data.layout import Layout
from data.usable import check_image, check_labels, usable_ids
from paper.tables import NETWORKS
from tool.config import override, parse, read_config
from tool.json_file import load_json
from tool.record import checkpoint_record, make_record, refuse_other, weights_input
from tool.yaml_file import dump_yaml

STAGES = (
    "train_aesipe",
    "make_cam",
    "eval_cam",
    "make_ir_labels",
    "train_irn",
    "make_seg_labels",
    "deeplab_train",
    "deeplab_test",
)
TEST = "test"  # VOC's list whose masks only its server has
MAP = "ae_is_cam"  # the method's last map, whatever the network: what the tables compare


@dataclass(frozen=True)
class Job:
    """All that the tables need of one network and seed.

    config: path of the base config. overrides: the user's and this job's section.key=value, for the driver.
    weights: background weights of the CAM's evaluation. segmentation: whether Table 1 needs it to the end.
    """

    network: str
    seed: int
    config: str
    overrides: tuple
    weights: tuple
    segmentation: bool

    def arguments(self, stage):
        """The settings of a stage of this job, as its script parses them."""
        values = override(read_config(self.config), self.overrides)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(dump_yaml(values))
            file.flush()
            return parse(stage, argv=["--config", file.name])

    @property
    def name(self):
        return f"{self.network}_seed{self.seed}"

    @property
    def stages(self):
        """The stages of this job that cost time, in order."""
        return STAGES if self.segmentation else STAGES[:3]

    def commands(self):
        """Calls of the driver as lists of arguments; stages that are finished cost seconds in them.

        A generator: whether there is a list `test` shows only when the first call has made the dataset.
        """
        driver = ["bash", "run_pipeline.sh", self.config]
        yield [*driver, "--to", "deeplab_test" if self.segmentation else "eval_cam", *self.overrides]
        if self._tested_list():
            masks = self._layout().has_mask(self._layout().ids(TEST)[0])
            archive = [] if masks else [f"deeplab_test.submission={self.archive}"]
            yield [
                *driver,
                "--from",
                "deeplab_test",
                "--to",
                "deeplab_test",
                *self.overrides,
                f"deeplab_test.list={TEST}",
                *archive,
            ]

    @property
    def archive(self):
        """The labels of the list `test` for VOC's evaluation server, where the list has no masks."""
        return self.arguments("deeplab_test").run / "submission_test.tgz"

    def _layout(self):
        return Layout(self.arguments("deeplab_test").dataset_root)

    def _tested_list(self):
        """Whether the segmentation network is to be run on a list `test` that the dataset has."""
        root = Path(self.arguments("deeplab_test").dataset_root)
        return self.segmentation and (root / "lists" / f"{TEST}.txt").exists()

    def missing(self):
        """The stages whose result is not there; UserError where there is one of other settings."""
        args = self.arguments("train_aesipe")
        path = args.run / "ckpt" / "aesipe.pt"
        known = checkpoint_record(path)
        if known is None:
            return self.stages
        refuse_other(path, known, make_record("train_aesipe", args, self._trained_inputs(args, known)))
        todo = set() if self._cams_are_evaluated() else {"make_cam", "eval_cam"}
        if self.segmentation and self.segmentation_scores() is None:
            todo.update(self.stages[1:])
        if self._tested_list() and self.segmentation_scores(TEST) is None and not self.archive.exists():
            todo.add("deeplab_test")
        return tuple(stage for stage in self.stages if stage in todo)

    def _trained_inputs(self, args, known):
        """What AE-SIPE would be trained on now; if the dataset is elsewhere at the moment, what it was trained on."""
        if not (Path(args.dataset_root) / "classes.txt").exists():
            return known.get("inputs", {})
        layout = Layout(args.dataset_root, args.run)
        ids = usable_ids(layout, args.train_list, (check_image, check_labels), args.skip_bad, show=False)
        return inputs(layout, ids, "labels", "images") | weights_input(args)

    def _cams_are_evaluated(self):
        return all(self.cam_scores(weight, crf) for weight in self.weights for crf in (False, True))

    def cam_scores(self, weight, crf):
        """Scores of the last map (`tool.metric.scores`), or None if they are not there."""
        args = self.arguments("eval_cam")
        results = load_json(args.run / "eval" / "cam.json")
        if results is None or results["list"] != args.list:
            return None
        return next(
            (row for row in results["maps"].get(MAP, ()) if row["background_weight"] == weight and row["crf"] == crf),
            None,
        )

    def segmentation_scores(self, list_name=None):
        """Scores of the segmentation network after CRF if there are any, else without; None if not there."""
        args = self.arguments("deeplab_test")
        results = load_json(args.run / "eval" / f"deeplab_{list_name or args.list}.json") or {}
        return results.get("crf", results.get("plain"))


def make_jobs(tables, config, overrides, seeds):
    """The jobs of the tables, one a network and seed, those of the first seed first.

    tables: of `paper.tables.TABLES`. config: path of the base config. overrides: the user's section.key=value.
    seeds: number of seeds, 0..seeds-1. Returns (jobs, the folder of their runs).
    """
    common = override(read_config(config), overrides).get("common") or {}
    folder = Path(common.get("run_root") or "runs") / Path(config).stem
    networks = dict.fromkeys(network for table in tables for network in table.networks)
    return [
        _make_job(tables, config, overrides, network, seed, folder.name)
        for seed in range(seeds)
        for network in networks
    ], folder


def _make_job(tables, config, overrides, network, seed, folder):
    rows = [(table, row) for table in tables for row in table.rows if row.network == network]
    segmentation = any(table.segmentation for table, _ in rows)
    weights = tuple(sorted({row.background_weight for _, row in rows}))
    own = [
        f"common.session_name={folder}/{network}_seed{seed}",
        f"common.seed={seed}",
        *(f"train_aesipe.{key}={_value(value)}" for key, value in NETWORKS[network].items()),
        f"eval_cam.background_weight={_value(list(weights))}",
        "eval_cam.crf=true",
        f"eval_cam.crf_maps=[{MAP}]",
    ]
    job = Job(network, seed, config, (*overrides, *own), weights, segmentation)
    if segmentation:
        return job
    # The CAMs of the evaluated list are all that Tables 2 and 3 need.
    return replace(job, overrides=(*job.overrides, f"make_cam.list={job.arguments('eval_cam').list}"))


def _value(value):
    """A value in YAML, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else str(value)
