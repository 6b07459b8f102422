"""Pictures of maps and labels, arrays in and arrays out, and their encoding for a page.

A picture is uint8 [H,W,3], or labels: integers [H,W] in 0-255, which take the colours of a `viz.palette.Palette`.
"""

import base64
import io

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.utils import make_grid

from conventions import BACKGROUND, IGNORE
from module.labels import weighted_argmax
from viz.palette import palette

PALETTE = palette("voc").colours
BLEND = 0.5  # the share of colours in a photograph
THUMBNAIL = 220  # pixels of the longer side
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def colour_scores(image, keys, cam, background_weight, colours=PALETTE):
    """Foreground scores over the greyed image, each class in its colour, and white outlines of their labels.

    image: uint8 [H,W,3]. keys: [k], classes with background 0 first. cam: [k,H,W] in [0,1].
    background_weight: factor on the background's score for the labels. colours: uint8 [n,3]. Returns uint8 [H,W,3].
    """
    weight = np.clip(cam[1:], 0, 1)
    weight = weight / np.maximum(weight.sum(axis=0), 1)  # overlapping classes share a pixel
    grey = greyed(image) * (1 - weight.sum(axis=0))[..., None]
    picture = (grey + np.tensordot(weight, colours[keys[1:]], (0, 0))).astype(np.uint8)
    picture[outlines(weighted_argmax(cam, background_weight))] = 255
    return picture


def overlay(image, labels, colours=PALETTE):
    """The image with every class but the background blended in, and white outlines.

    image: uint8 [H,W,3]. labels: [H,W], or of a coarser grid; 255 where there is none. colours: uint8 [n,3].
    Returns uint8 [H,W,3].
    """
    labels = nearest(np.where(labels == IGNORE, BACKGROUND, labels), image.shape[:2])
    blended = (image * (1 - BLEND) + colours[labels] * BLEND).astype(np.uint8)
    picture = np.where((labels != BACKGROUND)[..., None], blended, image)
    picture[outlines(labels)] = 255
    return picture


def greyed(image):
    """An image uint8 [H,W,3] without its colours, for what is drawn over it in others."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def heat(image, scores, colour_map=cv2.COLORMAP_TURBO):
    """A map [H,W] in [0,1] in colours from blue (0) to red (1), or of another of OpenCV's colour maps, over the image.

    Returns uint8 [H,W,3].
    """
    colours = cv2.applyColorMap(np.uint8(255 * np.clip(scores, 0, 1)), colour_map)[..., ::-1]
    return (image * (1 - BLEND) + colours * BLEND).astype(np.uint8)


def outlines(labels):
    """bool [H,W]: the pixels with another label, 0-255, above, below, left or right of them."""
    return cv2.morphologyEx(labels.astype(np.uint8), cv2.MORPH_GRADIENT, CROSS) > 0


def nearest(labels, size):
    """Labels [h,w] at a size (H, W): row i takes row floor(i h / H), exactly, which OpenCV's and torch's do not."""
    rows, columns = (np.arange(cells) * side // cells for cells, side in zip(size, labels.shape))
    return labels[rows[:, None], columns]


def in_grid(pictures, columns):
    """Pictures uint8 [H,W,3] in lines of `columns`, on white, each in a cell of the size of the largest."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    cells = np.full((len(pictures), height, width, 3), 255, np.uint8)
    for cell, picture in zip(cells, pictures):
        cell[: picture.shape[0], : picture.shape[1]] = picture
    return make_grid(torch.from_numpy(cells).permute(0, 3, 1, 2), columns, 4, pad_value=255).permute(1, 2, 0).numpy()


def thumbnail(picture, side=THUMBNAIL):
    """A picture with its longer side at most `side`, by averaging; labels stay labels."""
    image = Image.fromarray(picture.astype(np.uint8))
    image.thumbnail((side, side), Image.Resampling.NEAREST if picture.ndim == 2 else Image.Resampling.BOX)
    return np.asarray(image)


def data_uri(picture, colours=PALETTE):
    """A picture as a data: URI: JPEG, or for labels a palette PNG with sharp edges."""
    image, kind, file = Image.fromarray(picture.astype(np.uint8)), "jpeg", io.BytesIO()
    if picture.ndim == 2:
        image.putpalette(colours.tobytes())
        kind = "png"
    image.save(file, kind, quality=80, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
