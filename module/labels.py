"""From maps to labels: argmax with a weight on the background, and the labels that train IRN."""

import numpy as np
import torch
import torch.nn.functional as F

from conventions import IGNORE

MAX_ELEMENTS = 1 << 24  # of the scores held at the labels' size: 64 MiB


def weighted_argmax(cam, background_weight=1.0):
    """Argmax over the channels after the background's score is multiplied by a weight (the paper's 0.8).

    cam: [k,H,W], channel 0 the background. Returns int64 [H,W] of channel numbers; a tie goes to the background.
    """
    if len(cam) == 1:
        return np.zeros(cam.shape[1:], np.int64)
    foreground = cam[1:]
    return np.where(foreground.max(axis=0) > background_weight * cam[0], foreground.argmax(axis=0) + 1, 0)


def labels_at_size(scores, size, background_weight=1.0, max_elements=MAX_ELEMENTS):
    """Argmax of scores resized bilinearly to a size at which they would not fit into memory all at once.

    scores: float32 [k,h,w], channel 0 the background. size: (H, W). background_weight: see `weighted_argmax`.
    max_elements: bound on the elements of the resized scores held at a time. Returns uint8 [H,W] of channel numbers.
    """
    scores = torch.from_numpy(np.ascontiguousarray(scores))
    k, h, _w = scores.shape
    height, width = size
    rows = max(1, max_elements // (k * width))
    labels = np.empty(size, np.uint8)
    for start in range(0, height, rows):
        y = ((torch.arange(start, min(start + rows, height)) + 0.5) * (h / height) - 0.5).clamp(0, h - 1)
        above = y.long()
        strip = torch.lerp(scores[:, above], scores[:, (above + 1).clamp(max=h - 1)], (y - above)[:, None])
        strip = F.interpolate(strip[None], (len(y), width), mode="bilinear", align_corners=False)[0]
        labels[start : start + rows] = weighted_argmax(strip.numpy(), background_weight)
    return labels


def ir_labels(confident_foreground, confident_background):
    """Labels for IRN from two label maps [H,W] (Ahn et al., CVPR 2019).

    Foreground where the first is foreground; background where both are background; 255 elsewhere.
    """
    unsure = np.where(confident_background > 0, IGNORE, 0)
    return np.where(confident_foreground > 0, confident_foreground, unsure)
