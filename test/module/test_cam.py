import numpy as np
import pytest
import torch

from module.cam import inside_mask, map_seeds, normalize_cam, normalize_map, present_classes, valid_mask


def bilinear(plane, size):
    """Resizing [h,w] with aligned corners, position by position."""
    (h, w), (height, width) = plane.shape, size
    resized = np.zeros(size)
    for i in range(height):
        for j in range(width):
            y, x = i * (h - 1) / (height - 1), j * (w - 1) / (width - 1)
            top, left = min(int(y), h - 2), min(int(x), w - 2)
            for row, y_share in ((top, top + 1 - y), (top + 1, y - top)):
                for column, x_share in ((left, left + 1 - x), (left + 1, x - left)):
                    resized[i, j] += y_share * x_share * plane[row, column]
    return resized


def looped_cam(logits, valid, background):
    n, classes, h, w = logits.shape
    cams = np.zeros((n, classes + 1, h, w))
    for image in range(n):
        rivals = []
        for k in range(classes):
            plane = np.maximum(logits[image, k], 0)
            cams[image, k + 1] = plane / (plane.max() + 1e-5)
            if background == "all" or valid[image, k + 1].any():
                rivals.append(cams[image, k + 1])
        cams[image, 0] = 1 - np.max(rivals, axis=0)
    return np.stack([[bilinear(plane, valid.shape[2:]) for plane in cam] for cam in cams]) * valid


def looped_map(cam, valid, mode):
    normalised = np.zeros(cam.shape)
    for n, k in np.ndindex(cam.shape[:2]):
        inside = valid[n, k] > 0
        values = cam[n, k][inside]
        if not len(values):
            continue
        low = values.min() if mode == "minmax" else 0
        scale = 1 if mode == "none" else values.max() - low + 1e-5
        normalised[n, k][inside] = (values - low) / scale
    return normalised


def example_valid():
    """[2,4,5,7]: the images have classes 1, 3 and class 2; the second crop is padded at the top and the right."""
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]], dtype=torch.float64)
    inside = torch.ones(2, 5, 7, dtype=torch.float64)
    inside[1, :2] = 0
    inside[1, :, 5:] = 0
    return valid_mask(labels, inside)


def test_valid_mask_is_label_times_inside_and_background_everywhere_inside():
    valid = example_valid()
    assert valid.shape == (2, 4, 5, 7)
    for n, has in enumerate([(0, 1, 3), (0, 2)]):
        for k, y, x in np.ndindex(4, 5, 7):
            inside = n == 0 or (y >= 2 and x < 5)
            assert valid[n, k, y, x] == (k in has and inside)


@pytest.mark.parametrize("size, grid", [((64, 96), (4, 6)), ((97, 130), (7, 9)), ((50, 50), (4, 4))])
def test_inside_mask_takes_the_pixel_that_a_position_stands_for(size, grid):
    boxes = [(0, 0, *size), (13, 20, 49, 50), (16, 32, 33, 33), (3, 3, 10, 12)]
    inside = inside_mask(torch.tensor(boxes), size, grid)
    assert inside.shape == (4, *grid) and inside.dtype == torch.float32
    for n, (top, left, bottom, right) in enumerate(boxes):
        for i, j in np.ndindex(grid):
            y, x = i * size[0] // grid[0], j * size[1] // grid[1]
            assert inside[n, i, j] == (top <= y < bottom and left <= x < right)


@pytest.mark.parametrize("background", ["all", "present"])
def test_cam_equals_loops(background):
    torch.manual_seed(0)
    logits, valid = torch.randn(2, 3, 3, 4, dtype=torch.float64), example_valid()
    cam = normalize_cam(logits, valid, background)
    np.testing.assert_allclose(cam, looped_cam(logits.numpy(), valid.numpy(), background), rtol=0, atol=1e-12)
    assert cam.min() >= 0 and cam.max() <= 1


def test_cam_equals_published(reference):
    data = reference("aesipe.npz")
    logits, valid = torch.tensor(data["cam_logits"]), torch.tensor(data["valid"])
    np.testing.assert_allclose(normalize_cam(logits), data["norm_cam"], rtol=0, atol=1e-4)
    masked = data["norm_cam"] * data["valid"]
    np.testing.assert_allclose(normalize_cam(logits, valid), masked, rtol=0, atol=1e-4)


def test_background_over_present_classes_ignores_the_absent_ones():
    logits = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    valid = valid_mask(torch.tensor([[1.0, 0.0]]), torch.ones(1, 1, 2))
    assert normalize_cam(logits, valid, "all")[0, 0, 0, 1] < 1e-4
    assert normalize_cam(logits, valid, "present")[0, 0, 0, 1] == 1


@pytest.mark.parametrize("mode", ["minmax", "max", "none"])
def test_map_equals_loops_over_the_inside(mode):
    torch.manual_seed(1)
    # Away from zero, so that a minimum taken over the padding would show.
    cam, valid = 0.3 + 0.5 * torch.rand(2, 4, 5, 7, dtype=torch.float64), example_valid()
    expected = looped_map(cam.numpy(), valid.numpy(), mode)
    for masked in (cam, cam * valid):
        np.testing.assert_allclose(normalize_map(masked, valid, mode), expected, rtol=0, atol=1e-12)


def test_minmax_of_constant_and_absent_maps_is_zero_with_finite_gradients():
    cam = torch.full((2, 4, 5, 7), 0.5, dtype=torch.float64, requires_grad=True)
    normalised = normalize_map(cam, example_valid())
    assert (normalised == 0).all()
    normalised.sum().backward()
    assert cam.grad.isfinite().all()


def test_unknown_normalisation_is_refused():
    with pytest.raises(ValueError, match="'mean'"):
        normalize_map(torch.rand(1, 2, 3, 3), torch.ones(1, 2, 3, 3), "mean")


@pytest.mark.parametrize(
    "function",
    [
        lambda logits, valid: normalize_cam(logits, valid),
        lambda logits, valid: normalize_cam(logits, valid, "present"),
        lambda logits, valid: normalize_map(logits.relu(), valid[:, 1:]),
        lambda logits, valid: normalize_map(logits.relu(), valid[:, 1:], "max"),
    ],
)
def test_gradients(function):
    torch.manual_seed(2)
    logits = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: function(x, example_valid()), logits)


def test_map_seeds_are_the_strongest_of_the_own_classes():
    torch.manual_seed(3)
    cam, valid = torch.rand(2, 4, 5, 7, dtype=torch.float64), example_valid()
    cam[:, 3] += 1  # the second image lacks class 3: it must not win there
    seeds = map_seeds(cam, valid)
    for n, y, x in np.ndindex(2, 5, 7):
        own = [k for k in range(4) if valid[n, k, y, x]]
        expected = [0] * 4
        if own:
            expected[max(own, key=lambda k: cam[n, k, y, x])] = 1
        assert seeds[n, :, y, x].tolist() == expected


def test_map_seeds_exist_where_every_score_is_zero():
    valid = example_valid()
    assert torch.equal(map_seeds(torch.zeros(2, 4, 5, 7, dtype=torch.float64), valid).sum(1), valid[:, 0])


def test_present_classes_packs_own_classes_first():
    index, present = present_classes(example_valid())
    assert index[0].tolist() == [0, 1, 3] and present[0].all()
    assert index[1, :2].tolist() == [0, 2] and present[1].tolist() == [True, True, False]
