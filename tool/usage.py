"""What each stage took, in the run's log.jsonl."""

import json
import os
import resource
import sys
import time
from pathlib import Path

from files import writing
from tool.parallel import is_main


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
        torch = sys.modules.get("torch")  # of a stage that needed none, nothing is asked
        gpu = torch is not None and torch.cuda.is_initialized()
        append_json(
            self.path,
            {
                "stage": self.section,
                "finished": True,
                "did": did,
                "of": of,
                "seconds": round(time.perf_counter() - self.began, 2),
                "peak_memory_mb": round(peak_memory(), 1),
                "peak_gpu_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20, 1) if gpu else None,
                "device": torch.cuda.get_device_name() if gpu else "cpu",
                "processes": int(os.environ.get("WORLD_SIZE", 1)),
            },
        )


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
