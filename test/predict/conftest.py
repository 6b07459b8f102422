"""A run with networks of random weights, and predict.py on it: what is checked is what becomes of the files."""

import pytest
from trained_run import make_run


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The run, never to be changed; its dataset is gone."""
    root = tmp_path_factory.mktemp("predict")
    make_run(root / "run", root / "gone")
    return root / "run"


@pytest.fixture
def call(made, script, tmp_path):
    """call(images, flags): predict.py at one scale, into the folder out."""

    def predict(*images, flags=(), run=made, out=tmp_path / "out"):
        return script("predict.py", "--run", run, "--image", *images, "--out", out, "--scales", 1, *flags)

    return predict
