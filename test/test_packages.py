"""A Python without the packages."""

import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest
from scripts import REPOSITORY

from packages import IMPORTED

SCRIPTS = ["prepare_dataset.py", "train_aesipe.py", "predict.py", "report.py", "app.py", "deeplab/test.py"]
MODULES = ["bench", "data.check", "paper.bounds", "tool.configuration", "viz.summary"]


def start(*words):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([sys.executable, *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.endswith("source .venv/bin/activate\n")
    return done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_say_how_to_get_them(script):
    said = start("-S", script, "--help")  # -S: without site-packages
    assert f"lacks {', '.join(IMPORTED)}: " in said


@pytest.mark.parametrize("module", MODULES)
def test_modules_do_too(module):
    assert f"lacks {', '.join(IMPORTED)}: " in start("-S", "-m", module, "--help")


@pytest.mark.parametrize("name", ["msgspec", "pydensecrf"])
def test_one_that_is_missing_beside_the_others(name):
    """Found: a conda environment with PyTorch, but without msgspec, ended in a traceback."""
    without = f"import runpy, sys; sys.modules[{name!r}] = None; runpy.run_path('predict.py', run_name='__main__')"
    assert f"lacks {name}: " in start("-c", without)


def test_all_of_the_requirements_are_looked_for():
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    asked = {re.split("[<>=]", line)[0] for line in lines if not line.startswith("#")} - {"tensorboard"}
    found = {name: {each.lower() for each in packages_distributions()[name]} for name in IMPORTED}
    assert not asked - {each for names in found.values() for each in names}
    assert all(names & asked for names in found.values())
