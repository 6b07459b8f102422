import numpy as np
import pytest

from errors import UserError
from tool.metric import label_confusion_matrix, scores


def random_labels(seed, n_classes=4, size=(13, 17)):
    rng = np.random.default_rng(seed)
    values = [*range(n_classes), 255]
    return rng.choice(values, size).astype(np.uint8), rng.choice(values, size).astype(np.uint8)


def counted_one_by_one(truth, labels, n_classes):
    matrix = np.zeros((n_classes, n_classes + 1), np.int64)
    for row, column in zip(truth.flat, labels.flat):
        if row != 255:
            matrix[row, n_classes if column == 255 else column] += 1
    return matrix


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_matrix_counted_one_by_one(dtype):
    truth, labels = random_labels(0)
    matrix = label_confusion_matrix(truth.astype(dtype), labels.astype(dtype), 4)
    assert matrix.shape == (4, 5) and matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, counted_one_by_one(truth, labels, 4))


def test_the_arguments_stay_as_they_are():
    truth, labels = random_labels(0)
    before = labels.copy()
    label_confusion_matrix(truth, labels, 4)
    np.testing.assert_array_equal(labels, before)


def test_matrices_of_images_add():
    images = [random_labels(seed) for seed in range(3)]
    total = sum(label_confusion_matrix(*image, 4) for image in images)
    joined = [np.concatenate(maps) for maps in zip(*images)]
    np.testing.assert_array_equal(total, label_confusion_matrix(*joined, 4))


def test_truth_255_is_not_counted():
    truth, labels = np.array([[0, 255], [255, 1]]), np.array([[0, 1], [255, 1]])
    assert label_confusion_matrix(truth, labels, 2).sum() == 2
    assert label_confusion_matrix(np.full((3, 3), 255), np.zeros((3, 3), int), 2).sum() == 0


def test_unsure_labels_count_as_missed():
    truth, labels = np.array([[1, 1, 1, 1]]), np.array([[1, 255, 255, 1]])
    result = scores(label_confusion_matrix(truth, labels, 2), ["background", "cat"])
    assert result == {
        "miou": 0.5,
        "accuracy": 0.5,
        "iou": {"background": None, "cat": 0.5},
        "confusion": [[0, 0, 0], [0, 2, 2]],
    }


def test_scores_worked_by_hand():
    matrix = [[6, 2, 0, 0], [1, 3, 0, 1], [0, 0, 0, 0]]
    result = scores(matrix, ["background", "cat", "dog"])
    assert result["confusion"] == matrix
    assert result["iou"] == {"background": 6 / 9, "cat": 3 / 7, "dog": None}
    assert result["miou"] == pytest.approx((6 / 9 + 3 / 7) / 2) and result["accuracy"] == pytest.approx(9 / 13)


def test_a_class_only_in_the_labels_lowers_others_but_is_not_averaged():
    truth, labels = np.array([[0, 0, 0, 0]]), np.array([[0, 0, 0, 2]])
    result = scores(label_confusion_matrix(truth, labels, 3), ["background", "cat", "dog"])
    assert result["miou"] == 0.75 and result["iou"] == {"background": 0.75, "cat": None, "dog": None}


def test_perfect_and_empty():
    truth = np.array([[0, 1, 2, 2]])
    assert scores(label_confusion_matrix(truth, truth, 3), "abc")["miou"] == 1
    assert scores(np.zeros((3, 4)), "abc") == {
        "miou": 0,
        "accuracy": 0,
        "iou": {"a": None, "b": None, "c": None},
        "confusion": [[0] * 4] * 3,
    }


def test_255_classes_are_kept_apart_from_255():
    truth = np.array([[254, 254, 255]], np.uint8)
    matrix = label_confusion_matrix(truth, np.array([[254, 255, 254]], np.uint8), 255)
    assert matrix[254, 254] == 1 and matrix[254, 255] == 1 and matrix.sum() == 2


@pytest.mark.parametrize(
    "truth, labels, message",
    [
        ([[0, 3]], [[0, 0]], "img: mask holds 3, but there are 3 classes"),
        ([[0, 1]], [[0, 4]], "img: labels holds 4"),
        ([[0, 1]], [[0, 3]], "img: labels holds 3"),
        ([[0, -1]], [[0, 0]], "img: mask holds -1"),
        ([[0, 1]], [[0, -1]], "img: labels holds -1"),
        ([[0, 1]], [[0], [1]], r"img: labels are \[2, 1\], the mask is \[1, 2\]"),
        ([[0, 1]], [[0, 1, 1]], r"img: labels are \[1, 3\]"),
    ],
)
def test_values_out_of_range_and_other_sizes_are_refused(truth, labels, message):
    with pytest.raises(UserError, match=message):
        label_confusion_matrix(np.array(truth), np.array(labels), 3, "img")
