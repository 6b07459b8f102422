"""Fixtures for tests of the trainer."""

import pytest
from tiny_training import train, weights


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The weights of a training that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole")
    train(run)
    return weights(run)
