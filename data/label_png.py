"""Label maps on disk: PNGs whose pixel values are the class numbers, shown in VOC's colours.

NumPy is imported where an array is needed: a stage that finds all done needs none.
"""

import os

from PIL import Image

from conventions import BACKGROUND, IGNORE
from data.image import open_image
from errors import UserError
from files import atomic, stamp_png

LOOKED_AT = 200  # labels of a list
COCO_CLASSES, COCO_CATEGORIES = 81, 90  # with the background; the largest ID of its 80 categories


def voc_palette(n=256):
    """Return the first n colours of the VOC map, uint8 [n,3], RGB; n in 0-256.

    Bit 3j + c of the index becomes bit 7 - j of channel c, so that close indices get distant colours.
    """
    import numpy as np

    bits = np.unpackbits(np.arange(n, dtype=np.uint8)[:, None], axis=1, count=9, bitorder="little")
    return np.packbits(bits.reshape(n, 3, 3), axis=1)[:, 0]  # of [n,j,c] over j, padded with zeros


def save_label_png(path, labels, stamp=""):
    """Write a label map as a palette PNG whose pixel values are the class numbers.

    path: file to write or replace. A reader sees the old file or the whole new one.
    labels: integers [H,W], 0-255 (IGNORE: not counted). stamp: what it was made from, see `files`.
    Raises ValueError for another shape, a dtype that is not integer, or values outside 0-255; UserError if the file
    cannot be written.
    """
    import numpy as np

    labels = np.asarray(labels)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{path}: labels must be integers [H,W], got {labels.dtype} {list(labels.shape)}")
    if labels.size and not 0 <= labels.min() <= labels.max() <= IGNORE:
        raise ValueError(f"{path}: labels must lie in 0-{IGNORE}, got {labels.min()} to {labels.max()}")
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(voc_palette().tobytes())
    with atomic(path) as temporary:
        image.save(temporary, format="PNG")
        if stamp:
            stamp_png(temporary, stamp)


def read_label_png(path):
    """An index PNG (palette or grey) as uint8 [H,W]. Raises UserError if it is missing, damaged or of another kind."""
    import numpy as np

    if not os.path.exists(path):
        raise UserError(f"{path}: no such label image")
    with open_image(path, ("PNG",), "a PNG") as image:
        if image.mode not in ("P", "L"):
            raise UserError(f"{path}: is an image of mode {image.mode}: labels must be an index PNG (mode P or L)")
        return np.array(image)


def read_labels(path, n_classes, size):
    """As `read_label_png`, of labels that a stage made. Raises UserError if they do not fit image or classes."""
    try:
        labels = read_label_png(path)
        check_labels_fit(path, labels.shape, top_class(labels), n_classes, size)
    except UserError as error:
        raise UserError(f"{error}: delete it and run the stage that makes it again") from error
    return labels


def describe_shares(name, folder, ids, setting):
    """One line on what labels hold, and how to fix it where most of them hold no background, or nothing else.

    name: of the labels, in the line. folder: of the files ID.png; of many, LOOKED_AT spread over the IDs are read, and
    those that another process has yet to write are left out. setting: the factor on the background's score.
    """
    import numpy as np

    paths = [folder / f"{image_id}.png" for image_id in ids[:: -(-len(ids) // LOOKED_AT) or 1]]
    found = [read_label_png(path) for path in paths if path.exists()]
    if not found:
        return f"{name}: none"
    background, unsure = (np.array([(labels == value).mean() for labels in found]) for value in (BACKGROUND, IGNORE))
    classes = 1 - background.mean() - unsure.mean()
    line = (
        f"{name}: background {background.mean():.0%}, classes {classes:.0%}, not counted {unsure.mean():.0%} of the "
        f"pixels of {len(found)} images"
    )
    if (bare := (background == 0).sum()) > len(found) / 2:
        return f"{line}; {bare} have no background at all: raise {setting}, or train AE-SIPE for fewer epochs"
    if (empty := (background + unsure == 1).sum()) > len(found) / 2:
        return f"{line}; {empty} have no class at all: lower {setting}, or train AE-SIPE for more epochs"
    return line


def check_labels_fit(path, shape, top, n_classes, size):
    """Raises UserError unless a label map has its image's size and no value between the classes and IGNORE.

    shape, size: (H, W) of the label map and of the image. top: the map's `top_class`.
    """
    if tuple(shape) != tuple(size):
        raise UserError(f"{path}: is {shape[1]} x {shape[0]} pixels (width x height), its image {size[1]} x {size[0]}")
    if top >= n_classes:
        raw = n_classes == COCO_CLASSES and top <= COCO_CATEGORIES
        hint = ": IDs of COCO's categories, 1 to 90, are no classes: they are shifted from `stop sign` on" * raw
        raise UserError(
            f"{path}: holds the value {top}, but classes are 0 to {n_classes - 1} and {IGNORE} is ignored{hint}"
        )


def top_class(labels):
    """The largest value of a label map that is not IGNORE, 0 if there is none."""
    return int(labels.max(where=labels != IGNORE, initial=0))
