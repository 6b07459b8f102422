"""A dataset in the layout of `data.layout` from one's own images and what tells their classes.

    text      ROOT/image_labels.txt, as it is
    xml       ROOT/Annotations/ID.xml, as VOC writes them: the class of every object/name
    folders   ROOT/images_by_class/CLASS/IMAGE: the images are linked into JPEGImages; one that shows two classes lies
              in both folders, and one in the folder `background` shows none
    coco      a JSON in COCO's format (`data.collect_coco`), which gives masks too

What is missing is made: image_labels.txt, classes.txt (names in order) and, where there is no list at all, the lists.
"""

import filecmp
import os
import re
from pathlib import Path

from conventions import MAX_CLASSES
from data.collect_coco import make_masks, outlined, read_coco
from data.image import IMAGE_SUFFIXES
from data.layout import (
    FIRST_IS_BACKGROUND,
    MASK_FOLDERS,
    comma_problem,
    find_masks,
    image_files,
    is_id,
    read_class_names,
    read_ids,
    read_label_lines,
)
from data.xml_tree import parse_xml
from errors import UserError, nearest
from files import save_lines, writing

BACKGROUND = "background"
SHOWN = 5  # names in a line
HELD_OUT = 10  # every tenth image is for validation
UNFIT = re.compile(r"^$|^\s|\s$|[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # for a line between tabs in UTF-8


def collect(root, labels_from="text", overwrite=False, coco=None):
    """Write what the layout needs and root lacks; see the top of this file.

    root: folder with the images. labels_from: of SOURCES, or "coco". overwrite: replace an image_labels.txt that says
    otherwise. coco: `data.collect_coco.CocoSource`. classes.txt, lists and masks that exist are never changed. Raises
    UserError for what cannot be used, before it writes; for an outline that cannot be drawn, before labels are written.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder: --dataset_root names the folder with the images")
    found, to_draw = None, []
    if labels_from == "coco":
        found = read_coco(root, coco)
        labels, links, to_draw = found.labels, found.links, outlined(found, coco)
        _check_names(coco.annotations, found.classes, labels)
    else:
        labels, links = SOURCES[labels_from](root)
    classes = found.classes if found else sorted({name for names in labels.values() for name in names})
    texts, masks = {}, find_masks(root)
    if labels_from != "text":
        texts["image_labels.txt"] = ["\t".join((image_id, *(labels[image_id] or [""]))) for image_id in sorted(labels)]
        _check_same(root / "image_labels.txt", labels, labels_from, overwrite)
    if not (root / "classes.txt").exists():
        _check_number(root, labels_from, len(classes))
        texts["classes.txt"] = [BACKGROUND, *classes]
    else:  # a line of text that says otherwise is one image's fault, and is named where the image is used
        _check_classes(root / "classes.txt", {} if labels_from == "text" else labels, masks)
    if not list((root / "lists").glob("*.txt")):
        masked = {path.stem for path in masks.glob("*.png")} if masks else set()
        texts |= _make_lists(root, sorted(labels), masked.union(to_draw))
        _say_unlabelled(root, labels)
    else:
        _say_unlisted(root, labels)
    for link, target in links.items():
        with writing(link):
            link.parent.mkdir(parents=True, exist_ok=True)
            if link.is_symlink():  # to an image that has moved
                link.unlink()
            link.symlink_to(os.path.relpath(target, link.parent))
    if to_draw:
        names = texts.get("classes.txt") or read_class_names(root / "classes.txt")
        make_masks(masks or root / MASK_FOLDERS[0], found, coco, names, to_draw)
    for name, lines in texts.items():
        save_lines(root / name, lines)


def read_text(root):
    """({ID: classes}, {}) of image_labels.txt."""
    labels, path, folder = {}, root / "image_labels.txt", root / "JPEGImages"
    if not os.path.exists(path):
        raise UserError(
            f"{path}: is missing: write it, a line an image: its ID and its classes, tabs between; or give "
            "--labels_from folders, xml or coco"
        )
    files = image_files(folder) if folder.is_dir() else {}
    for number, image_id, names in read_label_lines(path):
        if "," in image_id and (problem := comma_problem(image_id, files)):
            raise UserError(f"{path}, line {number}: {problem}")
        _check_names(f"{path}, line {number}", names)
        if BACKGROUND in names:
            raise UserError(
                f"{path}, line {number}: `{BACKGROUND}` is in every image and no class of {image_id}: take it out; an "
                "image that shows no class has its ID alone"
            )
        labels[image_id] = names
    return labels, {}


def read_xml(root):
    """({ID: classes}, {}) of VOC's annotations, difficult objects too."""
    labels, present = {}, image_files(root / "JPEGImages")
    for path in sorted((root / "Annotations").glob("*.xml")):
        names = [(element.text or "").strip() for element in parse_xml(path).iterfind("object/name")]
        if path.stem not in present:
            raise UserError(f"{path}: there is no image {root / 'JPEGImages' / path.stem}.jpg")
        _check_names(path.parent, ids=[path.stem])
        _check_names(path, names)
        labels[path.stem] = sorted(set(names) - {BACKGROUND})
    if not labels:
        raise UserError(f"{root / 'Annotations'}: holds no annotations: ID.xml of each image is needed")
    return labels, {}


def read_folders(root):
    """({ID: classes}, {link to make in JPEGImages: its image}) of a folder per class."""
    labels, found, linked, place = {}, {}, root / "JPEGImages", root / "images_by_class"
    if not place.is_dir():
        raise UserError(f"{place}: does not exist: make it and move the class folders into it")
    folders = sorted(path for path in place.glob("[!.]*") if path.is_dir())
    if not folders:
        raise UserError(f"{place}: holds no folders: one folder a class is needed")
    _check_names(place, [folder.name for folder in folders])
    _say_unread(folders)
    for folder in [linked] * linked.is_dir() + folders:
        files = image_files(folder)
        if not files and folder != linked:
            raise UserError(f"{folder}: holds no image: each folder in images_by_class holds the images of one class")
        for image_id, names in files.items():
            for path in (folder / name for name in names):
                if folder == linked and not os.path.exists(path):  # a link to an image that has moved
                    continue
                other = found.setdefault(image_id, path)
                if path.name != other.name or not (path == other or _same_content(other, path)):
                    raise UserError(f"{other} and {path} share a name but are two images: rename one of them")
            if folder != linked:
                _check_names(folder, ids=[image_id])
                labels.setdefault(image_id, []).extend([folder.name] if folder.name != BACKGROUND else [])
    return labels, {linked / path.name: path for path in found.values() if path.parent != linked}


SOURCES = {"text": read_text, "xml": read_xml, "folders": read_folders}


def _check_names(where, classes=(), ids=()):
    """where: they are read, for the message."""
    unfit = [name for name in classes if UNFIT.search(name)]
    unfit += [image_id for image_id in ids if UNFIT.search(image_id) or not is_id(image_id)]
    if unfit:
        raise UserError(
            f"{where}: {unfit[0]!r}: an image or a class cannot have this name: it is empty or too long, has a tab, a "
            "line break or another control character, or a space at an end, or is no UTF-8: rename it"
        )


def _check_number(root, labels_from, number):
    remedy = "join classes or leave some out" if number else "at least one image must show a class"
    if not 1 <= number < MAX_CLASSES:
        raise UserError(
            f"{root}: --labels_from {labels_from} finds {number} classes besides the background, and 1 to "
            f"{MAX_CLASSES - 1} are possible: {remedy}"
        )


def _same_content(one, other):
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError as error:
        raise UserError(f"{error.filename or other}: cannot be read: {error.strerror}: fix or remove it") from error


def _check_classes(path, labels, masks):
    """masks: their folder; None without any."""
    first, *known = read_class_names(path)
    # Made anew it would be in order, and the values of masks would mean other classes.
    remedy = ": masks number the classes by its lines" if masks else ", or delete the file to have it made anew"
    for image_id, names in labels.items():
        if first in names:
            raise UserError(f"{path}: its first line, class {first!r} of image {image_id}, is {FIRST_IS_BACKGROUND}")
        if unknown := sorted(set(names).difference(known)):
            raise UserError(
                f"{path}: lacks class {unknown[0]!r} of image {image_id}{nearest(unknown[0], known)}: add it as the "
                f"last line{remedy}"
            )


def _check_same(path, labels, labels_from, overwrite):
    if path.exists() and not overwrite:
        known = {image_id: set(names) for _, image_id, names in read_label_lines(path)}
        differing = sorted(i for i in {**known, **labels} if i not in labels or known.get(i) != set(labels[i]))
        if differing:
            shown = ", ".join(differing[:SHOWN]) + ", ..." * (len(differing) > SHOWN)
            number = f"{len(differing)} image{'s' * (len(differing) > 1)}"
            raise UserError(
                f"{path}: differs from --labels_from {labels_from} for {number} ({shown}): give --overwrite "
                "(dataset.overwrite=true in the driver) to write it again, or --labels_from text to keep it"
            )


def _say_unlabelled(root, labels):
    """Print which images lie in JPEGImages and are in no list, since nothing tells their classes."""
    folder = root / "JPEGImages"  # links are made later
    present = image_files(folder) if folder.is_dir() else {}
    if without := sorted(present.keys() - labels.keys()):
        more = f" and {len(without) - SHOWN} more" if len(without) > SHOWN else ""
        print(f"{root}: without a class and so in no list: {', '.join(without[:SHOWN])}{more}")


def _say_unlisted(root, labels):
    """Print how many labelled images are in none of the lists that there are: those that were added later."""
    places = (root / "lists").glob("*.txt")
    if unlisted := sorted(labels.keys() - {image_id for place in places for image_id in read_ids(place)}):
        many, one = (
            f"{len(unlisted)} labelled images, such as {unlisted[0]}, are",
            f"1 labelled image, {unlisted[0]}, is",
        )
        what, ids = (many, "their IDs") if len(unlisted) > 1 else (one, "its ID")
        print(f"{root}: {what} in no list: add {ids} to one, or delete {root / 'lists'} to have the lists made anew")


def _say_unread(folders):
    """Print how many files of the classes' folders have a suffix of no image that is read."""
    files = [path for folder in folders for path in sorted(folder.glob("[!.]*")) if path.is_file()]
    if unread := [path for path in files if path.suffix.lower() not in IMAGE_SUFFIXES]:
        print(
            f"{folders[0].parent}: files left out for their suffix: {len(unread)}, such as {unread[0].parent.name}/"
            f"{unread[0].name}: of an image make a JPEG or PNG"
        )


def _make_lists(root, ids, masked):
    """Every tenth image with a mask, or of all images where there are no masks, is in val; all others in train_aug, and
    those of them with a mask, or all, in train. masked: IDs."""
    evaluated = [image_id for image_id in ids if image_id in masked] or ids
    val = evaluated[::HELD_OUT]
    if len(evaluated) < 2:
        raise UserError(
            f"{root}: {len(evaluated)} labelled image(s) are too few to make lists of: write "
            "lists/train.txt, train_aug.txt and val.txt, an ID a line"
        )
    held_out = set(val)
    train_aug, train = ([i for i in part if i not in held_out] for part in (ids, evaluated))
    return {"lists/train.txt": train, "lists/train_aug.txt": train_aug, "lists/val.txt": val}
