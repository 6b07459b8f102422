"""SIGINT and SIGTERM for what must not be broken off: a training's step, and processes that others wait for."""

import faulthandler
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

NUMBERS = (signal.SIGINT, signal.SIGTERM)


def handle_on_own_stack():
    """Let signal handlers of the main thread run on a stack of their own, and a crash say where it was.

    oneDNN's kernels for matrix products, in the gradient of a dilated convolution on a CPU, let the stack pointer point
    into the heap (issue 4845; fixed in its 3.11.2, torch 2.11 has 3.10): a handler that runs there overwrites tensors,
    and Ctrl-C ends in a crash before anything is saved. Python's handlers take another stack if there is one, which
    faulthandler makes.
    """
    if sys.__stderr__ is not None:  # it is where that is closed
        faulthandler.enable(sys.__stderr__)


@contextmanager
def stop_signals_go_to(handler):
    """SIGINT and SIGTERM call handler(number, frame); afterwards what they called before."""
    previous = [signal.signal(number, handler) for number in NUMBERS]
    try:
        yield
    finally:
        for number, former in zip(NUMBERS, previous):
            signal.signal(number, former)


@contextmanager
def stop_signals():
    """Yields the list of the SIGINT and SIGTERM that came: whatever they break off would leave a process behind."""
    received = []
    with stop_signals_go_to(lambda number, _: received.append(number)):
        yield received


def run_to_its_end(command, folder):
    """Run a command in a folder and return its exit status. SIGINT and SIGTERM go to it alone, each once, whoever sends
    them: it is in a session of its own, so that a terminal's Ctrl-C does not reach it too. KeyboardInterrupt once it
    has ended, if there was one."""
    with stop_signals() as received:
        process = subprocess.Popen(command, cwd=folder, start_new_session=True)
        passed = 0
        while process.poll() is None:
            for number in received[passed:]:
                process.send_signal(number)
                passed += 1
            time.sleep(0.1)
    if received:
        raise KeyboardInterrupt
    return process.returncode
