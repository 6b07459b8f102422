"""Pictures of labels and maps over photographs: classes blended in with outlines, heat, and a legend below."""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from files import atomic

BLEND = 0.5  # the share of colours in a photograph
LONGEST_NAME = 40  # letters in a legend
GAP = 4  # pixels between pictures


def overlay(image, labels, palette):
    """The photograph with every class but the background blended in, and white outlines.

    image: uint8 [H,W,3]. labels: integers [H,W], 0 the background. palette: uint8 [256,3]. Returns uint8 [H,W,3].
    """
    blended = (image * (1 - BLEND) + palette[labels] * BLEND).astype(np.uint8)
    picture = np.where((labels > 0)[..., None], blended, image)
    picture[outlines(labels)] = 255
    return picture


def outlines(labels):
    """bool [H,W]: the pixels with another label above, below, left or right of them."""
    edge = np.zeros(labels.shape, bool)
    rows, columns = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    for part, differs in ((edge[1:], rows), (edge[:-1], rows), (edge[:, 1:], columns), (edge[:, :-1], columns)):
        part |= differs
    return edge


def heat(image, scores):
    """A map in colours from blue (0) to red (1) over the photograph.

    image: uint8 [H,W,3]. scores: [H,W] in [0,1]. Returns uint8 [H,W,3].
    """
    colours = matplotlib.colormaps["turbo"](np.clip(scores, 0, 1), bytes=True)[..., :3]
    return (image * (1 - BLEND) + colours * BLEND).astype(np.uint8)


def with_legend(picture, entries):
    """The picture above a white strip with a box of colour and a name for each entry.

    picture: uint8 [H,W,3]. entries: (name, uint8 colour [3]) pairs. Returns uint8 [H',W',3], as wide as the picture or,
    where that is wider, as the longest entry. No entries give the picture as it is.
    """
    if not entries:
        return picture
    size = int(np.clip(max(picture.shape[:2]) / 36, 11, 32))
    font, line, names = _font(size), round(1.6 * size), [name[:LONGEST_NAME] for name, _ in entries]
    widths = [round(font.getlength(name)) + 3 * size for name in names]
    width = max(picture.shape[1], *widths)
    places, x, y = [], 0, 0
    for each in widths:
        if x + each > width:
            x, y = 0, y + line
        places.append((x, y))
        x += each
    strip = Image.new("RGB", (width, y + line), "white")
    draw = ImageDraw.Draw(strip)
    for (x, y), name, (_, colour) in zip(places, names, entries):
        draw.rectangle((x + size // 2, y + size // 3, x + 3 * size // 2, y + 4 * size // 3), tuple(map(int, colour)))
        draw.text((x + 2 * size, y + line // 2), name, "black", font, anchor="lm")
    return np.concatenate([_widened(picture, width), np.asarray(strip)])


def in_grid(pictures, columns=4):
    """Pictures uint8 [H,W,3] in lines of `columns`, on white, each in a cell of the size of the largest."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        y, x = (number // columns) * (height + GAP), (number % columns) * (width + GAP)
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sheet


def save_jpeg(path, picture):
    with atomic(path) as temporary:
        Image.fromarray(picture).save(temporary, format="JPEG", quality=92)


def _widened(picture, width):
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)


@cache
def _font(size):
    """matplotlib's own font, which has Latin, Greek and Cyrillic letters: a system need not have any."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
