"""What a run says: a progress bar for people, JSON lines for programs."""

import json
import time
from pathlib import Path

from tqdm import tqdm


class StepLog:
    """Progress of a training stage. Only the main process shows and writes.

    Scalars are averaged on their device between reports, so that reading them does not hold up a GPU at every step.
    """

    def __init__(self, path, stage, start, steps, batch_size, show):
        self.path, self.stage, self.batch_size, self.show = Path(path), stage, batch_size, show
        self.bar = tqdm(total=steps, initial=start, desc=stage, unit="step", disable=not show, dynamic_ncols=True)
        self.sums, self.count, self.since = {}, 0, time.perf_counter()

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
        self.write(step=step, **means, images_per_second=round(speed, 2), **more)
        return means

    def write(self, **values):
        if self.show:
            append_json(self.path, {"stage": self.stage, **values})

    def close(self):
        self.bar.close()


def append_json(path, record):
    """Append a record with the time (seconds since 1970) to a JSON lines file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({**record, "time": round(time.time(), 2)}) + "\n")
