"""VOC's official text: image lists and the XML annotations, and how the labels in them fit the masks."""

import re
from typing import NamedTuple

from data.layout import read_ids
from data.official import differences
from data.xml_tree import parse_xml
from errors import UserError, nearest
from voc12.classes import CLASS_NAMES


class Annotation(NamedTuple):
    names: tuple  # classes of the objects, in the order of the classes
    size: tuple | None  # (H, W); None where the file gives none


def is_voc_id(text):
    """Whether a text can be an ID: part of a file's name, and of a line of IDs and classes between spaces."""
    return re.fullmatch(r"\w[\w-]{0,99}", text, re.ASCII) is not None


def read_list(path):
    """The IDs of a list, one a line. Raises UserError if it is missing, empty, or holds what is no ID."""
    if not path.exists():
        raise UserError(f"{path}: missing: is the tree complete?")
    ids = read_ids(path)
    wrong = next((image_id for image_id in ids if not is_voc_id(image_id)), None)
    if wrong is not None:
        raise UserError(f"{path}: {wrong!r} is no image ID: replace the list by the official one")
    if len(set(ids)) != len(ids):
        twice = next(image_id for image_id in ids if ids.count(image_id) > 1)
        raise UserError(f"{path}: names {twice} twice: replace the list by the official one")
    return ids


def read_annotation(path, skip_difficult=False):
    """The Annotation in an XML file. skip_difficult: leave out objects marked as difficult."""
    root = parse_xml(path)
    try:
        objects = [
            (item.findtext("name", "").strip(), item.findtext("difficult", "0").strip() == "1")
            for item in root.findall("object")
        ]
        size = (
            tuple(int(float(root.findtext(f"size/{side}"))) for side in ("height", "width"))
            if (root.find("size") is not None)
            else None
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: cannot be read as an annotation: {error}: replace it") from error
    unknown = sorted({name for name, _ in objects} - set(CLASS_NAMES[1:]))
    if unknown:
        raise UserError(
            f"{path}: class {unknown[0]!r} is none of VOC's 20{nearest(unknown[0], CLASS_NAMES)}: replace the file by "
            "the official one"
        )
    names = {name for name, difficult in objects if not (difficult and skip_difficult)}
    return Annotation(tuple(name for name in CLASS_NAMES[1:] if name in names), size)


def disagreements(annotations, masks):
    """Lines of the label report, one an image whose annotation and mask differ.

    annotations: ID -> Annotation. masks: MadeMasks. Sizes are compared too: `make_mask` has refused masks that do not
    fit their image, so here it is the annotation that is wrong, and nothing but this report reads its size.
    """
    lines = []
    for image_id, classes, size in sorted(masks):
        annotation = annotations[image_id]
        parts = differences(annotation.names, {CLASS_NAMES[index] for index in classes}, CLASS_NAMES)
        if annotation.size not in (None, size):
            parts.append("annotation says {1} x {0}, image and mask are {3} x {2}".format(*annotation.size, *size))
        if parts:
            lines.append(f"{image_id}: {'; '.join(parts)}")
    return lines
