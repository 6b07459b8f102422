"""The time of the steps that are no network grows as the number of images does, and their memory hardly."""

import pytest

from bench import scale
from bench.scale import time_scale

SMALL, LARGE = 300, 2400


def test_a_made_up_coco_has_every_class(tmp_path):
    assert scale.make_coco(tmp_path / "coco", 30) > 30 * 1000
    again = scale.make_coco(tmp_path / "again", 30)
    assert again == scale.make_coco(tmp_path / "third", 30)


@pytest.mark.slow
def test_growth_is_linear():
    """Quadratic steps would take 64 times as long; each process's start-up is in both figures."""
    small, large = time_scale(SMALL, 2), time_scale(LARGE, 2)
    assert small.keys() == large.keys() and len(small) >= 10
    for name, row in large.items():
        assert row["seconds"] < 2 * LARGE / SMALL * small[name]["seconds"] + 1, name
        if row["mib"] is not None:
            assert row["mib"] < small[name]["mib"] + 0.05 * (LARGE - SMALL) + 50, name
