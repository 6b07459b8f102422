"""VOC 2012's official tree and augmented masks -> the layout of `data.layout`.

The lists are derived from the official files: train and val from ImageSets/Segmentation, train_aug from every
augmented mask that is not in val. Nothing is downloaded.
"""

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from errors import UserError
from voc12.classes import CLASS_NAMES

COUNTS = {"train": 1464, "val": 1449, "train_aug": 10582}
VOC_URL = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"


def prepare_voc12(root, voc_root=None, aug_dir=None, counts=COUNTS):
    """Write lists/, image_labels.txt and classes.txt into root and link the images and masks there.

    root: the dataset to be. voc_root: folder with JPEGImages, Annotations and ImageSets (default: root).
    aug_dir: folder of augmented masks, index PNGs (default: voc_root/SegmentationClassAug).
    Raises UserError if something is missing or a list has not its official count.
    """
    root, voc = Path(root), Path(voc_root or root)
    masks = Path(aug_dir) if aug_dir else voc / "SegmentationClassAug"
    if (root / "image_labels.txt").exists() and (root / "lists" / "train_aug.txt").exists():
        return
    for part in ("JPEGImages", "Annotations", "ImageSets/Segmentation"):
        if not (voc / part).is_dir():
            raise UserError(f"{voc / part}: missing: fetch {VOC_URL}, unpack it, and give the folder VOCdevkit/VOC2012 "
                            "by --voc_root")
    if not masks.is_dir():
        raise UserError(f"{masks}: missing: give the folder of augmented masks (SegmentationClassAug) by --aug_dir")
    lists = {name: _official_list(voc, name) for name in ("train", "val")}
    held_out = set(lists["val"])
    lists["train_aug"] = sorted({path.stem for path in masks.glob("*.png")} - held_out)
    for name, count in counts.items():
        if len(lists[name]) != count:
            raise UserError(f"{name} has {len(lists[name])} images, not {count}: are {voc} and {masks} complete?")
    labels = [f"{image_id} {' '.join(_image_labels(voc, image_id))}"
              for image_id in sorted(held_out | set(lists["train_aug"]) | set(lists["train"]))]
    _link(root / "JPEGImages", voc / "JPEGImages")
    _link(root / "SegmentationClassAug", masks)
    for name, ids in lists.items():
        _write(root / "lists" / f"{name}.txt", ids)
    _write(root / "classes.txt", CLASS_NAMES)
    _write(root / "image_labels.txt", labels)


def _official_list(voc, name):
    path = voc / "ImageSets" / "Segmentation" / f"{name}.txt"
    if not path.is_file():
        raise UserError(f"{path}: missing: is {voc} the official VOC2012 folder?")
    return path.read_text().split()


def _image_labels(voc, image_id):
    """Classes of the objects in the annotation, difficult ones too, in the order of the classes."""
    path = voc / "Annotations" / f"{image_id}.xml"
    try:
        names = {element.text for element in ElementTree.parse(path).getroot().findall("object/name")}
    except (OSError, ElementTree.ParseError) as error:
        raise UserError(f"{path}: cannot be read as an annotation: {error}") from error
    unknown = names - set(CLASS_NAMES[1:])
    if unknown:
        raise UserError(f"{path}: class {sorted(unknown)[0]!r} is none of VOC's 20")
    return [name for name in CLASS_NAMES[1:] if name in names]


def _link(link, folder):
    if link.exists():
        return
    if link.is_symlink():
        raise UserError(f"{link}: points to {os.readlink(link)}, which is gone: delete the link")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(folder.resolve(), target_is_directory=True)


def _write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(f"{line}\n" for line in lines))
    temporary.replace(path)
