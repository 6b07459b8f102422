"""Masks of VOC (palette PNG) and SBD (.mat) -> index PNGs with the VOC palette."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.io import loadmat

from errors import UserError
from voc12.classes import CLASS_NAMES
from voc12.palette import save_label_png

IGNORED = 255
DECODING = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class MaskJob(NamedTuple):
    """One mask to be made. official: VOC's own, which replaces another one that is there already."""

    image_id: str
    source: Path
    image: Path
    out: Path
    official: bool


class MadeMask(NamedTuple):
    image_id: str
    classes: frozenset  # indices in the mask, without background and 255
    size: tuple  # (H, W)


def make_mask(job):
    """Check a mask against its image and write it, unless it is there. Returns a MadeMask; raises UserError."""
    kept = job.out.exists() and not job.official
    path = job.out if kept else job.source
    labels = read_mask(path)
    size = image_size(job.image)
    if labels.shape != size:
        raise UserError(f"{path}: is {labels.shape[1]} x {labels.shape[0]}, but its image {job.image} is {size[1]} x "
                        f"{size[0]}: replace the one that is wrong")
    values = np.unique(labels)
    wrong = [value for value in values if value >= len(CLASS_NAMES) and value != IGNORED]
    if wrong:
        raise UserError(f"{path}: holds label {wrong[0]}, which is none of VOC's classes (0-20, 255): replace it")
    if not kept and not (job.out.exists() and np.array_equal(read_mask(job.out), labels)):
        save_label_png(job.out, labels)
    return MadeMask(job.image_id, frozenset(int(v) for v in values if v not in (0, IGNORED)), size)


def read_mask(path):
    """Labels uint8 [H,W] of an index PNG or of SBD's .mat."""
    return read_sbd(path) if path.suffix == ".mat" else read_index_png(path)


def read_index_png(path):
    """A palette or grey PNG as uint8 [H,W]. Raises UserError if it is none or cannot be decoded."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in ("P", "L"):
                raise UserError(f"{path}: is a {image.mode} image: masks must be index PNGs (mode P or L)")
            return np.array(image)
    except DECODING as error:
        raise UserError(f"{path}: cannot be read as a PNG mask ({error}): replace it") from error


def read_sbd(path):
    """SBD's category mask uint8 [H,W]: GTcls.Segmentation of a MATLAB file. Raises UserError if it is not that."""
    try:
        content = loadmat(path, variable_names=["GTcls"])
    except Exception as error:  # damaged files raise anything from OSError to TypeError and zlib.error
        raise UserError(f"{path}: cannot be read as a MATLAB file ({' '.join(str(error).split())}): extract "
                        "benchmark.tgz again") from error
    truth = content.get("GTcls")
    if truth is None or truth.dtype.names is None or "Segmentation" not in truth.dtype.names or truth.size != 1:
        raise UserError(f"{path}: has no struct GTcls with a field Segmentation: is it a file of SBD's folder cls?")
    labels = truth.reshape(-1)[0]["Segmentation"]
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or not labels.size or labels.dtype != np.uint8:
        raise UserError(f"{path}: GTcls.Segmentation is no uint8 array [H,W]: is it a file of SBD's folder cls?")
    return labels


def image_size(path):
    """(H, W) from the image's header. Raises UserError if there is no image or it cannot be decoded."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such image, but a list names it: is the tree complete?") from error
    except DECODING as error:
        raise UserError(f"{path}: cannot be read as an image ({error}): replace it") from error
