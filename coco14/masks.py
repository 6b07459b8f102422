"""COCO's objects -> index PNGs of 81 classes with the VOC palette."""

from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from coco14.classes import CLASS_NAMES, CLASSES
from conventions import BACKGROUND, IGNORE
from data.image import image_size, open_image, orientation
from data.label_png import check_labels_fit, read_label_png, save_label_png, top_class
from data.object_masks import draw_mask, mask_stamp
from errors import UserError
from files import read_stamp


class Subject(NamedTuple):
    """An image to be labelled. path: its file. entry: `data.coco_json.ImageEntry`. objects: its ObjectEntries."""

    path: object
    entry: tuple
    objects: list

    @property
    def names(self):
        """Its image labels: the classes of the objects that are no crowds, in the order of the classes."""
        present = {CLASSES[each.category] for each in self.objects if not each.crowd}
        return tuple(CLASS_NAMES[number] for number in sorted(present))


class MadeMask(NamedTuple):
    """pixels: {class: how many}, IGNORE among them."""

    image_id: str
    pixels: dict

    @property
    def names(self):
        return tuple(CLASS_NAMES[number] for number in sorted(self.pixels) if number not in (BACKGROUND, IGNORE))


def make_mask(out, subjects, overlap, crowd, image_id):
    """Write OUT/ID.png, unless it is there and was made from the same objects in the same way.

    subjects: {ID: Subject}. overlap, crowd: as `data.object_masks.draw_mask` takes them. Returns a MadeMask. Raises
    UserError for what cannot be drawn, for an image of another size, and for a mask of someone else's that differs.
    """
    target, subject = out / f"{image_id}.png", subjects[image_id]
    size = image_size(subject.path)
    drawn_size = subject.entry.size or size
    stamp = mask_stamp(subject.objects, CLASSES, (drawn_size, size), overlap, crowd)
    known = read_stamp(target)
    if known == stamp:
        labels = read_label_png(target)
    else:
        try:
            labels = draw_mask(subject.objects, CLASSES, drawn_size, overlap, crowd)
        except UserError as error:
            raise UserError(f"{subject.path.name}: {error}: replace the annotations by the official ones") from error
        labels = turn(labels, subject.path, size)
        if known == "":
            _check_same(target, labels)
        save_label_png(target, labels, stamp)
    counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)
    return MadeMask(image_id, {int(number): int(counts[number]) for number in counts.nonzero()[0]})


def turn(labels, path, size):
    """A mask of the pixels as they are stored, as the image is read: turned as EXIF says. size: (H, W) of the image."""
    if labels.shape == size:
        return labels
    mask = Image.fromarray(labels)
    with open_image(path) as picture:
        mask.getexif()[ExifTags.Base.Orientation] = orientation(picture)
    turned = np.array(ImageOps.exif_transpose(mask))
    if turned.shape != size:
        raise UserError(
            f"{path}: is {size[1]} x {size[0]}, its annotation says {labels.shape[1]} x {labels.shape[0]}: replace the "
            "image by the official one"
        )
    return turned


def _check_same(path, labels):
    """Raises UserError unless a mask that others made holds the same labels."""
    theirs = read_label_png(path)
    check_labels_fit(path, theirs.shape, top_class(theirs), len(CLASS_NAMES), labels.shape)
    if not np.array_equal(theirs, labels):
        raise UserError(f"{path}: is not what the annotations give: move it away to have it made, or its folder")
