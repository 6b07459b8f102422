"""Time the method's operations against their plain formulations, and whole stages. See docs/benchmarks.md.

python -m bench                            every operation at the paper's training shape and a VOC photograph's size
python -m bench --run pamr ae              some of them
python -m bench --stages --backbone resnet101
python -m bench --growth docs              how time grows with the image and the number of classes, as plots
python -m bench --start configs/demo.yaml  start-up, a finished run, a second look at a dataset, verifying of files
python -m bench --scale 120000             every step that is no network, on a made-up COCO with as many tiny images
python -m bench --memory configs/voc12_resnet101.yaml    what its trainings will need on GPUs, and what fits which
python -m bench --report bench_gpu --device cuda   all of a GPU, one Markdown file and one CSV: bench/gpu.sh
"""

import argparse
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

import torch

from bench.growth import plot_growth
from bench.measure import compare, machine
from bench.memory import print_memory
from bench.operations import OPERATIONS, RADIUS, Shape, build
from bench.report import make_report
from bench.scale import time_scale
from bench.stages import STAGES, time_stages
from bench.start import time_start
from errors import UserError
from tool.config import Parser, run_main
from tool.flags import word_reader
from tool.json_file import load_json, save_json
from tool.settings import default_workers
from tool.values import Positive, Rate

SIZES = (
    *(field.name for field in fields(Shape)),
    "images",
    "irn_backbone",
    "runs",
    "budget",
)  # of all rows of --report


def get_parser():
    parser = Parser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run",
        nargs="+",
        default=None,
        choices=(*OPERATIONS, *STAGES),
        metavar="NAME",
        help=f"operations: {', '.join(OPERATIONS)}; stages: {', '.join(STAGES)}",
    )
    parser.add_argument("--stages", action="store_true", help="whole stages in place of operations")
    parser.add_argument("--growth", type=Path, metavar="FOLDER", help="plots of growth in place of both, into FOLDER")
    parser.add_argument(
        "--start", metavar="CONFIG", help="what users wait for in place of them; CONFIG's run is finished"
    )
    parser.add_argument(
        "--memory", metavar="CONFIG", help="a forecast of what CONFIG's trainings need on a GPU, in place of them"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FOLDER",
        help="all of a machine, a row after the other; continues where it stopped",
    )
    parser.add_argument(
        "--processes",
        type=word_reader(Positive),
        help="of --memory, one a GPU (default: 1); of --report, at most (default: all GPUs)",
    )
    parser.add_argument("--list_length", type=word_reader(Positive), default=10_582, help="images looked at by --start")
    parser.add_argument(
        "--scale", type=word_reader(Positive), metavar="N", help="images of a made-up COCO, in place of all"
    )
    parser.add_argument("--workers", type=word_reader(Positive), default=default_workers(), help="processes in --scale")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=word_reader(Positive), help="of PyTorch on the CPU")
    parser.add_argument(
        "--runs", type=word_reader(Positive), default=5, help="counted runs of each, of which the median is shown"
    )
    parser.add_argument(
        "--budget", type=word_reader(Rate), default=60.0, help="seconds after which a slow one is not run again"
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "tf32", "bfloat16", "float16"),
        help="of the networks in stages; default: each stage's own",
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile the encoder in training stages")
    parser.add_argument(
        "--folder", type=Path, help="of the drawn images and the stages' run, to be kept for a later call"
    )
    parser.add_argument("--images", type=word_reader(Positive), default=16, help="drawn for stages")
    parser.add_argument("--irn_backbone", default="resnet50", help="encoder of IRN in stages")
    parser.add_argument("--json", type=Path, help="file for the results")
    for field in fields(Shape):
        parser.add_argument(
            f"--{field.name}", type=str if field.type is str else word_reader(Positive), default=field.default
        )
    return parser


def time_operations(names, shape, device, runs, budget, facts):
    """Print a table row for each formulation; returns {operation: results}. Raises UserError if results differ."""
    print(
        f"{'operation':12s} {'way':15s} {'ms':>10s} {'ratio':>8s} {'MiB':>8s} {'MiB, %':>7s} {'floor ms':>9s} differs"
    )
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            case = build(name, shape, device, Path(folder) / name)
            results, outputs = compare(case.functions, device, runs, budget)
            differs = case.difference(outputs["ours"], outputs["plain"])
            floor = max(case.floor[0] / facts["float32"], case.floor[1] / facts["copy"])
            report[name] = {
                "ways": results,
                "difference": differs,
                "operations": case.floor[0],
                "bytes": case.floor[1],
                "floor_seconds": floor,
            }
            _print_rows(name, results, floor, differs)
            if case.note is not None:
                print(f"{'':12s} {case.note(outputs)}")
            if not differs <= case.tolerance:
                raise UserError(f"{name}: ours and plain differ by {differs:.3g}, more than {case.tolerance:.3g}")
    return report


def _print_rows(name, results, floor, differs):
    ours = results["ours"]
    for way, row in results.items():
        ratio = f"{row['median'] / ours['median']:.2f}"
        memory = "-" if row["mib"] is None else f"{row['mib']:.0f}"
        share = f"{100 * ours['mib'] / row['mib']:.1f}" if row["mib"] and ours["mib"] is not None else "-"
        last = (f"{1e3 * floor:9.2f}" if floor else f"{'-':>9s}") + f" {differs:.1e}" if way == "ours" else ""
        print(
            f"{name:12s} {way:15s} {1e3 * row['median']:10.2f} {ratio:>8s} {memory:>8s} {share:>7s} {last}", flush=True
        )


def _facts(device, folder):
    """Of `bench.measure.machine`; a folder keeps them, so that its stages are held against the same rates."""
    if folder is None:
        return machine(device)
    path = folder / f"{device.type}.json"
    facts = load_json(path)
    if facts is None:
        folder.mkdir(parents=True, exist_ok=True)
        facts = machine(device)
        save_json(path, facts)
    return facts


def main():
    args = get_parser().parse_args()
    if args.memory:
        report = print_memory(args.memory, args.processes or 1, args.n_classes)
        if args.json:
            save_json(args.json, report)
        return
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no GPU here")
    if not 2 <= args.present <= args.n_classes:
        raise UserError(f"--present {args.present}: the background and at least one of {args.n_classes} classes")
    if args.crop_size // 4 < 2 * RADIUS - 1:
        raise UserError(f"--crop_size {args.crop_size}: IRN's pairs need {4 * (2 * RADIUS - 1)} pixels or more")
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.report:
        sizes = [word for name in SIZES for word in (f"--{name}", str(getattr(args, name)))]
        processes = args.processes or max(1, torch.cuda.device_count())
        sys.exit(1 if make_report(args.report, args.device, sizes, args.batch_size, processes) else 0)
    device = torch.device(args.device)
    shape = Shape(**{field.name: getattr(args, field.name) for field in fields(Shape)})
    facts = _facts(device, args.folder)
    print(
        ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in facts.items()
        )
    )
    report = {"machine": facts, "shape": vars(shape)}
    if args.scale:
        report["scale"] = time_scale(args.scale, args.workers)
    elif args.growth:
        report["growth"] = plot_growth(args.growth, shape, device, args.runs)
    elif args.start:
        report["start"] = time_start(args.start, args.runs, args.list_length)
    else:
        names = args.run or (STAGES if args.stages else OPERATIONS)
        operations, stages = ([name for name in names if name in group] for group in (OPERATIONS, STAGES))
        if operations:
            report["operations"] = time_operations(operations, shape, device, args.runs, args.budget, facts)
        if stages:
            report["stages"] = time_stages(stages, shape, device, args, facts)
    if args.json:
        save_json(args.json, report)


if __name__ == "__main__":
    run_main(main)
