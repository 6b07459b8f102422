import math

import numpy as np
import pytest
import torch

from data.transforms import FILL, IGNORE, CropTransform, View, scaled
from errors import UserError
from net.encoder import IMAGENET_MEAN, IMAGENET_STD


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def crop(transform, image, target, seed):
    return transform(image, target, transform.draw(image.shape[1:], seeded(seed)))


def coordinates(height, width):
    """An image whose red is the row and whose green the column, 1 added so that no pixel looks like filling."""
    rows = torch.arange(1, height + 1).view(-1, 1).expand(height, width)
    columns = torch.arange(1, width + 1).expand(height, width)
    return torch.stack([rows, columns, torch.zeros_like(rows)]).to(torch.uint8)


def outside(box, size):
    top, left, bottom, right = box.tolist()
    mask = torch.ones(size, size, dtype=torch.bool)
    mask[top:bottom, left:right] = False
    return mask


@pytest.mark.parametrize("height, width", [(20, 30), (90, 70), (20, 90), (90, 20), (48, 48), (1, 1), (1, 60), (60, 1)])
def test_crop_shows_the_image_inside_the_box_and_filling_outside(height, width):
    """At scale 1 nothing is resampled, so every pixel tells where it is from."""
    size, flips, places = 48, set(), set()
    image = coordinates(height, width)
    transform = CropTransform(size, scale=(1, 1))
    for seed in range(40):
        sample = crop(transform, image, image[1], seed)
        shown, target, (top, left, bottom, right) = sample["image"], sample["target"], sample["box"].tolist()
        assert shown.shape == (3, size, size) and shown.dtype == torch.uint8 and sample["box"].dtype == torch.int64
        assert (bottom - top, right - left) == (min(height, size), min(width, size))
        padding = outside(sample["box"], size)
        assert (shown[:, padding] == torch.tensor(FILL, dtype=torch.uint8)[:, None]).all()
        assert (target[padding] == IGNORE).all()
        inside = shown[:, top:bottom, left:right]
        y, x = inside[0, 0, 0].item() - 1, inside[1].min().item() - 1
        expected = image[:, y : y + bottom - top, x : x + right - left]
        flipped = width > 1 and inside[1, 0, 0] > inside[1, 0, -1]
        assert torch.equal(inside, expected.flip(2) if flipped else expected)
        assert torch.equal(target[top:bottom, left:right], inside[1])
        flips.add(bool(flipped))
        places.add((top, left, y, x))
    assert flips == ({False, True} if width > 1 else {False})
    assert len(places) == 1 if (height, width) == (size, size) else len(places) > 10


def test_crops_reach_both_ends_of_the_image_and_of_the_padding():
    large = {
        crop(CropTransform(4, scale=(1, 1)), coordinates(6, 4), None, s)["image"][0, 0, 0].item() for s in range(60)
    }
    small = {crop(CropTransform(6, scale=(1, 1)), coordinates(4, 6), None, s)["box"][0].item() for s in range(60)}
    assert large == {1, 2, 3} and small == {0, 1, 2}


@pytest.mark.parametrize("height, width", [(50, 80), (80, 50)])
@pytest.mark.parametrize("ranges", [{"long_side": (30, 60)}, {"long_side": (90, 160)}, {"scale": (0.4, 2.5)}])
def test_target_follows_the_resized_image(height, width, ranges):
    """A horizontal and a vertical ramp as image and as target: they agree but for the interpolation."""
    rows = torch.linspace(0, 250, height).view(-1, 1).expand(height, width).round()
    columns = torch.linspace(0, 250, width).expand(height, width).round()
    transform = CropTransform(64, **ranges)
    for seed in range(15):
        for number, ramp in enumerate((rows, columns)):
            target = ramp.to(torch.uint8)
            sample = crop(transform, target.expand(3, -1, -1), target, seed)
            top, left, bottom, right = sample["box"].tolist()
            inside = (slice(top, bottom), slice(left, right))
            step = 250 / ((height, width)[number] - 1)
            difference = sample["image"][0][inside].int() - sample["target"][inside].int()
            assert difference.abs().max() <= 1.5 * step + 2
            assert set(sample["target"].unique().tolist()) <= {*target.unique().tolist(), IGNORE}


def test_long_side_and_scale_are_drawn_over_their_whole_ranges():
    def sizes(transform, image):
        boxes = torch.stack([crop(transform, image, None, s)["box"] for s in range(200)])
        return (boxes[:, 2:] - boxes[:, :2]).float()

    image = torch.zeros(3, 30, 60, dtype=torch.uint8)
    drawn = sizes(CropTransform(200, long_side=(40, 100)), image)
    assert drawn[:, 1].min() in range(40, 43) and drawn[:, 1].max() in range(98, 101)
    assert (drawn[:, 0] - drawn[:, 1] / 2).abs().max() <= 0.5
    drawn = sizes(CropTransform(200, scale=(0.5, 2.0)), image)
    assert drawn[:, 1].min() in range(30, 33) and drawn[:, 1].max() in range(118, 121)


def test_what_is_shrunk_is_antialiased_and_its_target_taken_from_the_middle():
    """To a third: of an image of stripes grey remains, of a target each third pixel, in the middle of three."""
    stripes = (torch.arange(90) % 2 * 255).to(torch.uint8).expand(3, 60, 90)
    target = torch.arange(5400).remainder(251).to(torch.uint8).view(60, 90)
    sample = CropTransform(30)(stripes, target, View((20, 30), False, 5, 0))
    for shown in (sample["image"][:, 5:25], scaled(stripes, 1 / 3)):
        assert shown.shape == (3, 20, 30) and (shown.float() - 127.5).abs().max() < 50
    assert torch.equal(sample["target"][5:25], target[1::3, 1::3])


def test_padding_is_zero_to_the_encoder():
    for value, mean, std in zip(FILL, IMAGENET_MEAN, IMAGENET_STD):
        assert abs(value / 255 - mean) / std < 0.01


def test_half_of_the_crops_are_flipped():
    image = coordinates(8, 8)
    transform = CropTransform(8, scale=(1, 1))
    flips = [crop(transform, image, None, seed)["image"][1, 0, 0].item() == 8 for seed in range(400)]
    assert 150 < np.sum(flips) < 250


def test_crop_follows_from_the_generator_alone():
    image = torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8, generator=seeded(0))
    transform = CropTransform(32, long_side=(20, 60))
    first = crop(transform, image, image[0], 1)
    torch.manual_seed(123)  # the global generator plays no part
    again = crop(transform, image, image[0], 1)
    assert all(torch.equal(first[key], again[key]) for key in ("image", "box", "target"))
    alone = crop(transform, image, None, 1)
    assert set(alone) == {"image", "box"} and torch.equal(alone["image"], first["image"])
    assert not torch.equal(crop(transform, image, None, 2)["image"], first["image"])


def test_views_are_drawn_as_size_flip_top_and_left_in_this_order():
    """The order is part of what a seed means: an earlier run continues with the crops it would have drawn."""
    for seed in range(20):
        generator = seeded(seed)
        zoom, flip, top, left = (torch.rand((), generator=generator).item() for _ in range(4))
        view = CropTransform(40, long_side=(30, 60)).draw((50, 80), seeded(seed))
        height, width = round(50 * (30 + zoom * 30) / 80), round(30 + zoom * 30)
        assert view.size == (height, width) and view.flip == (flip < 0.5)
        for drawn, start, slack in ((top, view.top, 40 - height), (left, view.left, 40 - width)):
            assert start == int(drawn * (abs(slack) + 1)) * (1 if slack >= 0 else -1)


def test_the_image_may_come_smaller_than_its_target():
    """As a JPEG decoded at a part of its size does: the crop is that of the whole image but for the resampling."""
    ramp = torch.linspace(0, 250, 240).expand(160, 240).round().to(torch.uint8)
    image, half = ramp.expand(3, -1, -1), ramp[::2, ::2].expand(3, -1, -1)
    for view in (View((60, 90), False, 2, -13), View((60, 90), True, 2, -13)):
        whole, reduced = (CropTransform(64)(given, ramp, view) for given in (image, half))
        assert all(torch.equal(whole[key], reduced[key]) for key in ("box", "target"))
        assert whole["box"].tolist() == [2, 0, 62, 64]
        assert (whole["image"].int() - reduced["image"].int()).abs().max() <= 2


def test_the_image_given_stays_as_it_is():
    image = coordinates(40, 50)
    before = image.clone()
    crop(CropTransform(32, scale=(1, 1)), image, image[0], 0)
    assert torch.equal(image, before)


@pytest.mark.parametrize(
    "height, width, factor, size",
    [(40, 30, 1, (40, 30)), (40, 31, 0.5, (20, 16)), (1, 1, 0.5, (1, 1)), (1, 90, 0.5, (1, 45)), (7, 5, 1.5, (10, 8))],
)
def test_scaled_sizes(height, width, factor, size):
    image = torch.full((3, height, width), 77, dtype=torch.uint8)
    result = scaled(image, factor)
    assert result.shape == (3, *size) and result.dtype == torch.uint8 and (result == 77).all()


@pytest.mark.parametrize(
    "height, width, factor",
    [(10, 10, 1e9), (10, 10, math.inf), (10, 10, math.nan), (1, 5000, 0.1), (1, 90, 0.25), (3, 2, 0), (7072, 7072, 1)],
)
def test_sizes_that_no_image_has_are_refused(height, width, factor):
    image = torch.zeros(1, 1, 1).expand(3, height, width)
    with pytest.raises(UserError, match=f"an image of {width} x {height} cannot be resized by "):
        scaled(image, factor)
