"""Training transforms: resize, flip and crop with padding, drawn from a generator so that every sample repeats."""

from typing import NamedTuple

import torch
import torchvision.transforms.v2.functional as F
from torchvision.transforms import InterpolationMode

from conventions import IGNORE
from data.image import scaled_size

FILL = (124, 116, 104)  # ImageNet's mean colour: the encoder's normalisation turns padding into zeros


class View(NamedTuple):
    """What a crop shows: the image resized to size (h, w), flipped or not, with its edges at top and left of the crop.

    top and left are negative where the image is larger than the crop.
    """

    size: tuple
    flip: bool
    top: int
    left: int


class CropTransform:
    """Random resizing, horizontal flip, and a square crop that lies at random on or around the image.

    crop_size: pixels. long_side: (low, high) pixels of the longer side, or scale: (low, high) factors of the size.
    """

    def __init__(self, crop_size, long_side=None, scale=None):
        self.crop_size = crop_size
        self.long_side = long_side
        self.scale = scale

    def draw(self, size, generator):
        """A View of an image of size (H, W). generator: torch.Generator."""
        size = self._draw_size(size, generator)
        flip = _uniform(generator) < 0.5
        top, left = (self._draw_start(side, generator) for side in size)
        return View(size, flip, top, left)

    def __call__(self, image, target, view):
        """image: uint8 [3,H,W] of any size. target: uint8 [H,W] of any size, or None. view: the View drawn.

        Returns a dict: image uint8 [3,S,S]; box int64 [4] (top, left, bottom, right), where the crop shows the image;
        target uint8 [S,S], IGNORE on the padding, if one was given.
        """
        image = F.resize(image, view.size, antialias=True)
        image = F.horizontal_flip(image) if view.flip else image
        canvas = torch.tensor(FILL, dtype=torch.uint8)[:, None, None].repeat(1, self.crop_size, self.crop_size)
        box = self._paste(canvas, image, view.top, view.left)
        sample = {"image": canvas, "box": torch.tensor(box)}
        if target is not None:
            target = F.resize(target[None], view.size, interpolation=InterpolationMode.NEAREST_EXACT)
            target = F.horizontal_flip(target) if view.flip else target
            sample["target"] = torch.full((self.crop_size, self.crop_size), IGNORE, dtype=torch.uint8)
            self._paste(sample["target"], target[0], view.top, view.left)
        return sample

    def _draw_size(self, size, generator):
        if self.long_side is not None:
            low, high = self.long_side
            factor = (low + _uniform(generator) * (high - low)) / max(size)
        else:
            low, high = self.scale
            factor = low + _uniform(generator) * (high - low)
        return tuple(max(1, round(side * factor)) for side in size)

    def _draw_start(self, side, generator):
        """Position of the image's edge relative to the crop's: negative where the image is larger than the crop."""
        slack = self.crop_size - side
        start = int(_uniform(generator) * (abs(slack) + 1))
        return start if slack >= 0 else -start

    def _paste(self, canvas, image, top, left):
        height, width = image.shape[-2:]
        y0, x0 = max(top, 0), max(left, 0)
        y1, x1 = min(top + height, self.crop_size), min(left + width, self.crop_size)
        canvas[..., y0:y1, x0:x1] = image[..., y0 - top : y1 - top, x0 - left : x1 - left]
        return y0, x0, y1, x1


def scaled(image, factor):
    """image uint8 or float [...,H,W] resized by a factor, antialiased. Raises UserError, see `scaled_size`."""
    return resized(image, scaled_size(image.shape[-2:], factor))


def resized(image, size):
    """image uint8 or float [...,H,W] at size (h, w), antialiased."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.resize(image, list(size), antialias=True)


def _uniform(generator):
    return torch.rand((), generator=generator).item()
