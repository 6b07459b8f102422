"""Masks of VOC (palette PNG) and SBD (.mat) -> index PNGs with the VOC palette."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from conventions import BACKGROUND, IGNORE
from data.image import image_size
from data.label_png import read_label_png, save_label_png
from errors import UserError
from voc12.classes import CLASS_NAMES
from voc12.matlab import read_sbd


class MaskJob(NamedTuple):
    """One mask to be made. official: VOC's own, which replaces another one that is there already."""

    image_id: str
    source: Path
    image: Path
    out: Path
    official: bool


class MadeMask(NamedTuple):
    image_id: str
    classes: frozenset  # indices in the mask, without BACKGROUND and IGNORE
    size: tuple  # (H, W)


def make_mask(job):
    """Check a mask against its image and write it, unless it is there. Returns a MadeMask; raises UserError."""
    kept = job.out.exists() and not job.official
    path = job.out if kept else job.source
    labels = read_mask(path)
    size = image_size(job.image)
    if labels.shape != size:
        raise UserError(
            f"{path}: is {labels.shape[1]} x {labels.shape[0]}, but its image {job.image} is {size[1]} x "
            f"{size[0]}: replace the one that is wrong"
        )
    values = np.unique(labels)
    wrong = [value for value in values if value >= len(CLASS_NAMES) and value != IGNORE]
    if wrong:
        raise UserError(f"{path}: holds label {wrong[0]}, which is none of VOC's classes (0-20, {IGNORE}): replace it")
    if not kept and not (job.out.exists() and np.array_equal(read_mask(job.out), labels)):
        save_label_png(job.out, labels)
    return MadeMask(job.image_id, frozenset(int(v) for v in values if v not in (BACKGROUND, IGNORE)), size)


def read_mask(path):
    """Labels uint8 [H,W] of an index PNG or of SBD's .mat."""
    return read_sbd(path) if path.suffix == ".mat" else read_label_png(path)
