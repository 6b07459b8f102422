"""The colours of classes, uint8 [256,3] by class number, and of heat: VOC's, or some that colour-blind people tell
apart."""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from conventions import BACKGROUND, IGNORE
from data.label_png import voc_palette

# Okabe and Ito, "Color Universal Design", 2008: seven colours that people with any kind of colour vision tell apart.
OKABE_ITO = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
# How linear RGB looks without one kind of cones, for red, green and blue: Machado et al., TVCG 2009, severity 1.
COLOUR_BLINDNESS = np.array(
    [
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)
LEVELS = range(0, 256, 36)  # of a channel of the colours that follow the seven


class Palette(NamedTuple):
    """colours: uint8 [256,3], RGB by class number. heat: OpenCV's number of a colour map, from 0 to 1."""

    colours: np.ndarray
    heat: int


@cache
def palette(name):
    """The Palette of a name: voc or safe, see `tool.settings.PaletteName`."""
    if name == "voc":
        return Palette(voc_palette(), cv2.COLORMAP_TURBO)
    return Palette(safe_colours(), cv2.COLORMAP_CIVIDIS)


def safe_colours():
    """VOC's background and IGNORE, Okabe and Ito's seven colours, then at each class the colour, of a grid, whose
    nearest among those before looks most different to the eyes that tell it least from them. uint8 [256,3]."""
    colours = voc_palette()
    first = [[int(code[i : i + 2], 16) for i in (1, 3, 5)] for code in OKABE_ITO]
    grid = np.array([(r, g, b) for r in LEVELS for g in LEVELS for b in LEVELS], np.uint8)
    candidates = np.concatenate([np.array(first, np.uint8), grid])
    seen = as_seen(candidates)
    taken = as_seen(colours[[BACKGROUND, IGNORE]])
    nearest = np.stack([_difference(seen, other) for other in np.swapaxes(taken, 0, 1)]).min(axis=0)
    for label in range(1, IGNORE):
        best = label - 1 if label <= len(first) else int(nearest.argmax())
        colours[label] = candidates[best]
        nearest = np.minimum(nearest, _difference(seen, seen[:, best]))
    return colours


def as_seen(colours):
    """Colours uint8 [n,3] in Lab by usual eyes and by those of each kind of colour blindness: float32 [4,n,3]."""
    value = colours / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    eyes = np.concatenate([np.eye(3)[None], COLOUR_BLINDNESS])
    looks = np.clip(np.einsum("eij,nj->eni", eyes, linear), 0, 1)
    value = np.where(looks <= 0.0031308, 12.92 * looks, 1.055 * looks ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(value.astype(np.float32), cv2.COLOR_RGB2Lab)


def _difference(seen, other):
    """How much each of the colours [4,n,3] differs from one [4,3] to the eyes that tell them apart least, [n]."""
    return np.linalg.norm(seen - other[:, None], axis=2).min(axis=0)
