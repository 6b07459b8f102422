"""Trains a tiny network in child processes that kill -9 ends at random moments, one after the other, until it is done.

    python test/tool/killed.py WHOLE PARTS SEED

Trains in the folder WHOLE undisturbed, then in PARTS/0, PARTS/1 ... Prints the newest state's step at each kill.
Not a test itself: pytest's process has used autograd, after which no forked process can.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import tiny_training
import torch._dynamo  # noqa: F401  imported by the first optimiser: not in every child anew

from tool.checkpoint import StateFolder, revision

TRAININGS = 100  # at most, until so many kills fell behind the first saved state
ENOUGH = 5


def train(run, delay=None):
    """Train in a child process, which a thread of it kills after so many seconds. Returns its status."""
    process = os.fork()
    if process == 0:
        if delay is not None:
            threading.Thread(target=lambda: (time.sleep(delay), os.kill(os.getpid(), signal.SIGKILL))).start()
        tiny_training.train(run, save_every=1)
        os._exit(0)
    return os.waitpid(process, 0)[1]


def main():
    whole, parts, draw = Path(sys.argv[1]), Path(sys.argv[2]), random.Random(int(sys.argv[3]))
    revision()
    began = time.monotonic()
    assert train(whole) == 0
    seconds, reached = time.monotonic() - began, []
    for number in range(TRAININGS):
        run = parts / str(number)
        while train(run, draw.uniform(0.1, 0.7) * seconds) != 0:
            reached += StateFolder(run / "ckpt/tiny_state").steps()[-1:] or [0]
            if reached[-20:] == [0] * 20:  # so slow a machine would never get there
                seconds *= 2
        if sum(step > 0 for step in reached) >= ENOUGH:
            break
    print(*reached)


if __name__ == "__main__":
    main()
