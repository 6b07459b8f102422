"""Fixtures for all tests."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def reference():
    """reference("NAME.npz"): its arrays as a dict, from the folder AESIPE_REFERENCE; skips the test without it."""

    def read(name):
        folder = os.environ.get("AESIPE_REFERENCE")
        if not folder:
            pytest.skip("AESIPE_REFERENCE does not name the folder of reference data")
        with np.load(Path(folder) / name) as arrays:
            return dict(arrays)

    return read
