"""Fixtures for all tests."""

import fcntl
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # tests are of the CPU wherever they run
os.environ.setdefault("OMP_NUM_THREADS", "1")  # on another number of threads the same sums have other bits

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run. A test's folder may serve all of its examples, and the machine may be busy.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    max_examples=30,
    print_blob=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("repeatable")

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "test"))  # tests in folders below share helpers of this one


# Begun first, so that no core is left with one of them alone at the end.
LONG = ("renames", "export_graphs", "docs", "own_data", "reproduce", "extending", "driver_stages", "export", "killed")


def pytest_collection_modifyitems(items):
    names = [f"test_{name}.py" for name in LONG]
    items.sort(key=lambda item: names.index(item.path.name) if item.path.name in names else len(names))


@pytest.fixture
def script():
    """script(NAME, arguments): status, out and err of a script, run within this process to save time."""
    from scripts import call

    return call


@pytest.fixture
def reference():
    """reference("NAME.npz"): its arrays as a dict, from test/reference or the folder AESIPE_REFERENCE."""

    def read(name):
        folder = os.environ.get("AESIPE_REFERENCE") or REPOSITORY / "test/reference"
        with np.load(Path(folder) / name, allow_pickle=False) as arrays:
            return dict(arrays)

    return read


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run and its dataset, made once for all processes of pytest: never to be changed, but to be copied.

    root holds both, words is what the driver would be called with.
    """
    from scripts import SMALL, pipeline

    from data.layout import Layout

    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    words = ("configs/demo.yaml", *SMALL, f"common.dataset_root={root / 'toy'}", f"common.run_root={root / 'runs'}")
    with open(f"{root}.lock", "w") as lock:  # the other processes wait for the first, as pytest-xdist advises
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "made").exists():
            shutil.rmtree(root, ignore_errors=True)  # of a process that failed
            pipeline(*words)
            (root / "made").touch()
    return SimpleNamespace(root=root, words=words, run=root / "runs/demo", layout=Layout(root / "toy"))


@pytest.fixture
def moved(finished, tmp_path, script):
    """A copy of the finished run and its data, in other folders; `stage(SCRIPT, flags)` runs one on it."""
    from scripts import copy_run

    from data.layout import Layout

    run, data = tmp_path / "elsewhere" / "other name", tmp_path / "data"
    copy_run(finished.run, run)
    shutil.copytree(finished.layout.root, data)
    (data / ".aesipe_index.json").unlink()
    (data / "toy.json").unlink()  # else the toy set would be drawn anew
    where = ("--run_root", run.parent, "--session_name", run.name, "--dataset_root", data, "--num_workers", 0)

    def stage(name, *flags):
        return script(name, "--config", run / "config.yaml", *where, *flags)

    return SimpleNamespace(run=run, data=data, stage=stage, script=script, layout=Layout(data))


@pytest.fixture
def mirror(archives):
    """URL of a server on this machine that hands out a folder's fixture `archives`."""
    from serving import served

    with served(archives.archives) as url:
        yield url


@pytest.fixture
def prepare(script, dataset_kind):
    """prepare(ROOT, arguments): status, out and err of prepare_dataset.py, --kind a folder's `dataset_kind`."""

    def call(root, *arguments, workers=1):
        return script(
            "prepare_dataset.py", "--kind", dataset_kind, "--dataset_root", root, "--num_workers", workers, *arguments
        )

    return call


@pytest.fixture(scope="module")
def browser():
    """Chromium; tests that use it have `in_browser.MARKS`. Of a module, since its event loop is in others' way."""
    from in_browser import BROWSER

    playwright = pytest.importorskip("playwright.sync_api").sync_playwright().start()
    opened = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
    yield opened
    opened.close()
    playwright.stop()


@pytest.fixture
def visit(browser):
    """visit(url, width, scheme): a page in a window of its own, with the `requests` that it made."""
    contexts = []

    def opened(url, width=1600, scheme="light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.requests = []
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
