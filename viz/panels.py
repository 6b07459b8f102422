"""Pictures of maps and labels in colours: arrays in, arrays out."""

import cv2
import numpy as np

from module.labels import weighted_argmax


def colour_scores(image, keys, cam, palette, background_weight):
    """Foreground scores over the greyed image, each class in its colour, and the outline of their labels in white.

    image: uint8 [H,W,3]. keys: [k], classes with background 0 first. cam: [k,H,W] in [0,1]. palette: uint8 [256,3].
    background_weight: factor on the background's score for the labels. Returns uint8 [H,W,3].
    """
    grey = image.mean(axis=2, keepdims=True)
    weight = np.clip(cam[1:], 0, 1)[..., None]
    total = np.maximum(weight.sum(axis=0), 1)  # overlapping classes share a pixel
    colour = (weight * palette[keys[1:], None, None]).sum(axis=0) / total
    picture = (grey * (1 - (weight.sum(axis=0) / total)) + colour).astype(np.uint8)
    labels = weighted_argmax(cam, background_weight)
    outline = (labels[1:, 1:] != labels[:-1, 1:]) | (labels[1:, 1:] != labels[1:, :-1])
    picture[1:, 1:][outline] = 255
    return picture


def colour_labels(labels, palette):
    """labels: integers [H,W] in 0-255, or None. Returns uint8 [H,W,3], or None for None."""
    return None if labels is None else palette[labels]


def side_by_side(pictures, width, gap=4):
    """Pictures of one size, uint8 [H,W,3], in a row with white gaps between them, shrunk to at most `width` pixels."""
    white = np.full((len(pictures[0]), gap, 3), 255, np.uint8)
    row = np.hstack([part for picture in pictures for part in (white, picture)][1:])
    factor = width / row.shape[1]
    return (
        row if factor >= 1 else cv2.resize(row, (width, max(1, round(len(row) * factor))), interpolation=cv2.INTER_AREA)
    )


def over_image(image, labels, palette, strength=0.65):
    """Labels of a coarse grid as blocks of their colour over the greyed image; the background stays grey.

    image: uint8 [H,W,3]. labels: [h,w], 255 where there is none. Returns uint8 [H,W,3].
    """
    rows, columns = (np.arange(side) * cells // side for side, cells in zip(image.shape, labels.shape))
    labels = labels[rows[:, None], columns]
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    shown = ((labels > 0) & (labels != 255))[..., None]
    return np.where(shown, strength * palette[labels] + (1 - strength) * grey, grey).astype(np.uint8)
