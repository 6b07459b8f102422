"""What the missing stages will take, by the logs of earlier runs: nothing is timed for it."""

import os
import shlex

from data.layout import Layout
from data.loader import steps_per_epoch
from errors import UserError
from tool.io import load_run_config
from tool.settings import plain
from viz.runs import read_log, usage
from voc12.classes import COUNTS

WITHOUT_GPU = ("eval_cam", "make_ir_labels")  # dense CRF: their logs name the CPU on any machine
NETWORK = {"make_cam": "train_aesipe", "make_seg_labels": "train_irn", "deeplab_test": "deeplab_train"}
ALIKE = ("dataset_root", "backbone", "batch_size", "crop_size", "scales", "background_weight")  # decide the speed


def estimate(jobs, missing, run_root, device):
    """Text: the commands of each job (`paper.plan.Job`) and the time of its missing stages by the logs below run_root.

    device: name of the GPU, or "cpu". Only runs on such a device count, on as many processes as GPUS asks for now.
    """
    paths = [path for pattern in ("*/log.jsonl", "*/*/log.jsonl") for path in sorted(run_root.glob(pattern))]
    logs = [(load_run_config(path.parent), usage(read_log(path))) for path in paths]
    lines, total, unknown = [], 0.0, {}
    for job, stages in zip(jobs, missing):
        times = {stage: seconds(stage, job, logs, device) for stage in stages}
        said = [f"{stage} {'not known' if time is None else duration(time)}" for stage, time in times.items()]
        commands = map(shlex.join, job.commands() if stages else ())
        lines += [f"# {job.name}: {', '.join(said) or 'finished'}", *commands, ""]
        total += sum(filter(None, times.values()))
        unknown = {stage: job for stage, time in times.items() if time is None} | unknown
    lines.append(f"together {'at least' if unknown else 'about'} {duration(total)} on this machine ({device})")
    if unknown:
        lines.append(f"no run like these below {run_root} tells what {', '.join(unknown)} take; a short one will:")
        lines += [shlex.join(job.short_run(unknown)) for job in dict.fromkeys(unknown.values())]
    return "\n".join(lines)


def seconds(stage, job, logs, device):
    """What a whole stage takes, by all that alike runs did of it; None where none did any."""
    sections, did, took = (NETWORK.get(stage, stage), stage), 0, 0.0
    wanted = {key: value for name in sections for key, value in plain(job.arguments(name)).items() if key in ALIKE}
    where = ("cpu" if stage in WITHOUT_GPU else device, "1" if stage == "eval_cam" else os.environ.get("GPUS", "1"))
    for config, rows in logs:
        known = {key: value for name in sections for key, value in config.get(name, {}).items()}
        for row in rows if all(known.get(key, value) == value for key, value in wanted.items()) else ():
            if row["stage"] == stage and (row["device"], str(row["processes"])) == where:
                did, took = did + row["did"], took + row["seconds"]
    return took / did * amount(job.arguments(stage)) if did else None


def amount(args):
    """Training steps, or images, of a whole stage; by VOC 2012's official counts while there is no dataset."""
    name = getattr(args, "train_list", None) or args.list
    try:
        images = len(Layout(args.dataset_root).ids(name))
    except UserError:
        images = COUNTS.get(name, COUNTS["train_aug"])
    epochs = getattr(args, "max_epochs", None)
    return getattr(args, "max_iters", epochs * steps_per_epoch(images, args.batch_size) if epochs else images)


def duration(seconds):
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min"
