"""Re-make the paper's tables: run what of them is missing and set ours beside the paper's

    python reproduce.py --table 2 3 --dataset configs/voc12_resnet101.yaml --seeds 3 [section.key=value ...]
    python reproduce.py --table coco
    python reproduce.py --table end --dataset configs/photos_mobilenet_v2.yaml --seeds 3 common.dataset_root=DATA
    python reproduce.py --experiments all common.dataset_root=DATA

Every network and seed is one run of run_pipeline.sh, RUN_ROOT/STEM/NETWORK_seedN with STEM the name of the config;
rows and tables that need the same network share it. Stopped, it continues where it was. The tables are written after
every run to RUN_ROOT/STEM/tableN.md, .csv, .tex and .svg, with all that is finished by then; tableN.classes.csv has the
IoU of each class, runs.csv each run's figures, curves.csv and .svg the maps' mIoU while they were trained. --publish
adds them to the figures in docs/results, and does not repeat the runs that are there. GPUS=n is for the driver.

An experiment is a file of configs/experiments (paper/experiments.py says what is in it); its table is written after
every row to RUN_ROOT/experiments/NAME.csv.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

from data.datasets import open_dataset
from errors import UserError, nearest
from paper.document import PAGE, publish
from paper.experiments import experiments, list_experiment, make_experiment, plan_experiment, shown
from paper.plan import make_jobs
from paper.render import write_tables
from paper.runs import FIGURES, Runs, finished, published
from paper.tables import NETWORKS, SUPERVISED, TABLES
from tool.config import Parser, run_main
from tool.flags import word_reader
from tool.signals import run_to_its_end
from tool.values import Names, Positive, describe

CONFIGS = {"voc12": "configs/voc12_resnet101.yaml", "coco14": "configs/coco14_resnet101.yaml"}  # by kind of data set
DEFAULT = ("1", "2", "3")  # tables
OF_TABLES = ("table", "dataset", "seeds", "networks", "classes")  # flags
ALL = "all"  # of the experiments
ROOT = Path(__file__).resolve().parent


def get_parser():
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables, networks = tuple(map(str, TABLES)), (*NETWORKS, SUPERVISED)
    table, network = (word_reader(Annotated[str, Names(known)]) for known in (tables, networks))
    add = parser.add_argument_group("what is run").add_argument
    those = "tables to make: the paper's 1 to 3; end: from the maps to DeepLabV3; coco: COCO 2014 (default: 1 2 3)"
    add("--table", nargs="+", type=table, metavar="|".join(tables), help=those)
    config = "config file of data, encoder and schedules; the tables set the method's switches"
    defaults = f"default: {CONFIGS['voc12']}; with --table coco {CONFIGS['coco14']}"
    add("--dataset", metavar="CONFIG", help=f"{config} ({defaults})")
    number = f"runs of each network, seeds 0, 1 ... ({describe(Positive)}; default: 1)"
    add("--seeds", type=word_reader(Positive), metavar="N", help=number)
    these = f"run no others than these, of {', '.join(networks)} (default: all that the tables need)"
    add("--networks", nargs="+", type=network, metavar="NETWORK", help=these)
    named = (
        f"make these experiments in place of tables, of {', '.join(experiments())}; or all that docs/results*.md show"
    )
    one = word_reader(Annotated[str, Names((*experiments(), ALL))])
    add("--experiments", nargs="+", type=one, metavar="NAME", help=named)
    add(
        "--dry_run",
        action="store_true",
        help="list what is missing, of tables with its time by the logs of earlier runs",
    )
    add = parser.add_argument_group("what is written").add_argument
    add("--classes", nargs="+", metavar="NAME", help="mean over these classes (default: all that occur)")
    add(
        "--publish", action="store_true", help="add the figures to docs/results and docs/results.md; run what they lack"
    )
    parser.usage = f"{Path(__file__).name} [flags] [section.key=value ...]"
    return parser


def parse_arguments(argv):
    """Settings, written section.key=value, may stand anywhere, as with run_pipeline.sh: also after a list's flag."""
    overrides = [argument for argument in argv if "=" in argument and not argument.startswith("-")]
    args = get_parser().parse_args([argument for argument in argv if argument not in overrides])
    return argparse.Namespace(**vars(args), overrides=overrides)


def drive(name, command):
    """Run a command of what is named. Raises UserError if it fails."""
    print(f"# {name}\n{shlex.join(command)}", flush=True)
    status = run_to_its_end(command, ROOT)
    if status:
        raise UserError(f"{name} failed with status {status}: see above; run this again to continue")


def check_classes(names, job):
    """UserError for a name that the dataset, if it is there already, does not have."""
    settings = job.arguments("eval_cam")
    root = Path(settings.dataset_root)
    known = open_dataset(settings).class_names if names and root.exists() else names or ()
    wrong = next((name for name in names or () if name not in known), None)
    if wrong is not None:
        raise UserError(f"--classes: {root} has no class {wrong!r}{nearest(wrong, known)}: it has {', '.join(known)}")


def main():
    args = parse_arguments(sys.argv[1:])
    if args.dataset and Path.cwd() != ROOT and Path(args.dataset).exists():
        args.dataset = os.path.abspath(args.dataset)
    os.chdir(ROOT)  # where the driver's relative paths start
    if args.experiments:
        given = next((name for name in OF_TABLES if getattr(args, name) is not None), None)
        if given:
            raise UserError(f"--{given} is of tables: an experiment's file says what it runs: leave one of the two out")
        names = shown() if ALL in args.experiments else args.experiments
        planned = {name: plan_experiment(name, args.overrides) for name in names}  # before the first one runs
        for name, plans in planned.items():
            if args.dry_run:
                list_experiment(name, plans, args.publish)
            else:
                make_experiment(name, plans, drive, args.publish)
        return
    names, seeds = args.table or DEFAULT, args.seeds or 1
    tables = {name: table for name, table in TABLES.items() if str(name) in names}
    kinds = {table.kind for table in tables.values()}
    if len(kinds) > 1:
        raise UserError(f"--table {' '.join(names)}: these are of two data sets: ask for coco by itself")
    args.dataset = args.dataset or CONFIGS[kinds.pop()]
    jobs, folder = make_jobs(tables.values(), args.dataset, args.overrides, seeds)
    check_classes(args.classes, jobs[0])
    wanted = [job for job in jobs if not args.networks or job.network in args.networks]
    known = published(PAGE.with_suffix(""), f"{folder.name}_") if args.publish else Runs()
    for job in jobs:
        if column := known.of_other_settings(job):
            raise UserError(
                f"{PAGE.with_suffix('') / folder.name}_{FIGURES}: {column} of {job.name} is of other settings: give "
                "those that it was made with, or take the file away"
            )
    missing = [() if known.complete(job) else job.missing() for job in wanted]
    if args.dry_run:
        import torch

        from paper.estimate import estimate

        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        print(*estimate(wanted, missing, folder.parent, device), sep="\n")
        return

    def write():
        return write_tables(tables, known | finished(jobs, tables.values()), folder, args.dataset, args.classes)

    for job, stages in zip(wanted, missing):
        if stages:
            for command in job.commands():
                drive(job.name, command)
            write()
    print(write())
    print(", ".join(str(folder / f"table{number}.md") for number in tables))
    if args.publish:
        print(publish(folder, tables))


if __name__ == "__main__":
    run_main(main)
