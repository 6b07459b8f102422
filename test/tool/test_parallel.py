import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from errors import UserError
from tool.parallel import background, drain, parallel_map, process_pool, share


def square(number):
    if number == 13:
        raise UserError("13: cannot be squared")
    return number * number


def process_of(_):
    time.sleep(0.02)
    return os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_item_is_mapped_once(workers):
    assert sorted(parallel_map(square, range(10), workers, "test")) == [n * n for n in range(10)]


def test_results_come_in_the_order_of_the_items_however_many_there_are():
    assert list(parallel_map(square, range(20, 300), 2, "test")) == [n * n for n in range(20, 300)]


def test_nothing_to_do():
    assert list(parallel_map(square, [], 2, "test")) == []


def test_work_is_done_beside_this_process():
    processes = set(parallel_map(process_of, range(12), 2, "test"))
    assert len(processes) == 2 and os.getpid() not in processes


def test_few_results_wait_for_who_asks_for_them():
    """Each may be megabytes: 64 a process were 2 GB on 64 cores."""
    given = []

    class Items(list):
        def __iter__(self):
            return (given.append(item) or item for item in super().__iter__())

    results = parallel_map(abs, Items(range(200)), 2, "test")
    assert next(results) == 0 and len(given) == 33
    assert list(results) == [*range(1, 200)]


def test_what_the_function_holds_lives_as_long_as_its_process():
    """A dataset that each item unpickled anew would list its folder of images anew, too."""
    seen = []
    counts = parallel_map(lambda item: seen.append(item) or len(seen), range(5), 1, "test")
    assert sorted(counts) == [1, 2, 3, 4, 5]


def test_errors_reach_the_caller():
    with pytest.raises(UserError, match="^13: cannot be squared$"):
        list(parallel_map(square, range(20), 2, "test"))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shares_of_all_processes_hold_every_item_once(monkeypatch, world):
    items, shares = list(range(11)), []
    monkeypatch.setenv("WORLD_SIZE", str(world))
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        shares += share(items)
    assert sorted(shares) == items


def test_a_process_that_stands_alone_has_everything(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert share([3, 1, 2]) == [3, 1, 2]


def test_drain_waits_for_the_oldest_and_raises_what_failed():
    with process_pool(2) as pool:
        futures = [pool.submit(process_of, None) for _ in range(6)]
        first, last = futures[:4], futures[4:]
        drain(futures, limit=2)
        assert futures == last and all(future.done() for future in first)
        drain(futures)
        assert futures == []
        with pytest.raises(UserError):
            drain([pool.submit(square, 13)])


def test_drain_below_the_limit_waits_for_nothing():
    waiting = [Future(), Future()]  # never done
    drain(waiting, limit=2)
    assert len(waiting) == 2


def test_background_runs_everything_beside_the_caller():
    done = []
    with background(threads=2) as submit:
        for number in range(30):
            submit(lambda number=number: done.append((number, threading.get_ident())))
    assert sorted(number for number, _ in done) == list(range(30))
    assert threading.get_ident() not in {thread for _, thread in done}


def test_background_holds_a_bounded_number_of_calls():
    release, running, most = threading.Event(), [], []

    def task():
        release.wait(10)
        running.pop()

    def feed():
        with background(threads=1) as submit:
            for _ in range(20):
                running.append(None)
                most.append(len(running))
                submit(task)

    feeder = threading.Thread(target=feed)
    feeder.start()
    time.sleep(0.2)
    assert len(running) <= 6  # 4 that wait, one that runs, one that is being given
    release.set()
    feeder.join(10)
    assert len(most) == 20 and not running


def test_background_finishes_what_was_given_and_then_raises_what_failed():
    done = []
    with pytest.raises(UserError, match="^13: cannot be squared$"):
        with background(threads=1) as submit:
            submit(square, 13)
            submit(done.append, 1)
    assert done == [1]


def last_process_ends(words, begun=1):
    """Start Python with these words, kill it when `begun` lines are there, and wait until none holds its output."""
    here = Path(__file__).resolve().parents[2]
    variables = {**os.environ, "PYTHONPATH": str(here)}
    process = subprocess.Popen([sys.executable, *words], cwd=here, env=variables, text=True, stdout=subprocess.PIPE)
    assert [process.stdout.readline() for _ in range(begun)] == ["ready\n"] * begun
    process.kill()
    began = time.monotonic()
    process.communicate(timeout=30)
    assert time.monotonic() - began < 10


def test_the_workers_of_a_killed_process_end_too():
    """Else they wait for ever, and hold the run's lock and the driver's output."""
    last_process_ends(
        [
            "-c",
            "import time\nfrom tool.parallel import process_pool\n"
            "with process_pool(2, print):\n    print('ready', flush=True)\n    time.sleep(60)\n",
        ]
    )


# torchrun's processes do not buffer: `print` would write a line in two parts, and another process could come between.
LATE = """
import os, time
began_by = os.getppid()
os.write(1, b"ready\\n")
while os.getppid() == began_by:
    time.sleep(0.01)
"""


def test_workers_that_begin_when_their_process_is_gone_end_too():
    code = f"""
import tool.parallel
begin = tool.parallel._begin
def late(*given):
{"".join(f"    {line}" for line in LATE.splitlines(keepends=True))}
    begin(*given)
tool.parallel._begin = late
with tool.parallel.process_pool(1, print):
    pass
"""
    last_process_ends(["-c", code])


def test_a_launched_process_that_begins_when_its_launcher_is_gone_ends_too(tmp_path):
    script = tmp_path / "late.py"
    script.write_text(LATE + "from tool.dist import init_dist\ninit_dist('cpu')\ntime.sleep(60)\n")
    last_process_ends(["-m", "tool.launch", "--standalone", "--nproc_per_node=2", script], begun=2)
