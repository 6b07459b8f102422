"""Trains a tiny network in a child process that kill -9 ends at random moments, again and again, until it is done.

    python test/tool/killed.py FOLDER SEED      prints how often it was killed

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

import test_engine


def child(run, delay):
    """Trains; a thread kills this process after so many seconds, in the middle of whatever it does then."""
    threading.Thread(target=lambda: (time.sleep(delay), os.kill(os.getpid(), signal.SIGKILL)), daemon=True).start()
    test_engine.train(run, save_every=1, steps=test_engine.STEPS)
    os._exit(0)


def main():
    run, draw, kills = Path(sys.argv[1]), random.Random(int(sys.argv[2])), 0
    while True:
        process = os.fork()
        if process == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            child(run, draw.uniform(0.02, 0.25) if kills < 25 else 1000)
        status = os.waitpid(process, 0)[1]
        if os.WIFEXITED(status):
            print(kills)
            sys.exit(os.WEXITSTATUS(status))
        kills += 1


if __name__ == "__main__":
    main()
