"""THE table of stages: what the pipeline is made of, in order. Adding a stage is one row, its settings and one script.

The driver reads it by `python -m tool.stages`, which prints a line `name script all|one` for each; no import in here
needs more than Python itself. The table in docs/stages.md is `python -m tool.stages --markdown`.
"""

import sys
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stage:
    """name: its section of a config file. script: its file; its settings' class in `tool.settings` is called like it.

    does: in a few words. processes: "all" that torchrun starts share its work, or "one" does it.
    writes: what it leaves in the run's folder. reads: {what it reads there: whether of every image of its list}. A part
    in braces is a setting's value, or each of its values.
    """

    name: str
    script: str
    does: str
    processes: str = "one"
    writes: tuple = ()
    reads: dict = field(default_factory=dict)

    @property
    def settings(self):
        """The settings' class: DeeplabTrain of deeplab/train.py."""
        from tool import settings  # not above: the driver asks for the table before packages are installed

        return getattr(settings, self.script.removesuffix(".py").title().replace("_", "").replace("/", ""))

    def written(self, settings):
        """What it writes with these settings."""
        return [each for name in self.writes for each in _filled(name, settings)]

    def read(self, settings):
        """{what it reads with these settings: whether of every image of its list}."""
        unread = getattr(settings, "unread", ())
        filled = {each: every for name, every in self.reads.items() for each in _filled(name, settings)}
        return {each: every for each, every in filled.items() if each not in unread}


def _filled(name, settings):
    """The names that a name with a setting in braces stands for; none for `truth`, the data set's own masks."""
    if "{" not in name:
        return [name]
    value = getattr(settings, name.strip("{}"))
    return [each for each in (value if isinstance(value, tuple) else (value,)) if each != "truth"]


AESIPE, IRN, DEEPLAB = "ckpt/aesipe.pt", "ckpt/irn.pt", "ckpt/deeplab.pt"
SCORES = "seg_score"  # of make_seg_labels.keep_scores
STAGES = (
    Stage("dataset", "prepare_dataset.py", "puts the data set in place and checks it"),
    Stage("train_aesipe", "train_aesipe.py", "trains AE-SIPE on image labels", "all", (AESIPE,)),
    Stage("make_cam", "make_cam.py", "exports the maps", "all", ("{maps}",), {AESIPE: False}),
    Stage("eval_cam", "eval_cam.py", "mIoU of the maps", "one", ("eval/cam.json",), {"{maps}": True}),
    Stage("make_ir_labels", "make_ir_labels.py", "labels for IRN by dense CRF", "all", ("ir_label",), {"{map}": True}),
    Stage("train_irn", "train_irn.py", "trains IRN on them", "all", (IRN,), {"{labels}": True}),
    Stage(
        "make_seg_labels",
        "make_seg_labels.py",
        "pseudo labels by random walk, or dense CRF",
        "all",
        ("seg_label", "{scores}"),
        {IRN: False, "{map}": True},
    ),
    Stage(
        "eval_seg",
        "eval_seg.py",
        "mIoU of the pseudo labels",
        "one",
        ("eval/seg.json",),
        {"{folder}": True, "{scores}": True},
    ),
    Stage(
        "deeplab_train",
        "deeplab/train.py",
        "trains DeepLabV3 on the pseudo labels",
        "all",
        (DEEPLAB,),
        {"{labels}": True},
    ),
    Stage("deeplab_test", "deeplab/test.py", "segments a list and scores it", "all", ("deeplab",), {DEEPLAB: False}),
    Stage("report", "report.py", "one page on the run", "one", ("report",)),
)
TOOLS = (  # not of the driver
    Stage("predict", "predict.py", "segments or localises on any images", writes=("predict",)),
    Stage("app", "app.py", "a page on this machine that segments and localises"),
    Stage("export", "export.py", "pseudo labels as a devkit, or a network as a graph"),
)
BY_NAME = {stage.name: stage for stage in (*STAGES, *TOOLS)}


def maker(name):
    """The script, with its flags, that writes `name` into a run's folder; None where its name does not tell."""
    stage = writer(name)
    return stage and stage.script + " --keep_scores" * (name == SCORES)


def writer(name):
    """The stage that writes `name` into a run's folder; None where its name does not tell."""
    if name == SCORES:
        return BY_NAME["make_seg_labels"]
    return next((stage for stage in STAGES if name in stage.writes), None)


def markdown():
    """The table for people: a row a stage."""
    rows = [
        "| stage (section) | script | what it does | processes | reads in the run | writes there |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for stage in BY_NAME.values():
        reads, writes = (", ".join(f"`{name}`" for name in names) for names in (stage.reads, stage.writes))
        rows.append(f"| {stage.name} | `{stage.script}` | {stage.does} | {stage.processes} | {reads} | {writes} |")
    return "\n".join(rows)


if __name__ == "__main__":
    rows = [f"{stage.name} {stage.script} {stage.processes}" for stage in STAGES]
    print(markdown() if sys.argv[1:] == ["--markdown"] else "\n".join(rows))
