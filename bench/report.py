"""The report of a whole machine, row by row: bash bench/gpu.sh FOLDER

Each row is a process of its own, whose result lies in FOLDER/rows: a row that fails says why and the next continues;
called again, the report takes the rows that are there and runs the others. report.md and report.csv are written after
each row.
"""

import csv
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.stages import ROOT, STAGES, voc_hours
from bench.training import TRAINED
from errors import UserError
from files import atomic
from tool.json_file import load_json, save_json
from tool.signals import stop_signals
from viz.tables import markdown

# Dense TFLOP/s by NVIDIA's data sheets in (16 bits, TF32, float32), by words of the card's name: the first row holds
# whose words are all in it. None: the card has no such unit, and then none for bfloat16 either.
PEAKS = (
    (("H200",), (989, 494, 67)),
    (("H100", "PCIe"), (756, 378, 51)),
    (("H100", "NVL"), (835, 417, 60)),
    (("H100",), (989, 494, 67)),
    (("A100",), (312, 156, 19.5)),
    (("A10",), (125, 62.5, 31.2)),
    (("L40S",), (362, 183, 91.6)),
    (("L4",), (121, 60, 30.3)),
    (("V100", "PCIE"), (112, None, 14)),
    (("V100",), (125, None, 15.7)),
    (("T4",), (65, None, 8.1)),
    (("RTX", "A6000"), (154.8, 77.4, 38.7)),
    (("RTX", "4090"), (165.2, 82.6, 82.6)),
    (("RTX", "3090"), (71, 35.6, 35.6)),
)
OTHER_MODELS = {"Ti", "SUPER", "Laptop", "D"}  # words that make another card of one whose name begins alike
SCALED = ("train_aesipe", "deeplab_train")  # trainings that are run on several processes, and twice
OPERATIONS = ("seeds", "prototypes", "is_cam", "pamr", "ae", "random_walk", "irn_loss")


@dataclass(frozen=True)
class Row:
    """name: of its files. command: Python's arguments; {out} stands for the JSON file that it writes. limit: seconds.
    kind: "stage", "scaling", "twice", "operations" or "growth". stage, processes: of what it measures. variant: the
    precision or "compile" of a stage; of scaling "strong", the batch shared out, or "weak", a batch each."""

    name: str
    command: tuple
    limit: int
    kind: str
    stage: str = ""
    variant: str = ""
    processes: int = 1

    @property
    def precision(self):
        return "bfloat16" if self.variant == "compile" else self.variant  # which auto stands for


def plan(folder, device, sizes, batch_size, processes):
    """The rows, each after those that leave in FOLDER/work what it reads. On a CPU a few of each kind.

    device: "cuda" or "cpu". sizes: flags of `python -m bench` for all rows. batch_size: of trainings. processes: on how
    many the trainings run at most.
    """
    on_gpu = device == "cuda"
    base = ("-m", "bench", "--device", device, *sizes, "--json", "{out}")
    rows = [Row("operations", (*base, "--run", *(OPERATIONS if on_gpu else OPERATIONS[2:3])), 900, "operations")]
    if on_gpu:
        rows.append(Row("growth", (*base, "--growth", str(folder)), 900, "growth"))
    variants = dict.fromkeys(("bfloat16", "tf32", "float32") if on_gpu else ("float32",), STAGES)
    variants |= {"float16": tuple(TRAINED), "compile": tuple(TRAINED)} if on_gpu else {}
    for variant, stages in variants.items():
        for stage in stages:
            flags = ("--compile", "--precision", "auto") if variant == "compile" else ("--precision", variant)
            command = (*base, "--stages", "--run", stage, *flags, "--folder", str(folder / "work" / variant))
            rows.append(Row(f"{stage}-{variant}", command, 900, "stage", stage, variant))
    config = str(folder / "work" / next(iter(variants)) / "bench.yaml")
    counts = sorted({count for count in (1, 2, 4, 8, 16) if count < processes} | {processes}) if processes > 1 else []
    for stage in SCALED if on_gpu else SCALED[:1]:
        for count in counts:
            for share, batch in {"strong": batch_size, "weak": batch_size * count}.items():
                if share == "strong" or (on_gpu and count > 1):  # one process alone has but one batch
                    numbers = map(str, (count, batch, 60 if on_gpu else 20))
                    words = ("-m", "bench.runs", config, stage, "{out}", "scaling", *numbers)
                    rows.append(Row(f"{stage}-{share}-{count}", words, 900, "scaling", stage, share, count))
        rows.append(Row(f"{stage}-twice", ("-m", "bench.runs", config, stage, "{out}", "twice"), 900, "twice", stage))
    return rows


def make_report(folder, device, sizes, batch_size, processes):
    """Run the rows of `plan` that are missing and write the report. Returns the names of those that failed."""
    folder = Path(folder).resolve()
    rows = plan(folder, device, sizes, batch_size, processes)
    with stop_signals() as received:
        for row in rows:
            if "result" not in known(folder, row):
                print(f"== {row.name}", flush=True)
                kept = run_row(folder, row, received)
                print(f"   {kept.get('error', 'done')}, {kept['seconds']:.0f} s", flush=True)
            write_report(folder, rows)
    failed = [row.name for row in rows if "error" in known(folder, row)]
    print(f"{folder}/report.md, report.csv" + (f": {len(failed)} of {len(rows)} rows failed" if failed else ""))
    return failed


def known(folder, row):
    """What `run_row` has kept of a row; {} if it was not run, or with other settings."""
    try:
        kept = load_json(folder / "rows" / f"{row.name}.json") or {}
    except UserError:  # damaged: it is run again
        return {}
    return kept if kept.get("command") == list(row.command) else {}


def run_row(folder, row, received=()):
    """Run a row and keep {command, seconds, result or error}; its output lies beside it as NAME.txt.

    received: signals, on the first of which this process ends, after those that the row has started.
    """
    rows = folder / "rows"
    rows.mkdir(parents=True, exist_ok=True)
    out, kept, began = rows / f"{row.name}.out", {"command": list(row.command)}, time.perf_counter()
    out.unlink(missing_ok=True)
    command = [sys.executable, *(str(out) if word == "{out}" else word for word in row.command)]
    with open(rows / f"{row.name}.txt", "w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        while process.poll() is None and not received and time.perf_counter() - began < row.limit:
            time.sleep(0.1)
        status = process.poll()
        if status is None:
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            process.wait()
        if received:
            sys.exit(128 + received[0])
        log.seek(0)
        last = ([line for line in log.read().splitlines() if line.strip()] or ["?"])[-1]
    kept["seconds"] = round(time.perf_counter() - began, 1)
    if status == 0 and out.exists():
        kept["result"] = load_json(out)
        out.unlink()
    else:
        kept["error"] = f"took more than {row.limit} s" if status is None else f"status {status}: {last.strip()[:300]}"
    save_json(rows / f"{row.name}.json", kept)
    return kept


def peak_rate(card, precision):
    """Published operations a second of a card; None where `PEAKS` does not know it."""
    words = set(re.split(r"[^A-Za-z0-9]+", card))
    for needed, (half, tf32, single) in PEAKS:
        if words >= set(needed) and not words & OTHER_MODELS:
            rate = {"bfloat16": half and tf32 and half, "float16": half, "tf32": tf32, "float32": single}[precision]
            return rate and rate * 1e12
    return None


def write_report(folder, rows):
    """report.md and report.csv of the rows that there are."""
    found = {row: kept for row in rows if (kept := known(folder, row))}
    machine = next((kept["result"]["machine"] for kept in found.values() if "machine" in kept.get("result", {})), {})
    table = [_figures(row, kept, machine.get("device", ""), found) for row, kept in found.items()]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for figures in table for key in figures)), restval="")
    writer.writeheader()
    writer.writerows(table)
    with atomic(folder / "report.csv") as temporary:
        temporary.write_text(text.getvalue())
    with atomic(folder / "report.md") as temporary:
        temporary.write_text(_markdown(machine, table, found, len(rows)))


def _figures(row, kept, card, found):
    """The row of the CSV file."""
    figures = {"row": row.name, "kind": row.kind, "stage": row.stage, "variant": row.variant}
    figures |= {"processes": row.processes, "seconds": kept["seconds"], "error": kept.get("error", "")}
    result = kept.get("result", {})
    if row.kind == "stage" and result:
        values = result["stages"][row.stage]
        keys = ("images_per_second", "synchronisations", "peak", "reserved", "forecast", "loading", "encoder")
        figures |= {key: values[key] for key in keys if key in values}
        if "operations" in values:
            peak = peak_rate(card, row.precision)
            figures["gflop_per_image"] = values["operations"] / 1e9
            figures["share_of_peak"] = values["operations"] * values["images_per_second"] / peak if peak else "unknown"
    elif row.kind == "scaling" and result:
        alone = next((kept for other, kept in found.items() if other.name == f"{row.stage}-strong-1"), {})
        figures["images_per_second"] = result["images_per_second"]
        if "result" in alone:
            figures["efficiency"] = result["images_per_second"] / row.processes / alone["result"]["images_per_second"]
    elif row.kind == "twice" and result:
        figures["same_bits"] = result["same"]
    return figures


def _markdown(machine, table, found, count):
    parts = [
        "# Report of a machine",
        ", ".join(f"{key} {_shown(value)}" for key, value in machine.items()),
        _nvidia_smi(),
        f"{len(found)} of {count} rows were run, {sum('error' in kept for kept in found.values())} of them failed. "
        "Images a second and operations are measured; the share of peak takes the card's published dense figures; the "
        "forecast of the peak is that of `python -m bench --memory`. Memory in MiB.",
    ]
    columns = {
        "Stages": (
            "stage",
            (
                "row",
                "images_per_second",
                "gflop_per_image",
                "share_of_peak",
                "synchronisations",
                "peak",
                "forecast",
                "reserved",
                "error",
            ),
        ),
        "Several processes (strong: the batch is shared out; weak: each has a batch of its own)": (
            "scaling",
            ("row", "processes", "images_per_second", "efficiency", "error"),
        ),
        "The same bits twice": ("twice", ("row", "same_bits", "error")),
    }
    for title, (kind, keys) in columns.items():
        lines = [[_shown(figures.get(key, "")) for key in keys] for figures in table if figures["kind"] == kind]
        parts += [f"## {title}", markdown(keys, lines)] if lines else []
    for row, kept in found.items():
        if row.kind == "operations":
            parts += ["## Operations against plain formulations", kept.get("error") or _operations(kept["result"])]
        elif row.kind == "growth":
            parts += ["## Growth", kept.get("error") or "![time and memory against size and classes](growth.png)"]
    parts += ["## VOC 2012", _voc(found)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _operations(result):
    lines = []
    for name, values in result["operations"].items():
        ours, plain = values["ways"]["ours"], values["ways"]["plain"]
        lines.append(
            [name, *(f"{1e3 * way['median']:.2f}" for way in (ours, plain)), f"{plain['median'] / ours['median']:.1f}"]
        )
    return markdown(("operation", "ours, ms", "plain, ms", "times"), lines)


def _voc(found):
    """Hours of the pipeline on VOC 2012: trainings in 16 bits and exports in float32, as they are by default."""
    rates = {}
    for row, kept in found.items():
        if row.kind == "stage" and "result" in kept and row.variant != "compile":
            is_default = row.precision == ("bfloat16" if row.stage in TRAINED else "float32")
            if is_default or row.stage not in rates:
                rates[row.stage] = kept["result"]["stages"][row.stage]
    hours = voc_hours(rates)
    lines = [[name, f"{value:.2f}"] for name, value in hours.items()] + [["all of these", f"{sum(hours.values()):.2f}"]]
    missing = [name for name in STAGES if name not in rates]
    return (
        "Hours with the paper's settings at the rates above, on one device; without the data set's preparation, the "
        "evaluations and the report"
        + (f"; not measured: {', '.join(missing)}" if missing else "")
        + ".\n\n"
        + markdown(("stage", "hours"), lines)
    )


def _nvidia_smi():
    if shutil.which("nvidia-smi") is None:
        return ""
    fields = "--query-gpu=index,name,driver_version,memory.total"
    done = subprocess.run(["nvidia-smi", fields, "--format=csv"], capture_output=True, text=True)
    return f"```text\n{(done.stdout or done.stderr).strip()}\n```"


def _shown(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
