import numpy as np
import pytest

from module.labels import weighted_argmax
from tool.metric import label_confusion_matrix, scores
from viz.sweep import THRESHOLDS, WEIGHTS, image_counts, miou_at_edges

KEYS = np.array([0, 2, 3])


def image(seed, size=(17, 23)):
    rng = np.random.default_rng(seed)
    return rng.choice([0, 1, 2, 3, 255], size), rng.random((3, *size), np.float32).astype(np.float16).astype(np.float32)


def direct(images, relabel):
    """mIoU of two images whose labels are made anew for one weight or threshold."""
    matrix = sum(label_confusion_matrix(truth, KEYS[relabel(cam)], 4) for truth, cam in images)
    return scores(matrix, "abcd")["miou"]


def test_every_weight_and_threshold_as_if_labelled_anew():
    images = [image(0), image(1)]
    counts = [image_counts(truth, KEYS, cam, 4, 0.8, "img") for truth, cam in images]
    by_weight, by_threshold = (miou_at_edges(sum(each[part] for each in counts)) for part in (1, 2))
    for number in (0, 1, 16, 20, 30):
        expected = direct(images, lambda cam: weighted_argmax(cam, WEIGHTS[number]))
        assert by_weight[number] == pytest.approx(expected)

    def constant(threshold):
        return lambda cam: weighted_argmax(np.concatenate([np.full_like(cam[:1], threshold), cam[1:]]))

    for number in (0, 7, 20, 39):
        assert by_threshold[number] == pytest.approx(direct(images, constant(THRESHOLDS[number])))
    truth, cam = images[0]
    assert counts[0][0] == scores(label_confusion_matrix(truth, KEYS[weighted_argmax(cam, 0.8)], 4), "abcd")["miou"]


def test_a_background_of_zero_leaves_every_pixel_with_a_score_to_the_foreground():
    cam = np.array([[[0, 0]], [[0.5, 0]]], np.float32)
    truth = np.array([[1, 0]])
    _, by_weight, _ = image_counts(truth, np.array([0, 1]), cam, 2, 1.0, "img")
    assert miou_at_edges(by_weight).tolist() == [1.0] * len(WEIGHTS)


def test_an_image_without_classes_is_background():
    truth, cam = np.zeros((2, 2), int), np.ones((1, 2, 2), np.float32)
    _, by_weight, by_threshold = image_counts(truth, np.array([0]), cam, 3, 1, "img")
    assert (miou_at_edges(by_weight) == 1).all() and (miou_at_edges(by_threshold) == 1).all()
