"""From maps to labels: argmax with a weight on the background, and the labels that train IRN."""

import numpy as np

IGNORE = 255


def weighted_argmax(cam, background_weight=1.0):
    """Argmax over the channels after the background's score is multiplied by a weight (the paper's 0.8).

    cam: [k,H,W], channel 0 the background. Returns int64 [H,W] of channel numbers; a tie goes to the background.
    """
    if len(cam) == 1:
        return np.zeros(cam.shape[1:], np.int64)
    foreground = cam[1:]
    return np.where(foreground.max(axis=0) > background_weight * cam[0], foreground.argmax(axis=0) + 1, 0)


def ir_labels(confident_foreground, confident_background):
    """Labels for IRN from two label maps [H,W] (Ahn et al., CVPR 2019).

    Foreground where the first is foreground; background where both are background; 255 elsewhere.
    """
    unsure = np.where(confident_background > 0, IGNORE, 0)
    return np.where(confident_foreground > 0, confident_foreground, unsure)
