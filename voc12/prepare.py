"""VOC 2012 from official trees, archives or a download -> the layout of `data.layout`.

The lists are derived from the official files: train, val and test from ImageSets/Segmentation, train_aug from SBD's
train and val united with VOC's train, without VOC's val. Lists, classes and labels are written last.
"""

from functools import partial
from pathlib import Path

from data.image import image_size
from data.layout import read_class_names, save_texts
from data.official import check_count, in_one_line, is_done, link_images, own_folder
from data.sources import locate, require
from errors import UserError
from files import save_lines
from tool.json_file import load_json, save_json
from tool.parallel import parallel_map
from voc12.annotations import disagreements, is_voc_id, read_annotation, read_list
from voc12.classes import CLASS_NAMES, COUNTS
from voc12.masks import make_mask
from voc12.sources import SOURCES

LISTS = ("train", "val", "train_aug")


def prepare_voc12(settings):
    """Make the data set, or what is missing of it. settings: of prepare_dataset.py. Raises UserError."""
    root = Path(settings.dataset_root)
    counts = COUNTS if settings.check_counts else {}
    way = {"skip_difficult": settings.skip_difficult}
    with in_one_line(root):
        if is_done(root, LISTS, load_json(root / "prepared.json"), way):
            _check_done(root, settings)
        else:
            _make_trainval(root, settings, counts)
        if not (root / "lists/test.txt").exists():
            _make_test(root, settings, counts)


def _check_done(root, settings):
    """Print which folders are not read since the set is complete. Raises UserError if it is no set of VOC's."""
    path = root / "classes.txt"
    if tuple(read_class_names(path)) != CLASS_NAMES:
        raise UserError(
            f"{path}: holds other classes than VOC's: give another --dataset_root, or the --kind of this set"
        )
    names = ("voc_root", "aug_dir", *["sources"] * (root / "lists/test.txt").exists())  # without it they are searched
    if unread := [f"--{name}" for name in names if getattr(settings, name)]:
        print(f"{root}: not read since the set is complete: {', '.join(unread)}")


def _make_trainval(root, settings, counts):
    """Everything but the test list. Nothing is made before the official text has been read and found right."""
    voc = Path(settings.voc_root) if settings.voc_root else require(SOURCES["voc"], settings)
    lists, masks = _lists_and_masks(voc, settings)
    for name in LISTS:
        check_count(name, lists[name], counts, [voc, *sorted({path.parent for path in masks.values()})])
    ids = sorted({image_id for each in lists.values() for image_id in each})
    annotations = {
        image_id: read_annotation(voc / "Annotations" / f"{image_id}.xml", settings.skip_difficult) for image_id in ids
    }
    make = partial(make_mask, voc, own_folder(root / "SegmentationClassAug"), masks)
    report = disagreements(annotations, parallel_map(make, ids, settings.num_workers, "dataset: masks"))
    link_images(root, voc / "JPEGImages", ids)
    save_lines(root / "label_report.txt", report)
    print(f"{len(report)} of {len(ids)} images have labels and masks that disagree: {root / 'label_report.txt'}")
    save_json(root / "prepared.json", {"skip_difficult": settings.skip_difficult})
    save_texts(root, CLASS_NAMES, lists, {image_id: annotations[image_id].names for image_id in ids})


def _lists_and_masks(voc, settings):
    """The lists, and the file that each image's mask is read from. VOC's own mask goes before SBD's or aug_dir's."""
    lists = {name: read_list(voc / "ImageSets" / "Segmentation" / f"{name}.txt") for name in ("train", "val")}
    listed = {*lists["train"], *lists["val"]}
    augmented = _augmented_masks(voc, settings)
    lists["train_aug"] = sorted({*augmented, *lists["train"]} - {*lists["val"]})
    masks = dict(augmented)
    for image_id in sorted({*augmented, *listed}):
        own = voc / "SegmentationClass" / f"{image_id}.png"
        if own.exists():
            masks[image_id] = own
        # SBD's outlines differ from VOC's: an official list must not be scored on them because a file is missing.
        elif image_id not in augmented or (image_id in listed and augmented[image_id].suffix == ".mat"):
            raise UserError(f"{own}: missing, but an official list names it: is the tree complete?")
    return lists, masks


def _augmented_masks(voc, settings):
    """ID -> file, from aug_dir, or else SBD, or else a folder of masks in VOC's tree, or else SBD downloaded."""
    aug_dir = settings.aug_dir
    sbd = None if aug_dir else locate(SOURCES["sbd"], settings)
    if sbd is None and not aug_dir and (voc / "SegmentationClassAug").is_dir():
        aug_dir = voc / "SegmentationClassAug"
    if aug_dir:
        folder = Path(aug_dir).resolve()
        if not folder.is_dir():
            raise UserError(f"{aug_dir}: missing: give the folder of augmented masks by --aug_dir, or SBD by --sources")
        masks = {path.stem: path for path in folder.glob("[!.]*.png")}
        wrong = next((image_id for image_id in masks if not is_voc_id(image_id)), None)
        if wrong is not None:
            raise UserError(f"{folder}: {wrong!r}.png has the name of no image of VOC: take it out")
        return masks
    sbd = sbd or require(SOURCES["sbd"], settings)
    return {
        image_id: sbd / "cls" / f"{image_id}.mat"
        for name in ("train", "val")
        for image_id in read_list(sbd / f"{name}.txt")
    }


def _make_test(root, settings, counts):
    """lists/test.txt and the images it names, if there is a test tree or archive."""
    voc = locate(SOURCES["test"], settings)
    if voc is None:
        return
    ids = read_list(voc / "ImageSets" / "Segmentation" / "test.txt")
    check_count("test", ids, counts, [voc])
    for image_id in ids:
        image_size(voc / "JPEGImages" / f"{image_id}.jpg")
    link_images(root, voc / "JPEGImages", ids)
    save_lines(root / "lists/test.txt", ids)
