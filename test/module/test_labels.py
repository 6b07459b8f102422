import numpy as np
import pytest
import torch

from module.labels import ir_labels, labels_at_size, weighted_argmax


@pytest.mark.parametrize("dtype", [np.float64, np.float16])  # CAMs are stored in float16
@pytest.mark.parametrize("weight", [1.0, 0.8, 0.25, 0.0])
def test_argmax_equals_loops(weight, dtype):
    cam = np.random.default_rng(0).random((4, 6, 7)).astype(dtype)
    labels = weighted_argmax(cam, weight)
    assert labels.shape == (6, 7) and labels.dtype == np.int64
    for y, x in np.ndindex(6, 7):
        scores = [float(dtype(weight) * cam[0, y, x]), *map(float, cam[1:, y, x])]
        assert labels[y, x] == scores.index(max(scores))


def test_tie_goes_to_the_background_and_then_to_the_first_class():
    cam = np.array([[[0.5, 0.0, 0.2]], [[0.5, 0.0, 0.7]], [[0.1, 0.0, 0.7]]])
    np.testing.assert_array_equal(weighted_argmax(cam), [[0, 0, 1]])
    np.testing.assert_array_equal(weighted_argmax(cam, 0.8), [[1, 0, 1]])


def test_image_without_foreground_class_is_all_background():
    labels = weighted_argmax(np.random.default_rng(0).random((1, 3, 4)), 0.8)
    assert labels.shape == (3, 4) and labels.dtype == np.int64 and not labels.any()


def test_argmax_leaves_its_input_alone():
    cam = np.random.default_rng(0).random((3, 2, 2))
    before = cam.copy()
    weighted_argmax(cam, 0.1)
    np.testing.assert_array_equal(cam, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_ir_labels(dtype):
    """Every pair of labels: surely foreground, surely background, unsure."""
    foreground = np.array([[0, 0, 3, 3, 3, 20]], dtype)
    background = np.array([[0, 3, 0, 3, 5, 20]], dtype)
    np.testing.assert_array_equal(ir_labels(foreground, background), [[0, 255, 3, 3, 3, 20]])


@pytest.mark.parametrize("size", [(40, 60), (97, 131), (7, 300), (10, 15)])
def test_labels_in_strips_are_those_of_the_whole(size):
    """Bounded memory: a strip at a time."""
    scores = torch.rand(4, 10, 15, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.interpolate(scores[None], size, mode="bilinear")[0].numpy()
    labels = labels_at_size(scores.numpy(), size, 0.7, max_elements=4 * size[1] * 3)
    assert labels.dtype == np.uint8 and (labels != weighted_argmax(whole, 0.7)).mean() < 1e-3
