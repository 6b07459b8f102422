"""Masks of VOC (palette PNG) and SBD (.mat) -> index PNGs with the VOC palette."""

from typing import NamedTuple

import numpy as np

from conventions import BACKGROUND, IGNORE
from data.image import image_size
from data.label_png import check_labels_fit, read_label_png, save_label_png, top_class
from voc12.classes import CLASS_NAMES
from voc12.matlab import read_sbd


class MadeMask(NamedTuple):
    image_id: str
    classes: frozenset  # indices in the mask, without BACKGROUND and IGNORE
    size: tuple  # (H, W)


def make_mask(voc, out, sources, image_id):
    """Check a mask against its image and write OUT/ID.png, unless it is there; VOC's own replaces another one that is.

    voc: the tree VOCdevkit/VOC2012. sources: {ID: file of its mask}. Returns a MadeMask; raises UserError.
    """
    target, source = out / f"{image_id}.png", sources[image_id]
    kept = target.exists() and source.parent != voc / "SegmentationClass"
    path = target if kept else source
    labels, size = read_mask(path), image_size(voc / "JPEGImages" / f"{image_id}.jpg")
    check_labels_fit(path, labels.shape, top_class(labels), len(CLASS_NAMES), size)
    if not kept and not (target.exists() and np.array_equal(read_mask(target), labels)):
        save_label_png(target, labels)
    return MadeMask(image_id, frozenset(np.unique(labels).tolist()) - {BACKGROUND, IGNORE}, size)


def read_mask(path):
    """Labels uint8 [H,W] of an index PNG or of SBD's .mat."""
    return read_sbd(path) if path.suffix == ".mat" else read_label_png(path)
