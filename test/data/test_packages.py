"""A Python without the packages."""

import os
import subprocess
import sys

import pytest
from scripts import REPOSITORY


@pytest.mark.parametrize(
    "script", ["prepare_dataset.py", "train_aesipe.py", "predict.py", "report.py", "app.py", "deeplab/test.py"]
)
def test_scripts_say_how_to_get_them(script):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    words = [sys.executable, "-S", script, "--help"]  # -S: without site-packages
    done = subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert "lacks numpy, PIL, torch, yaml: " in done.stderr
    assert done.stderr.endswith("source .venv/bin/activate\n")
