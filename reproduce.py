"""Re-make the paper's tables: run what of them is missing and set ours beside the paper's

    python reproduce.py --table 2 3 --dataset configs/voc12_resnet101.yaml --seeds 3 [section.key=value ...]

Every network and seed is one run of run_pipeline.sh, RUN_ROOT/STEM/NETWORK_seedN with STEM the name of the config;
rows and tables that need the same network share it. Stopped, it goes on where it was. The tables are written after
every run to RUN_ROOT/STEM/tableN.md, .csv and .tex, with all that is finished by then. GPUS=n is for the driver.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from data.layout import Layout
from errors import UserError
from files import atomic
from paper.plan import TEST, make_jobs
from paper.render import Cell, csv_text, latex, markdown, miou
from paper.tables import NETWORKS, TABLES
from tool.config import Parser, run_main, word_reader
from tool.settings import positive

ROOT = Path(__file__).resolve().parent


def get_parser():
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--table", type=int, nargs="+", choices=tuple(TABLES), default=tuple(TABLES), metavar="1|2|3")
    parser.add_argument(
        "--dataset",
        default="configs/voc12_resnet101.yaml",
        metavar="CONFIG",
        help="config file of data, encoder and schedules; the tables set the method's switches (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=word_reader(positive), default=1, help="runs per network, seeds 0, 1 ... (default: 1)"
    )
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=tuple(NETWORKS),
        metavar="NETWORK",
        help=f"run no others than these, of {', '.join(NETWORKS)}",
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="mean over these classes, not all that occur")
    parser.add_argument("--dry_run", action="store_true", help="list what is missing, with its time on this machine")
    parser.usage = f"{Path(__file__).name} [flags] [section.key=value ...]"
    return parser


def parse_arguments(argv):
    """Settings, written section.key=value, may stand anywhere, as with run_pipeline.sh: also after a list's flag."""
    overrides = [argument for argument in argv if "=" in argument and not argument.startswith("-")]
    args = get_parser().parse_args([argument for argument in argv if argument not in overrides])
    return argparse.Namespace(**vars(args), overrides=overrides)


def estimate(jobs, missing):
    """Print the commands of the jobs that are not finished and what they will cost."""
    import torch

    from paper.cost import count_images, seconds_an_image

    device, seconds, total = torch.device("cuda" if torch.cuda.is_available() else "cpu"), {}, 0.0
    print(f"timing one image of each stage on this machine ({device.type}) ...", flush=True)
    for job, stages in zip(jobs, missing):
        cost = 0.0
        for stage in stages:
            if stage not in seconds:
                seconds[stage] = seconds_an_image(stage, job.arguments, device)
            cost += seconds[stage] * count_images(stage, job.arguments(stage))
        total += cost
        print(f"\n# {job.name}: " + (f"{duration(cost)} for {', '.join(stages)}" if stages else "finished"))
        for command in job.commands() if stages else ():
            print(shlex.join(command))
    print("\nper image: " + ", ".join(f"{stage} {1000 * value:.0f} ms" for stage, value in seconds.items()))
    print(f"together about {duration(total)} on one process, without reading files and start-up")


def duration(seconds):
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min"


def run_job(job):
    for command in job.commands():
        print(f"# {job.name}\n{shlex.join(command)}", flush=True)
        status = subprocess.run(command, cwd=ROOT).returncode
        if status:
            raise UserError(f"{job.name} failed with status {status}: see above; run this again to go on")


def check_classes(names, job):
    """UserError for a name that the dataset, if it is there already, does not have."""
    root = Path(job.arguments("eval_cam").dataset_root)
    if names and root.exists():
        known = Layout(root).class_names
        wrong = next((name for name in names if name not in known), None)
        if wrong is not None:
            raise UserError(f"--classes: {root} has no class {wrong!r}: it has {', '.join(known)}")


def cell(row, column, jobs, classes):
    """The Cell of a row and a column from all seeds that are finished."""
    found = []
    for job in jobs:
        if job.network == row.network:
            if column in ("plain", "crf"):
                found.append(job.cam_scores(row.background_weight, column == "crf"))
            else:
                found.append(job.segmentation_scores(TEST if column == TEST else None))
    pending = "by the server" if column == TEST and row.network else ""
    return Cell(row.paper.get(column), tuple(miou(scores, classes) for scores in found if scores), pending)


def write_tables(numbers, jobs, folder, args):
    """Write the tables with what is finished. Returns their Markdown."""
    texts = []
    for number in numbers:
        table = TABLES[number]
        rows = [
            (
                row.title,
                row.network is None,
                {column: cell(row, column, jobs, args.classes) for column in table.columns},
            )
            for row in table.rows
        ]
        title = f"Table {number}: {table.title}"
        notes = [
            f"mIoU in percent over {'all classes that occur' if args.classes is None else ', '.join(args.classes)}; "
            f"ours: {args.dataset}, mean ± standard deviation (number of seeds)",
            f"paper: as printed in the paper's Table {number}",
        ]
        texts.append(markdown(title, table.columns, rows, notes))
        for suffix, text in (
            (".md", texts[-1]),
            (".csv", csv_text(table.columns, rows)),
            (".tex", latex(title, table.columns, rows, notes)),
        ):
            with atomic(folder / f"table{number}{suffix}") as temporary:
                temporary.write_text(text, encoding="utf-8")
    return "\n".join(texts)


def main():
    args = parse_arguments(sys.argv[1:])
    numbers = sorted(set(args.table))
    jobs, folder = make_jobs([TABLES[number] for number in numbers], args.dataset, args.overrides, args.seeds)
    check_classes(args.classes, jobs[0])
    wanted = [job for job in jobs if job.network in (args.networks or NETWORKS)]
    missing = [job.missing() for job in wanted]
    if args.dry_run:
        estimate(wanted, missing)
        return
    for job, stages in zip(wanted, missing):
        if stages:
            run_job(job)
            write_tables(numbers, jobs, folder, args)
    print(write_tables(numbers, jobs, folder, args))
    print(", ".join(str(folder / f"table{number}.md") for number in numbers))


if __name__ == "__main__":
    run_main(main)
