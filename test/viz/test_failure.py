import numpy as np
import pytest

from viz.failure import SeedChange, failure_summary, seed_changes

TRUTH = np.array([[1, 1, 0, 0], [1, 1, 0, 255], [0, 0, 2, 2]])
BEFORE = np.array([[1, 1, 1, 0], [1, 0, 0, 1], [0, 0, 2, 255]])
AFTER = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 2, 2]])


def test_counts_of_a_case_made_by_hand():
    """Class 1: right 3 and wrong 1 become 4 and 4; the cell whose truth is 255 counts on neither side."""
    one, two = seed_changes("img", BEFORE, AFTER, TRUTH)
    assert one == SeedChange("img", 1, 3, 1, 4, 4, 12)
    assert (one.verdict, one.precision) == ("expanded", (0.75, 0.5))
    assert two == SeedChange("img", 2, 1, 0, 2, 0, 12) and two.verdict == "kept"


@pytest.mark.parametrize(
    "counts, verdict",
    [
        ((3, 1, 4, 4), "expanded"),
        ((4, 4, 3, 1), "repaired"),
        ((4, 0, 4, 4), "kept"),  # no wrong seed that could be expanded
        ((10, 10, 14, 14), "kept"),  # grows, but no worse
        ((90, 10, 180, 26), "kept"),  # the precision falls by less than the margin
        ((10, 4, 2, 3), "kept"),  # worse, but there are fewer wrong seeds
        ((3, 1, 0, 0), "lost"),
        ((0, 4, 0, 6), "kept"),  # wrong before and after: nothing falls
    ],
)
def test_verdicts(counts, verdict):
    assert SeedChange("img", 1, *counts, 300).verdict == verdict


def test_classes_without_seeds_and_the_background_are_not_judged():
    assert seed_changes("img", np.zeros((2, 2), int), np.ones((2, 2), int), np.ones((2, 2), int)) == []


def test_summary():
    changes = [
        SeedChange("a", 1, 3, 1, 4, 4, 10),
        SeedChange("b", 1, 3, 1, 4, 6, 10),
        SeedChange("b", 2, 4, 4, 3, 1, 10),
        SeedChange("c", 2, 3, 1, 0, 0, 10),
    ]
    result = failure_summary(changes, ["background", "cat", "dog"])
    assert result["counts"] == {"expanded": 2, "repaired": 1, "lost": 1}
    assert (result["judged"], result["images"], result["precision"]) == (4, 3, (13 / 20, 11 / 22))
    assert result["classes"] == [("cat", 2, 2, 0), ("dog", 2, 0, 1)]
    assert [change.image_id for change in result["worst"]] == ["b", "a"]  # 5 more wrong cells, then 3
    assert failure_summary([], ["background", "cat"]) is None
