"""Fixtures for all tests."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run. A test's folder may serve all of its examples, and the machine may be busy.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=30, print_blob=False,
                          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
settings.load_profile("repeatable")


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
