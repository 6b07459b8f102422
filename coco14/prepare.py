"""COCO 2014 from official folders, archives or a download -> the layout of `data.layout`; the protocol: docs/coco.md.

    lists/train.txt  val.txt            images with at least one object that is no crowd; train_aug.txt is train.txt
    lists/train_all.txt  val_all.txt    all of them
    lists/train_no_objects.txt  val_no_objects.txt      what is in the second and not in the first
    lists/train_few.txt                some 500 of train, evenly spread, for what is to be timed
    label_report.txt  class_report.txt  images whose labels and masks disagree; images and pixels of each class

Lists, classes and labels are written last.
"""

import re
from collections import Counter
from functools import partial
from pathlib import Path

from coco14.classes import CATEGORIES, CLASS_NAMES, CLASSES_AN_IMAGE, COUNTS, EVERY, FEW
from coco14.masks import Subject, make_mask
from coco14.sources import SOURCES
from conventions import IGNORE
from data.coco_json import read_instances
from data.layout import save_texts
from data.object_masks import import_pycocotools
from data.official import check_count, differences, in_one_line, is_done, link_images, own_folder
from data.sources import GB, check_space, missing_bytes, require
from errors import UserError
from files import save_lines
from tool.json_file import load_json, save_json
from tool.parallel import parallel_map

SPLITS = ("train", "val")
MASKS = GB  # bytes of 123,287 masks, two blocks of 4 KiB each
TEXTS = GB // 20
# What a run leaves, bytes an image of train: its maps (2.87 classes and the background at 640 x 480, compressed as
# photographs' in docs/benchmarks.md), and labels for IRN and DeepLab.
CAMS = {16: 1_620_000, 8: 520_000}
LABELS = 2 * 8192


def prepare_coco14(settings):
    """Make the data set, or what is missing of it. settings: of prepare_dataset.py. Raises UserError."""
    root, way = Path(settings.dataset_root), {"overlap": settings.overlap, "crowd": settings.crowd}
    with in_one_line(root):
        if not is_done(root, ("train_aug", "train", "val"), load_json(root / "prepared.json"), way):
            _make(root, settings, way)


def _make(root, settings, way):
    """Nothing is made before the annotations have been read and found right, and there is room for all of it."""
    import_pycocotools()
    needed = MASKS + TEXTS + sum(missing_bytes(source, settings) for source in SOURCES.values())
    free = check_space(root, needed, "COCO's archives, images and masks")
    print(run_needs(COUNTS["train"], free - needed))
    annotations = require(SOURCES["annotations"], settings)
    files = {split: annotations / f"instances_{split}2014.json" for split in SPLITS}
    contents = {split: read_instances(path) for split, path in files.items()}
    for split, path in files.items():
        _check_official(path, split, contents[split])
    trees = {split: require(SOURCES[split], settings) for split in SPLITS}
    subjects = {split: _subjects(trees[split], contents.pop(split), settings.check_counts) for split in SPLITS}
    lists = _lists(subjects)
    counts = COUNTS if settings.check_counts else {}
    for split in SPLITS:
        check_count(f"{split}_all", lists[f"{split}_all"], counts, [trees[split], annotations])
        check_count(split, lists[split], counts, [annotations])
    together = subjects["train"] | subjects["val"]
    make = partial(make_mask, own_folder(root / "SegmentationClassAug"), together, way["overlap"], way["crowd"])
    masks = {made.image_id: made for made in parallel_map(make, [*together], settings.num_workers, "dataset: masks")}
    for split in SPLITS:
        link_images(root, trees[split], [*subjects[split]])
    labels = {image_id: together[image_id].names for image_id in together}
    differing = {key: differences(labels[key], masks[key].names, CLASS_NAMES) for key in together}
    report = [f"{image_id}: {'; '.join(parts)}" for image_id, parts in differing.items() if parts]
    save_lines(root / "label_report.txt", report)
    save_lines(root / "class_report.txt", class_report(subjects, masks))
    print(f"{len(report)} of {len(masks)} images have labels and masks that disagree: {root / 'label_report.txt'}")
    for split in SPLITS:
        print(_said(split, subjects[split]))
    save_json(root / "prepared.json", way)
    save_texts(root, CLASS_NAMES, lists, labels)


def _check_official(path, split, content):
    """Raises UserError unless categories and names of images are COCO's own."""
    for category, name in content.categories.items():
        if CATEGORIES.get(category) != name:
            raise UserError(
                f"{path}: category {category} is {name!r}, in COCO 2014 {CATEGORIES.get(category, 'there is none')}: "
                "take the official file (other sets in COCO's format: --kind folder --labels_from coco)"
            )
    name = re.compile(rf"COCO_{split}2014_\d{{12}}\.jpg")
    wrong = next((each for each in content.images.values() if not name.fullmatch(each.file_name)), None)
    if wrong is not None:
        raise UserError(f"{path}: {wrong.file_name!r} has the name of no image of {split}2014: take the official file")
    names = Counter(each.file_name for each in content.images.values())
    twice = next((each for each, times in names.items() if times > 1), None)
    if twice is not None:
        raise UserError(f"{path}: two of its images are {twice}: take the official file")


def _subjects(tree, content, complete):
    """{ID: Subject} in order of the IDs. Images that are not in the tree are refused, or left out of one that is not
    said to be complete."""
    there = {path.name for path in tree.iterdir()}
    missing = [each.file_name for each in content.images.values() if each.file_name not in there]
    if missing and complete:
        raise UserError(
            f"{tree}: lacks {len(missing)} of its {len(content.images)} images, such as {missing[0]}: extract the "
            "archive again (--no-check_counts takes a part of them)"
        )
    found = {
        entry.file_name.removesuffix(".jpg"): Subject(tree / entry.file_name, entry, content.objects[image])
        for image, entry in content.images.items()
        if entry.file_name in there
    }
    return dict(sorted(found.items()))


def _lists(subjects):
    lists = {}
    for split, images in subjects.items():
        lists[split] = [image_id for image_id, subject in images.items() if subject.names]
        lists[f"{split}_all"] = [*images]
        without = [image_id for image_id, subject in images.items() if not subject.names]
        if without:
            lists[f"{split}_no_objects"] = without
    return {"train_aug": lists["train"], FEW: lists["train"][::EVERY], **lists}


def class_report(subjects, masks):
    """Lines: a class each, with its images by label and its pixels in the masks, of each split."""
    rows = [["class", *(f"{split}: {what}" for split in subjects for what in ("images", "pixels"))]]
    images = {split: Counter(name for each in part.values() for name in each.names) for split, part in subjects.items()}
    pixels = {split: Counter() for split in subjects}
    for split, part in subjects.items():
        for image_id in part:
            pixels[split].update(masks[image_id].pixels)
    for number, name in [*enumerate(CLASS_NAMES), (IGNORE, "ignored")]:
        if name == CLASS_NAMES[0]:
            with_it = {split: sum(number in masks[key].pixels for key in part) for split, part in subjects.items()}
        else:
            with_it = {split: images[split][name] for split in subjects}
        rows.append([name, *(str(value) for split in subjects for value in (with_it[split], pixels[split][number]))])
    return ["\t".join(row) for row in rows]


def _said(split, images):
    numbers = [len(subject.names) for subject in images.values() if subject.names]
    mean = sum(numbers) / max(1, len(numbers))
    published = f" (published: {CLASSES_AN_IMAGE})" * (split == "train")
    return (
        f"{split}: {len(images)} images, {len(numbers)} with at least one class, {mean:.2f} classes in each of these"
        f"{published}; classes and pixels: class_report.txt"
    )


def run_needs(images, free):
    cams = ", ".join(f"{images * size / GB:.0f} GB with make_cam.cam_bits {bits}" for bits, size in CAMS.items())
    return (
        f"a run will need some {cams}, for each kind of map, and {images * LABELS / GB:.1f} GB for labels; "
        f"{free / GB:.0f} GB are left on the data set's disk"
    )
