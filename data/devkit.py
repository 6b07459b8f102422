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

from data.image import open_image, orientation, save_jpeg
from data.label_png import check_labels_fit, read_label_png, save_label_png, top_class
from errors import UserError
from files import atomic, save_lines

VOC = "VOCdevkit/VOC2012"
PSEUDO, TRUTH = "pseudo labels", "the dataset's masks"


def write_devkit(out, layout, folder, for_each):
    """Write the tree to the folder `out`, which gets its name when all of it is there.

    layout: `data.dataset.Dataset`. folder: holds the pseudo labels, ID.png. for_each: function (function, items) that
    yields function(item) for every item, in any order.
    Returns ({list: (what its masks are, number of images)}, {list: why it is left out}). Raises UserError if out
    exists, no list has pseudo labels, or a label does not fit its image or classes.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists: name a folder that is not there yet by --out")
    lists = {name: layout.ids(name) for name in layout.lists()}
    kinds = {name: masks_of(layout, folder, ids) for name, ids in lists.items()}
    if PSEUDO not in kinds.values():
        raise UserError(
            f"{folder}: no list of {layout.root} has pseudo labels of all its images: run make_seg_labels.py first"
        )
    left_out = {name: kinds.pop(name) for name in lists if kinds[name] not in (PSEUDO, TRUTH)}
    if {"train", "val"} <= kinds.keys() and "trainval" not in lists:  # VOC's readers know these three
        lists["trainval"] = list(dict.fromkeys(lists["train"] + lists["val"]))
        kinds["trainval"] = "the masks of train and val"
    with atomic(out) as temporary:
        _write_tree(temporary / VOC, layout, folder, {name: lists[name] for name in kinds}, for_each)
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
    for name in ("JPEGImages", "SegmentationClass", "SegmentationClassAug"):
        (root / name).mkdir(parents=True)
    for name, ids in lists.items():
        save_lines(root / "ImageSets/Segmentation" / f"{name}.txt", ids)
    save_lines(root / "classes.txt", layout.class_names)
    ids = list(dict.fromkeys(image_id for each in lists.values() for image_id in each))
    for _ in for_each(partial(write_pair, root, layout, folder), ids):
        pass


def write_pair(root, layout, folder, image_id):
    """Write one image and its mask, twice by a link."""
    pseudo = folder / f"{image_id}.png"
    path = pseudo if pseudo.exists() else layout.mask_path(image_id)
    labels = read_label_png(path)
    check_labels_fit(path, labels.shape, top_class(labels), layout.n_classes, layout.size(image_id))
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
    pixels = np.ascontiguousarray(layout.image(image_id).permute(1, 2, 0).numpy())
    save_jpeg(out, Image.fromarray(pixels), quality=95, subsampling=0)


def link(source, out):
    """A hard link, or a copy where there cannot be one, as between two disks."""
    try:
        os.link(source, out)
    except OSError:
        shutil.copyfile(source, out)
