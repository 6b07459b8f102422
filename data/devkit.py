"""Pseudo labels as a tree that readers of VOC's devkit take.

An image has one mask: the pseudo label if the run made one, else the dataset's own mask. So a list is written if all of
its images have pseudo labels, to train on, or if none has and all have masks, to validate on; a list that mixes the two
is left out. SegmentationClassAug holds the same files again, since readers of VOC's larger list ask for that name.
"""

import os
import shutil
from functools import partial

import numpy as np
from PIL import Image

from conventions import IGNORE
from data.image import open_image, orientation
from data.label_png import read_label_png, save_label_png
from errors import UserError
from files import atomic

VOC = "VOCdevkit/VOC2012"
PSEUDO, TRUTH = "pseudo labels", "the dataset's masks"


def write_devkit(out, layout, folder, for_each):
    """Write the tree to the folder `out`, which gets its name when all of it is there.

    layout: `data.layout.Layout`. folder: holds the pseudo labels, ID.png. for_each: function (function, items) that
    yields function(item) for every item, in any order.
    Returns ({list: (what its masks are, number of images)}, {list: why it is left out}). Raises UserError if out
    exists, no list has pseudo labels, or a label does not fit its image or classes.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists: name a folder that is not there yet by --out")
    lists, kinds = {}, {}
    for name in sorted(path.stem for path in (layout.root / "lists").glob("*.txt")):
        lists[name] = layout.ids(name)
        kinds[name] = masks_of(layout, folder, lists[name])
    if PSEUDO not in kinds.values():
        raise UserError(
            f"{folder}: no list of {layout.root} has pseudo labels of all its images: run make_seg_labels.py first"
        )
    left_out = {name: kinds.pop(name) for name in lists if kinds[name] not in (PSEUDO, TRUTH)}
    if {"train", "val"} <= kinds.keys() and "trainval" not in lists:  # VOC's readers know these three
        lists["trainval"] = list(dict.fromkeys(lists["train"] + lists["val"]))
        kinds["trainval"] = "the masks of train and val"
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        _write_tree(temporary / VOC, layout, folder, {name: lists[name] for name in kinds}, for_each)
        os.replace(temporary, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return {name: (kind, len(lists[name])) for name, kind in kinds.items()}, left_out


def masks_of(layout, folder, ids):
    """PSEUDO or TRUTH, or why a list of images can have neither."""
    pseudo = sum((folder / f"{image_id}.png").exists() for image_id in ids)
    if pseudo == len(ids):
        return PSEUDO
    if pseudo:
        return f"only {pseudo} of its {len(ids)} images have pseudo labels"
    lacking = sum(not layout.has_mask(image_id) for image_id in ids)
    return f"{lacking} of its {len(ids)} images have no mask" if lacking else TRUTH


def _write_tree(root, layout, folder, lists, for_each):
    for name in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for name, ids in lists.items():
        text = "".join(f"{image_id}\n" for image_id in ids)
        (root / "ImageSets/Segmentation" / f"{name}.txt").write_text(text, encoding="utf-8")
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in layout.class_names), encoding="utf-8")
    ids = list(dict.fromkeys(image_id for each in lists.values() for image_id in each))
    layout.files()  # one listing, before the processes ask for it
    for _ in for_each(partial(write_pair, root, layout, folder), ids):
        pass


def write_pair(root, layout, folder, image_id):
    """Write one image and its mask, twice by a link."""
    path = folder / f"{image_id}.png"
    labels = read_label_png(path) if path.exists() else layout.mask(image_id)
    if labels.shape != layout.size(image_id):
        raise UserError(f"{image_id}: its labels are {list(labels.shape)}, its image {list(layout.size(image_id))}")
    wrong = labels[(labels >= layout.n_classes) & (labels != IGNORE)]
    if wrong.size:
        raise UserError(f"{image_id}: its labels hold {wrong[0]}, but there are {layout.n_classes} classes")
    mask = root / "SegmentationClass" / f"{image_id}.png"
    save_label_png(mask, labels)
    link(mask, root / "SegmentationClassAug" / mask.name)
    write_jpeg(layout, image_id, root / "JPEGImages" / f"{image_id}.jpg")


def write_jpeg(layout, image_id, out):
    """Link the image's file if every reader takes it as it is, else decode it: readers differ about EXIF's orientation,
    16 bits and CMYK."""
    source = layout.path(image_id)
    with open_image(source) as picture:
        plain = picture.format == "JPEG" and picture.mode in ("L", "RGB") and orientation(picture) in (None, 1)
    if plain:
        link(source.resolve(), out)
        return
    with atomic(out) as temporary:
        pixels = np.ascontiguousarray(layout.image(image_id).permute(1, 2, 0).numpy())
        Image.fromarray(pixels).save(temporary, format="JPEG", quality=95, subsampling=0)


def link(source, out):
    """A hard link, or a copy where there cannot be one, as between two disks."""
    try:
        os.link(source, out)
    except OSError:
        shutil.copyfile(source, out)
