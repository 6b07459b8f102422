"""One function over many images on all cores, for the stages that no GPU helps with."""

import multiprocessing
import os
import threading
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

from progress import progress_bar

LAUNCHER = "AESIPE_LAUNCHER"  # in the environment: the number of the process that `tool.launch` runs in
WAITING = 16  # of `parallel_map`: one slow image then holds up no other process, and results fill no memory


def share(items):
    """This process's items among those that torchrun started, by index; all of them when it stands alone."""
    return items[int(os.environ.get("RANK", 0)) :: int(os.environ.get("WORLD_SIZE", 1))]


def is_main():
    """Whether this is the first of torchrun's processes, or the only one."""
    return int(os.environ.get("RANK", 0)) == 0


def is_alone():
    """Whether no other process shares the work."""
    return int(os.environ.get("WORLD_SIZE", 1)) == 1


_function = None  # of `parallel_map`, in its processes


def _call(item):
    return _function(item)


def end_with_parent(parent):
    """From now on this process ends within a second of the one that started it, even if that was killed: the workers
    of a pool would wait for it for ever, and hold the run's lock.

    parent: the starter's process number, as it said it itself: asked for here, it is another's where the starter has
    ended before.
    """
    threading.Thread(target=_wait_for_end, args=(parent,), daemon=True).start()


def _wait_for_end(parent):
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _begin(function, parent):
    global _function
    _function = function
    end_with_parent(parent)


@contextmanager
def process_pool(workers, function=None):
    """A pool of forked processes, in which `_call` runs the function. Open it before any torch computation: forked
    after, torch's threads hang."""
    pool = ProcessPoolExecutor(max(1, workers), multiprocessing.get_context("fork"), _begin, (function, os.getpid()))
    pool.submit(int).result()  # the first task forks all the workers
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def parallel_map(function, items, workers, title):
    """Yields function(item) for every item, in their order, under a progress bar. Results are not held: of those that
    are not asked for yet there are at most WAITING a process.

    Each process inherits the function once, so what it holds is neither sent with every item nor read anew: a Layout
    lists its folder of images once a process. title: as of `progress.progress_bar`.
    """
    with process_pool(workers, function) as pool, progress_bar(title, total=len(items)) as done:
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(_call, item))
            if len(waiting) > WAITING * max(1, workers):
                yield waiting.popleft().result()
                done.update()
        while waiting:
            yield waiting.popleft().result()
            done.update()


@contextmanager
def background(threads=4):
    """Yields submit(function, *args), which runs it in a thread: compressing and writing files holds no lock.

    At most 4 calls a thread wait, so that memory stays bounded. What a call raised is raised by a later submit or at
    the end; every call given before has then ended.
    """
    futures = []
    with ThreadPoolExecutor(threads) as pool:

        def submit(function, *args):
            futures.append(pool.submit(function, *args))
            drain(futures, limit=4 * threads)

        yield submit
        drain(futures)


def drain(futures, limit=0):
    """Wait until at most `limit` of the futures are left in the list, raising what any of them raised."""
    while len(futures) > limit:
        futures.pop(0).result()
