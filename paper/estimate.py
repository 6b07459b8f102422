"""What the missing stages will take, by the logs of earlier runs: nothing is timed for it."""

import math
import os
import shlex
from datetime import timedelta

from coco14.classes import COUNTS as COCO_COUNTS
from data.datasets import open_dataset
from data.loader import steps_per_epoch
from errors import UserError
from tool.run import Run
from tool.settings import plain
from viz.runs import read_log, usage
from voc12.classes import COUNTS

COUNTS_OF = {"voc12": COUNTS, "coco14": COCO_COUNTS}
WITHOUT_GPU = ("eval_cam", "make_ir_labels")  # dense CRF: their logs name the CPU on any machine
NETWORK = {"make_cam": "train_aesipe", "make_seg_labels": "train_irn", "deeplab_test": "deeplab_train"}
ALIKE = ("dataset_root", "backbone", "batch_size", "crop_size", "scales", "background_weight")  # decide the speed


def estimate(jobs, missing, run_root, device):
    """Lines: the jobs' (`paper.plan.Job`) commands and the times of their missing stages by the logs below run_root.

    device: name of the GPU, or "cpu". Only runs on such a device count, on as many processes as GPUS asks for now.
    """
    paths = sorted([*run_root.glob("[!.]*/log.jsonl"), *run_root.glob("*/[!.]*/log.jsonl")])
    logs = [(Run(path.parent).config(), row) for path in paths for row in usage(read_log(path))]
    total, unknown = timedelta(), {}
    for job, stages in zip(jobs, missing):
        times = {stage: duration(stage, job, logs, device) for stage in stages}
        said = ", ".join(f"{stage} {time or 'not known'}" for stage, time in times.items())
        yield f"\n# {job.name}: {said or 'finished'}"
        yield from map(shlex.join, job.commands() if stages else ())
        total += sum(filter(None, times.values()), timedelta())
        unknown = {stage: job for stage, time in times.items() if time is None} | unknown
    yield f"\ntogether {'at least' if unknown else 'about'} {total} (h:mm:ss) on this machine ({device})"
    if unknown:
        yield f"no run like these below {run_root} tells what {', '.join(unknown)} take; a short one will:"
        yield from (shlex.join(job.short_run(unknown)) for job in dict.fromkeys(unknown.values()))


def duration(stage, job, logs, device):
    """What a whole stage takes, by all that alike runs did of it; None where none did any."""
    wanted = [(name, plain(job.arguments(name))) for name in {stage, NETWORK.get(stage, stage)}]
    wanted = [(name, key, values[key]) for name, values in wanted for key in ALIKE if key in values]
    kind = (stage, "cpu" if stage in WITHOUT_GPU else device, (stage != "eval_cam" and os.environ.get("GPUS")) or "1")
    rows = [row for run, row in logs if all(run.get(name, {}).get(key, value) == value for name, key, value in wanted)]
    rows = [row for row in rows if (row["stage"], row["device"], str(row["processes"])) == kind]
    seconds, did = (sum(row[key] for row in rows) for key in ("seconds", "did"))
    return timedelta(seconds=math.ceil(seconds / did * amount(job, stage))) if did else None


def amount(job, stage):
    """Training steps, or images, of a whole stage; by the data set's official counts while it is not there."""
    args = job.arguments(stage)
    name = getattr(args, "train_list", None) or args.list
    try:
        images = len(open_dataset(args).ids(name))
    except UserError:
        counts = COUNTS_OF.get(job.arguments("dataset").kind, COUNTS)
        images = counts.get(name, counts.get("train_aug", counts["train"]))
    epochs = getattr(args, "max_epochs", None)
    return getattr(args, "max_iters", epochs * steps_per_epoch(images, args.batch_size) if epochs else images)
