"""Kills the pipeline at random moments of every stage and compares what comes out with a run that was left alone.

    python test/chaos.py FOLDER [--kills 3] [--seed 0] [--gpus 1]

Takes minutes, so it is no part of the tests: docs/reliability.md has what came out. FOLDER keeps both runs. Each stage
is started by the driver and killed that many times after random parts of the time that it took undisturbed: by kill -9
of the stage, of the driver alone, or of both with all their processes, or asked to stop by SIGTERM or SIGINT; then it
is run to its end. Ends with status 1 if any output differs, and says which.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
STAGES = (
    "dataset",
    "train_aesipe",
    "make_cam",
    "eval_cam",
    "make_ir_labels",
    "train_irn",
    "make_seg_labels",
    "eval_seg",
    "deeplab_train",
    "deeplab_test",
    "report",
)
SMALL = (
    "dataset.train=16",
    "dataset.train_aug=33",
    "dataset.val=8",
    "dataset.size=80",
    "common.num_workers=1",
    "train_aesipe.crop_size=64",
    "train_aesipe.long_side=[56, 80]",
    "train_aesipe.batch_size=4",
    "train_aesipe.max_epochs=6",
    "train_aesipe.save_every=2",
    "train_aesipe.val_every=8",
    "make_cam.scales=[1.0, 0.5]",
    "train_irn.crop_size=64",
    "train_irn.radius=5",
    "train_irn.batch_size=4",
    "train_irn.max_epochs=4",
    "train_irn.save_every=2",
    "make_seg_labels.steps=16",
    "deeplab_train.crop_size=64",
    "deeplab_train.batch_size=4",
    "deeplab_train.max_iters=30",
    "deeplab_train.save_every=2",
    "deeplab_test.scales=[1.0]",
    "report.images=2",
    "report.failure_images=8",
    "common.seed=0",
)
WAYS = ("kill stage", "kill driver", "kill all", "SIGTERM", "SIGINT")


def start(folder, stage, gpus):
    command = [
        "bash",
        "run_pipeline.sh",
        "configs/demo.yaml",
        *SMALL,
        f"common.dataset_root={folder / 'toy'}",
        f"common.run_root={folder}",
        "common.session_name=run",
        "--from",
        stage,
        "--to",
        stage,
    ]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "GPUS": str(gpus)}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def until_stage_runs(driver):
    return any(line.startswith("== ") for line in driver.stdout)


def finish(folder, stage, gpus):
    """Run a stage to its end. Returns its seconds; a driver that is told of another waits for that one's end."""
    while True:
        driver = start(folder, stage, gpus)
        began = time.monotonic() if until_stage_runs(driver) else None
        said = driver.stdout.read()
        if driver.wait() == 0:
            return time.monotonic() - began
        if began is not None:
            sys.exit(f"{stage} failed with status {driver.returncode}:\n{said[-3000:]}")
        time.sleep(1)


def disturb(folder, stage, gpus, way, delay):
    """Start a stage and end it after a delay, in seconds. Returns whether it was still running then."""
    driver = start(folder, stage, gpus)
    if not until_stage_runs(driver):
        driver.wait()
        return False
    time.sleep(delay)
    hit = driver.poll() is None
    if way in ("SIGTERM", "SIGINT"):
        driver.send_signal(getattr(signal, way))
    else:
        stages = subprocess.run(["pgrep", "-P", str(driver.pid)], capture_output=True, text=True).stdout.split()
        if way != "kill stage":
            driver.kill()
        for process in map(int, stages if way != "kill driver" else ()):
            # In a process group of its own, with the workers that have not left it.
            os.kill(process, signal.SIGKILL) if way == "kill stage" else os.killpg(os.getpgid(process), signal.SIGKILL)
    said = driver.communicate()[0]
    if "Traceback" in said:
        print(f"  a traceback after {way} in {stage}:\n{said[-2000:]}")
    return hit


def contents(path, folder):
    """What of a file must be the same in both runs: its bytes without the run's own folder, or the values in it where a
    time is written too."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as data:
            return [(key, data[key].dtype.str, data[key].shape, data[key].tobytes()) for key in sorted(data)]
    if path.suffix == ".pt":
        state = torch.load(path, weights_only=True)
        return [(key, value.numpy().tobytes()) for key, value in state["model"].items()]
    return path.read_bytes().replace(str(folder).encode(), b"")


def outputs(folder):
    """{name: path} of a run's results and its dataset; logs, times and the report's page left out."""
    left_out = ("log.jsonl", "config.yaml", ".lock", "index.html", ".aesipe_index.json")
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in left_out and "tensorboard" not in path.parts
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=3, help="for every stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gpus", type=int, default=1, help="processes of the stages that share out their work")
    args = parser.parse_args()
    folders = whole, parts = [(args.folder / name).resolve() for name in ("whole", "parts")]
    for folder in folders:
        folder.mkdir(parents=True)
    draw, counts = random.Random(args.seed), dict.fromkeys(WAYS, 0)
    for stage in STAGES:
        seconds = finish(whole, stage, args.gpus)
        for _ in range(args.kills):
            way, delay = draw.choice(WAYS), draw.uniform(0, 0.9 * seconds)
            hit = disturb(parts, stage, args.gpus, way, delay)
            counts[way] += hit
            print(f"{stage}: {way} after {delay:.1f} of {seconds:.1f} s{'' if hit else ', too late'}", flush=True)
        finish(parts, stage, args.gpus)
    found, expected = outputs(parts), outputs(whole)
    differing = sorted(
        {*found, *expected}
        - {
            name
            for name in found.keys() & expected.keys()
            if contents(found[name], parts) == contents(expected[name], whole)
        }
    )
    print(
        f"{sum(counts.values())} disturbances that hit: {counts}; {len(expected)} outputs, "
        f"{len(differing)} of them differ: {differing[:20]}"
    )
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
