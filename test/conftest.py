"""Fixtures for all tests."""

import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
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


@pytest.fixture
def script(monkeypatch, capsys):
    """script(NAME, arguments): status, out and err of a script, run within this process to save time."""

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # as in the processes of `run`
        status = 0
        try:
            runpy.run_path(str(REPOSITORY / name), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        said = capsys.readouterr()
        return SimpleNamespace(status=status, out=said.out, err=said.err)

    return call


@pytest.fixture
def reference():
    """reference("NAME.npz"): its arrays as a dict, from test/reference or the folder AESIPE_REFERENCE."""

    def read(name):
        folder = os.environ.get("AESIPE_REFERENCE") or REPOSITORY / "test/reference"
        with np.load(Path(folder) / name, allow_pickle=False) as arrays:
            return dict(arrays)

    return read
