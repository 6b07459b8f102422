"""The VOC colour map and index PNGs that carry it."""

import numpy as np
from PIL import Image

from files import atomic, stamp_png


def voc_palette(n=256):
    """Return the first n colours of the VOC map, uint8 [n,3], RGB; n in 0-256.

    Bit 3j + c of the index becomes bit 7 - j of channel c, so that close indices get distant colours.
    """
    index = np.arange(n)
    palette = np.zeros((n, 3), np.uint8)
    for channel in range(3):
        for level in range(8):
            bit = (index >> (3 * level + channel)) & 1
            palette[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    return palette


def save_label_png(path, labels, stamp=""):
    """Write a label map as a palette PNG whose pixel values are the class indices.

    path: file to write or replace. A reader sees the old file or the whole new one.
    labels: integers [H,W], 0-255 (255: ignored). stamp: what it was made from, see `files`.
    Raises ValueError for another shape, a dtype that is not integer, or values outside 0-255; UserError if the file
    cannot be written.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{path}: labels must be integers [H,W], got {labels.dtype} {list(labels.shape)}")
    if labels.size and not 0 <= labels.min() <= labels.max() <= 255:
        raise ValueError(f"{path}: labels must lie in 0-255, got {labels.min()} to {labels.max()}")
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(voc_palette().tobytes())
    with atomic(path) as temporary:
        image.save(temporary, format="PNG")
        if stamp:
            stamp_png(temporary, stamp)
