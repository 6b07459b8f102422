import numpy as np
import pytest
import torch
import torch.nn.functional as F

from module.pamr import PAMR

DILATIONS = (1, 2, 4, 8, 12, 24)


def window(plane, y, x, dilation):
    """The 9 values of a dilated 3x3 window, centre included, borders replicated."""
    h, w = plane.shape
    return np.array(
        [
            plane[min(max(y + dy * dilation, 0), h - 1), min(max(x + dx * dilation, 0), w - 1)]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        ]
    )


def looped_pamr(image, mask, iterations, dilations):
    """image [3,h,w] and mask [K,h,w] of one size, position by position."""
    _, h, w = image.shape
    weights = {}
    for y, x in np.ndindex(h, w):
        channels = []
        for plane in image:
            windows = np.stack([window(plane, y, x, d) for d in dilations])
            std = np.std(windows, ddof=1)
            neighbours = np.delete(windows, 4, axis=1).reshape(-1)
            channels.append(-np.abs(plane[y, x] - neighbours) / (1e-8 + 0.1 * std))
        scores = np.exp(np.mean(channels, axis=0))
        weights[y, x] = scores / scores.sum()
    for _ in range(iterations):
        refined = np.zeros(mask.shape)
        for k, y, x in np.ndindex(mask.shape):
            windows = np.stack([window(mask[k], y, x, d) for d in dilations])
            refined[k, y, x] = weights[y, x] @ np.delete(windows, 4, axis=1).reshape(-1)
        mask = refined
    return mask


def example(h=9, w=7, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.rand(2, 3, h, w, generator=generator, dtype=dtype),
        torch.rand(2, 3, h, w, generator=generator, dtype=dtype),
    )


@pytest.mark.parametrize("iterations, dilations", [(1, (1,)), (1, DILATIONS), (3, (2, 5)), (10, DILATIONS)])
def test_equals_loops(iterations, dilations):
    image, mask = example()
    refined = PAMR(iterations, dilations)(image, mask)
    expected = [looped_pamr(i, m, iterations, dilations) for i, m in zip(image.numpy(), mask.numpy())]
    np.testing.assert_allclose(refined, np.stack(expected), rtol=0, atol=1e-10)


def test_float32_stays_near_float64_on_faint_texture():
    """One grey level of texture on a bright ground: where the variance is small beside the mean."""
    image, mask = example()
    image = 0.9 + image / 255
    refined = PAMR()(image.float(), mask.float())
    np.testing.assert_allclose(refined, PAMR()(image, mask), rtol=0, atol=1e-3)


def test_equals_published(reference):
    data = reference("aesipe.npz")
    image = F.interpolate(torch.tensor(data["image"]) / 255, scale_factor=0.25, mode="bilinear", align_corners=True)
    refined = PAMR()(image, torch.tensor(data["unpadded_is_cam"]))
    np.testing.assert_allclose(refined, data["pamr"], rtol=0, atol=1e-4)


def test_mask_of_another_size_is_resized_to_the_image():
    image, _ = example(12, 16)
    small = torch.rand(2, 5, 3, 4, dtype=torch.float64)
    resized = F.interpolate(small, (12, 16), mode="bilinear", align_corners=True)
    refined = PAMR()(image, small)
    assert refined.shape == (2, 5, 12, 16)
    torch.testing.assert_close(refined, PAMR()(image, resized))


def test_weights_are_a_softmax_over_48_neighbours():
    weights = torch.cat(PAMR().affinity(example()[0]), dim=1)
    assert weights.shape == (2, 48, 9, 7) and (weights > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 9, 7, dtype=torch.float64))


def test_constants_stay_and_the_range_never_grows():
    image, mask = example(dtype=torch.float32)
    constant = torch.full_like(mask, 0.3)
    torch.testing.assert_close(PAMR()(image, constant), constant)
    refined = PAMR()(image, mask)
    for values, start in zip(refined.flatten(0, 1), mask.flatten(0, 1)):
        assert start.min() <= values.min() < values.max() <= start.max()


def test_flat_image_averages_all_neighbours_alike():
    _, mask = example()
    refined = PAMR(iterations=1)(torch.full((2, 3, 9, 7), 0.4, dtype=torch.float64), mask)
    for n, k, y, x in np.ndindex(mask.shape):
        neighbours = [np.delete(window(mask[n, k].numpy(), y, x, d), 4) for d in DILATIONS]
        assert float(refined[n, k, y, x]) == pytest.approx(np.mean(neighbours), abs=1e-12)


def test_mask_fills_its_object_and_does_not_cross_the_edge():
    image = torch.zeros(1, 3, 16, 24)
    image[..., 12:] = 1
    mask = torch.zeros(1, 1, 16, 24)
    mask[..., :4] = 1
    refined = PAMR()(image, mask)
    assert refined[..., 6:12].min() > 0.05 and refined[..., 12:].max() < 1e-3


def test_classes_and_images_do_not_mix():
    image, mask = example()
    refined = PAMR()(image, mask)
    torch.testing.assert_close(PAMR()(image[1:], mask[1:, 2:]), refined[1:, 2:])


def test_no_gradient_is_kept():
    image, mask = example()
    assert not PAMR(2, (1,))(image.requires_grad_(), mask.requires_grad_()).requires_grad
