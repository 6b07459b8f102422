"""What a run says: a progress bar for people, JSON lines for programs, a tracker for curves and pictures."""

import time
from contextlib import contextmanager
from pathlib import Path

from progress import numbered, progress_bar
from tool.tracker import RunTracker
from tool.usage import append_json


class StepLog:
    """Progress of a training stage. Only the main process shows and writes.

    Scalars are averaged on their device between reports, so that reading them does not hold up a GPU at every step.
    path: of the JSON lines, in the run's folder. name: of the training there and in the tracker. tracker: a name of
    `tool.tracker.TRACKERS`. stage: as people know it, a name of `tool.stages`.
    """

    def __init__(self, path, name, start, steps, batch_size, show, tracker="tensorboard", *, stage):
        self.path, self.name, self.batch_size, self.show = Path(path), name, batch_size, show
        self.stage = stage
        self.bar = progress_bar(stage, total=steps, initial=start, unit="step", disable=not show)
        self.sums, self.count, self.since = {}, 0, time.perf_counter()
        # Steps that an earlier process did after its last saved state are done again: the tracker drops their points.
        self.tracker = RunTracker(tracker if show else "none", self.path.parent, name, start)

    def add(self, scalars):
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        self.count += 1
        self.bar.update()

    def report(self, step, **more):
        """Write the means since the last report."""
        means = {name: float(value) / self.count for name, value in self.sums.items()}
        speed = self.count * self.batch_size / (time.perf_counter() - self.since)
        self.sums, self.count, self.since = {}, 0, time.perf_counter()
        said = {name: f"{value:.3f}" for name, value in means.items()} | {"img/s": f"{speed:.1f}"}
        self.bar.set_postfix(said, refresh=False)  # with the bar's next state
        values = {**means, "images_per_second": round(speed, 2), **more}
        self._write({"step": step, **values})
        self._track("train", values, step)

    def validation(self, step, scores):
        """Write scores {name: in [0,1]} that were measured after a step."""
        if self.show:
            self.bar.write(
                f"{numbered(self.stage)}, step {step}: mIoU "
                + ", ".join(f"{name} {100 * value:.2f}" for name, value in scores.items())
            )
        self._write({"step": step, "val": scores})
        self._track("val", scores, step)

    def picture(self, name, image, step):
        """Show a picture, uint8 [H,W,3], in the tracker."""
        self.tracker.image(name, image, step)

    @contextmanager
    def paused(self):
        """What happens in here is no step: images per second do not count its time."""
        began = time.perf_counter()
        yield
        self.since += time.perf_counter() - began

    def close(self):
        self.bar.close()
        self.tracker.close()

    def _write(self, values):
        if self.show:
            append_json(self.path, {"stage": self.name, **values})

    def _track(self, group, values, step):
        self.tracker.scalars({f"{group}/{name}": value for name, value in values.items()}, step)
