"""VOC 2012 from official trees, archives or a download -> the layout of `data.layout`.

The lists are derived from the official files: train, val and test from ImageSets/Segmentation, train_aug from SBD's
train and val united with VOC's train, without VOC's val. Lists, classes and labels are written last.
"""

from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from data.image import image_size
from errors import UserError
from files import save_lines
from tool.json_file import load_json, save_json
from tool.parallel import parallel_map
from voc12.annotations import disagreements, is_voc_id, read_annotation, read_list
from voc12.classes import CLASS_NAMES, COUNTS
from voc12.masks import make_mask
from voc12.sources import locate, missing

LISTS = ("train", "val", "train_aug")


def prepare_voc12(
    root,
    sources=(),
    voc_root=None,
    aug_dir=None,
    download=False,
    mirror=None,
    skip_difficult=False,
    workers=1,
    counts=COUNTS,
):
    """Make the data set in root, or what is missing of it; the arguments are settings of prepare_dataset.py.

    counts: the length that each list must have, {} for any. Raises UserError.
    """
    root, places = Path(root), [Path(place) for place in sources]
    gone = next((place for place in places if not place.exists()), None)
    if gone is not None:
        raise UserError(f"--sources {gone}: no such folder or archive")
    try:
        if not _is_done(root, skip_difficult):
            _make_trainval(root, places, voc_root, aug_dir, (download, mirror), skip_difficult, workers, counts)
        if not _list_path(root, "test").exists():
            _make_test(root, places, counts)
    except BrokenProcessPool as error:
        raise UserError(
            f"{root}: a worker process was killed, perhaps for memory: run this again with fewer --num_workers"
        ) from error
    except OSError as error:  # a folder that may not be read or written
        raise UserError(f"{error.filename or root}: {error.strerror or error}: mend it and run this again") from error


def _is_done(root, skip_difficult):
    labels = root / "image_labels.txt"
    if not all(path.exists() for path in (labels, root / "classes.txt", *(_list_path(root, n) for n in LISTS))):
        return False
    made_with = (load_json(root / "prepared.json") or {"skip_difficult": skip_difficult})["skip_difficult"]
    if made_with != skip_difficult:
        raise UserError(
            f"{labels}: was made with skip_difficult {made_with}, not {skip_difficult}: delete it and run this again"
        )
    return True


def _make_trainval(root, places, voc_root, aug_dir, fetching, skip_difficult, workers, counts):
    """Everything but the test list. Nothing is made before the official text has been read and found right."""
    voc = Path(voc_root) if voc_root else locate("voc", root, places, *fetching)
    if voc is None:
        raise missing("voc", root, places)
    lists, masks = _lists_and_masks(root, voc, aug_dir, places, fetching)
    for name in LISTS:
        _check_count(name, lists[name], counts, [voc, *sorted({path.parent for path in masks.values()})])
    ids = sorted({*lists["train"], *lists["val"], *lists["train_aug"]})
    annotations = {
        image_id: read_annotation(voc / "Annotations" / f"{image_id}.xml", skip_difficult) for image_id in ids
    }
    make = partial(make_mask, voc, _own_folder(root / "SegmentationClassAug"), masks)
    report = disagreements(annotations, parallel_map(make, ids, workers, "masks"))
    _link_images(root, voc, ids)
    save_lines(root / "label_report.txt", report)
    print(f"{len(report)} of {len(ids)} images have labels and masks that disagree: {root / 'label_report.txt'}")
    for name in LISTS:
        save_lines(_list_path(root, name), lists[name])
    save_lines(root / "classes.txt", CLASS_NAMES)
    save_json(root / "prepared.json", {"skip_difficult": skip_difficult})
    save_lines(root / "image_labels.txt", [" ".join((image_id, *annotations[image_id].names)) for image_id in ids])


def _check_count(name, ids, counts, folders):
    if len(ids) != counts.get(name, len(ids)):
        raise UserError(
            f"{name} has {len(ids)} images, not {counts[name]}: these are not complete, or not "
            f"the official ones: {', '.join(map(str, folders))} (--no-check_counts takes a part of VOC)"
        )


def _lists_and_masks(root, voc, aug_dir, places, fetching):
    """The lists, and the file that each image's mask is read from. VOC's own mask goes before SBD's or aug_dir's."""
    lists = {name: read_list(voc / "ImageSets" / "Segmentation" / f"{name}.txt") for name in ("train", "val")}
    listed = {*lists["train"], *lists["val"]}
    augmented = _augmented_masks(root, voc, aug_dir, places, fetching)
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


def _augmented_masks(root, voc, aug_dir, places, fetching):
    """ID -> file, from aug_dir, or else SBD, or else a folder of masks in VOC's tree, or else SBD downloaded."""
    sbd = None if aug_dir else locate("sbd", root, places)
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
    sbd = sbd or locate("sbd", root, places, *fetching)
    if sbd is None:
        raise missing("sbd", root, places)
    return {
        image_id: sbd / "cls" / f"{image_id}.mat"
        for name in ("train", "val")
        for image_id in read_list(sbd / f"{name}.txt")
    }


def _make_test(root, places, counts):
    """lists/test.txt and the images it names, if there is a test tree or archive."""
    voc = locate("test", root, places)
    if voc is None:
        return
    ids = read_list(voc / "ImageSets" / "Segmentation" / "test.txt")
    _check_count("test", ids, counts, [voc])
    for image_id in ids:
        image_size(voc / "JPEGImages" / f"{image_id}.jpg")
    _link_images(root, voc, ids)
    save_lines(_list_path(root, "test"), ids)


def _link_images(root, voc, ids):
    """A link an image in root/JPEGImages, since trainval and test may lie in two trees; none where it is in place."""
    source = (voc / "JPEGImages").resolve()
    folder = _own_folder(root / "JPEGImages")
    within = source.is_relative_to(root.resolve())
    for image_id in ids:
        link = folder / f"{image_id}.jpg"
        if link.exists():
            continue
        target = Path("..") / source.relative_to(root.resolve()) if within else source  # so that root can be moved
        link.unlink(missing_ok=True)  # a link to a tree that has moved
        link.symlink_to(target / link.name)


def _own_folder(path):
    """A folder to write into; a link to someone else's gives way to it, so that nothing is written there."""
    if path.is_symlink():
        path.unlink()
    path.mkdir(parents=True, exist_ok=True)
    return path


def _list_path(root, name):
    return root / "lists" / f"{name}.txt"
