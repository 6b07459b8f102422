"""What a run says: a progress bar for people, JSON lines for programs, TensorBoard's files for curves and pictures."""

import json
import os
import resource
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from files import writing
from tool.parallel import is_main


class StepLog:
    """Progress of a training stage. Only the main process shows and writes.

    Scalars are averaged on their device between reports, so that reading them does not hold up a GPU at every step.
    path: of the JSON lines; TensorBoard's files lie in the folder tensorboard/STAGE beside it.
    """

    def __init__(self, path, stage, start, steps, batch_size, show):
        self.path, self.stage, self.batch_size, self.show = Path(path), stage, batch_size, show
        self.bar = tqdm(total=steps, initial=start, desc=stage, unit="step", disable=not show, dynamic_ncols=True)
        self.sums, self.count, self.since = {}, 0, time.perf_counter()
        threading.excepthook = _leave_to_caller
        folder = self.path.parent / "tensorboard" / stage
        with writing(folder):
            # Steps that an earlier process did after its last saved state are done again: their points must go.
            self.board = SummaryWriter(folder, purge_step=start + 1) if show else None

    def add(self, scalars):
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        self.count += 1
        self.bar.update()

    def report(self, step, **more):
        """Write the means since the last report and return them as floats."""
        means = {name: float(value) / self.count for name, value in self.sums.items()}
        speed = self.count * self.batch_size / (time.perf_counter() - self.since)
        self.sums, self.count, self.since = {}, 0, time.perf_counter()
        self.bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()} | {"img/s": f"{speed:.1f}"})
        values = {**means, "images_per_second": round(speed, 2), **more}
        self._write({"step": step, **values})
        self._draw("train", values, step)
        return means

    def validation(self, step, scores):
        """Write scores {name: in [0,1]} that were measured after a step."""
        if self.show:
            self.bar.write(f"{self.stage}, step {step}: mIoU "
                           + ", ".join(f"{name} {100 * value:.2f}" for name, value in scores.items()))
        self._write({"step": step, "val": scores})
        self._draw("val", scores, step)

    def picture(self, name, image, step):
        """Show a picture, uint8 [H,W,3], in TensorBoard."""
        if self.show:
            with writing(self.board.log_dir):
                self.board.add_image(name, image, step, dataformats="HWC")

    @contextmanager
    def paused(self):
        """What happens in here is no step: images per second do not count its time."""
        began = time.perf_counter()
        yield
        self.since += time.perf_counter() - began

    def close(self):
        self.bar.close()
        if self.show:
            with writing(self.board.log_dir):
                self.board.close()

    def _write(self, values):
        if self.show:
            append_json(self.path, {"stage": self.stage, **values})

    def _draw(self, group, values, step):
        if self.show:
            with writing(self.board.log_dir):
                for name, value in values.items():
                    self.board.add_scalar(f"{group}/{name}", value, step)
                self.board.flush()  # or the points of a killed process would be lost


def _leave_to_caller(args, otherwise=threading.excepthook):
    """TensorBoard's thread prints what stops it; the next call of its writer raises it as well, which is enough."""
    if not (isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard")):
        otherwise(args)


class StageUsage:
    """What a stage takes, from here to its `finish`: a line in the run's log.jsonl.

    run: the run's folder. section: the stage's name in a config file.
    """

    def __init__(self, run, section):
        self.path, self.section, self.began = Path(run) / "log.jsonl", section, time.perf_counter()

    def finish(self, did, of):
        """Write the line, in the main process alone.

        did: images or training steps that all processes of this call did together. of: how many the stage has. A call
        that found everything done writes nothing, so that its seconds are not taken for the stage's.
        """
        if not did or not is_main():
            return
        gpu = torch.cuda.is_initialized()
        append_json(self.path, {
            "stage": self.section, "finished": True, "did": did, "of": of,
            "seconds": round(time.perf_counter() - self.began, 2), "peak_memory_mb": round(peak_memory(), 1),
            "peak_gpu_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20, 1) if gpu else None,
            "device": torch.cuda.get_device_name() if gpu else "cpu",
            "processes": int(os.environ.get("WORLD_SIZE", 1))})


def peak_memory():
    """MiB that the largest single process held resident: this one, or any of its children that have ended.

    Not their sum: forked workers share most of their pages with this process.
    """
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux kilobytes


def append_json(path, record):
    """Append a record with the time (seconds since 1970) to a JSON lines file."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # what a killed process left of its last line must not spoil this one
                    file.write(b"\n")
            file.write(json.dumps({**record, "time": round(time.time(), 2)}).encode() + b"\n")
