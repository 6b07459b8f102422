"""A run begins with what another has made with the same settings, by hard links: nothing is trained twice."""

import json
import os
import shutil
from pathlib import Path

from errors import UserError
from files import atomic, remove_leftovers, save_lines
from paper.tables import SUPERVISED
from tool.record import checkpoint_record, difference, make_record
from tool.run import Run
from tool.settings import deciding
from tool.stages import AESIPE, BY_NAME
from viz.runs import read_log

SCORED = ("eval_cam", "eval_seg", "deeplab_test")  # stages that score a list


def share(job, run):
    """Begin a job's run, unless it has begun, with links to what a run beside it has made with the same settings: of
    all runs the one that has most of it."""
    if run.path.exists():
        return
    remove_leftovers(run.path.parent)
    others = [path.parent for path in sorted(run.path.parent.glob("[!.]*/config.yaml"))]
    found = [(same_stages(Run(other), job), Run(other)) for other in others]
    stages, source = max(found, key=lambda pair: len(pair[0]), default=((), None))
    if not stages or not _of_same_data(source, job):
        return
    print(f"{run}: begins with {', '.join(stages)} of {source}")
    written = [name for stage in stages for name in BY_NAME[stage].written(job.arguments(stage))]
    with atomic(run.path) as part:
        for name in ("classes.txt", *written):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            if (source / name).is_dir():
                hidden = shutil.ignore_patterns(".*")  # of a stage that is writing
                shutil.copytree(source / name, part / name, copy_function=_link, ignore=hidden)
            else:
                _link(source / name, part / name)
        begun = Run(part)
        for stage in stages:
            begun.keep_settings(stage, job.arguments(stage))
        logged = {*stages, *(Path(name).stem for name in written)}
        lines = [json.dumps(each) for each in read_log(source / "log.jsonl") if each["stage"] in logged]
        save_lines(part / "log.jsonl", lines)


def _of_same_data(run, job):
    """Whether a run's AE-SIPE was trained on what the data set holds now, from the same weights."""
    known = checkpoint_record(run / AESIPE) if (run / AESIPE).exists() else None
    if known is None or job.network == SUPERVISED:
        return True
    settings = job.arguments("train_aesipe")
    record = make_record("train_aesipe", settings, job.trained_inputs(settings, known))
    return difference(known, record) is None


def _link(source, target):
    """A hard link, or a copy where the file system has none. No stage writes into a file that is there."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def same_stages(run, job):
    """The stages of a job that a run has made with the same settings, up to the first that it has not; scores may be
    missing between them."""
    stages = []
    try:
        config = run.config()
        for name in job.stages:
            if name == "deeplab_test":  # its scores lie beside its folder
                break
            wanted = job.arguments(name)
            same = name in config and _same(name, run.used_settings(name), wanted)
            if same and all((run / each).exists() for each in BY_NAME[name].written(wanted)):
                stages.append(name)
            elif name not in SCORED:
                break
    except UserError:  # a run that someone has edited
        return []
    return stages


def _same(stage, used, wanted):
    """Whether two settings of a stage make the same of the same data."""
    roots = [os.path.realpath(each.dataset_root or "") for each in (used, wanted)]
    weights = [getattr(each, "weights", None) for each in (used, wanted)]
    lists = [list_of(stage, each) for each in (used, wanted)]
    return deciding(used) == deciding(wanted) and all(one == other for one, other in (roots, weights, lists))


def list_of(stage, settings):
    """{"list": its name} of a stage that trains on a list or scores one; {} of one that makes each image by itself."""
    if stage in SCORED or any(name.endswith(".pt") for name in BY_NAME[stage].writes):
        return {"list": getattr(settings, "train_list", None) or settings.list}
    return {}
