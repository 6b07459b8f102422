"""What a run says: a progress bar for people, JSON lines for programs, TensorBoard's files for curves and pictures."""

import threading
import time
from contextlib import contextmanager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from files import writing
from tool.usage import append_json


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
            self.bar.write(
                f"{self.stage}, step {step}: mIoU "
                + ", ".join(f"{name} {100 * value:.2f}" for name, value in scores.items())
            )
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
