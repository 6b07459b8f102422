"""COCO's JSON of images, categories and objects, of whom nobody knows: what it says, or a UserError.

The objects' outlines, nearly all of such a file, stay the bytes that they are until `data.object_masks` draws them.
"""

import os
import re
from typing import NamedTuple

import msgspec

from data.image import MAX_PIXELS
from errors import UserError
from files import check_file

LARGEST = 1 << 30  # bytes; the instances of COCO's largest list have a third of it
NO_SEGMENTATION = (b"", b"null", b"[]", b"[[]]")
Number = int | float | None
Id = int | float | str


class _Image(msgspec.Struct):
    id: Id
    file_name: str
    width: Number = None
    height: Number = None


class _Category(msgspec.Struct):
    id: Id
    name: str


class _Object(msgspec.Struct):
    image_id: Id
    category_id: Id
    id: Id | None = None
    iscrowd: int | bool | None = 0
    segmentation: msgspec.Raw = msgspec.Raw(b"")


class _File(msgspec.Struct):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Object]


class ImageEntry(NamedTuple):
    file_name: str
    size: tuple | None  # (H, W); None where the file gives none


class ObjectEntry(NamedTuple):
    """name: for messages. category: its ID. segmentation: JSON, b"" of an object that has none."""

    name: str
    category: int | str
    crowd: bool
    segmentation: bytes


class Instances(NamedTuple):
    """images: {ID: ImageEntry}. categories: {ID: name}, by ID. objects: {image's ID: its ObjectEntries in order}."""

    images: dict
    categories: dict
    objects: dict


def read_instances(path):
    """The Instances in a file. Raises UserError for one that is missing, too large, nested, cut short or no such JSON,
    that names an image or category twice or none that there is, and for sizes that no image has."""
    content = _decode(path)
    categories = _by_id(path, "category", content.categories)
    images = _by_id(path, "image", content.images)
    entries = {key: ImageEntry(image.file_name, _size(path, image)) for key, image in images.items()}
    objects = {key: [] for key in entries}
    for number, each in enumerate(content.annotations):
        name = f"annotation {number if each.id is None else each.id}"
        image, category = _key(each.image_id), _key(each.category_id)
        if image not in objects:
            raise UserError(f"{path}: {name}: its image {each.image_id!r} is not among the images: fix or leave it out")
        if category not in categories:
            raise UserError(f"{path}: {name}: its category {each.category_id!r} is not among the categories: add it")
        segmentation = bytes(each.segmentation)
        has_none = len(segmentation) < 32 and b"".join(segmentation.split()) in NO_SEGMENTATION
        objects[image].append(ObjectEntry(name, category, bool(each.iscrowd), b"" if has_none else segmentation))
    in_order = sorted(categories.items(), key=lambda item: (isinstance(item[0], str), item[0]))
    return Instances(entries, {key: category.name.strip() for key, category in in_order}, objects)


def _decode(path):
    check_file(path)
    data = b""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > LARGEST:
                raise ValueError(f"it is larger than {LARGEST} bytes")
            data = file.read(LARGEST)
        return msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=_File, strict=False)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file: COCO's JSON of the instances is needed") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise UserError(f"{path}: cannot be read as COCO's JSON: it is nested too deeply") from error
    except ValueError as error:  # msgspec's, and of text that is no UTF-8
        reason = _reason(error, data)
        raise UserError(
            f"{path}: cannot be read as COCO's JSON of images, categories and annotations: {reason}"
        ) from error


def _reason(error, data):
    """The text of the error, and where the file stops being UTF-8, which not every release of msgspec says."""
    try:
        data.decode()
    except UnicodeDecodeError as bad:
        return str(error) if isinstance(error, UnicodeDecodeError) else f"{error} ({bad})"
    return str(error)


def _key(value):
    """An ID, equal for 7, 7.0 and "7": tools write it in one place as a number and in another as text."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value):
        return int(value)
    return value


def _by_id(path, what, entries):
    found = {}
    for entry in entries:
        if found.setdefault(_key(entry.id), entry) is not entry:
            raise UserError(f"{path}: two of its {what} entries have the ID {entry.id!r}: give each its own")
    return found


def _size(path, image):
    if image.height is None or image.width is None:
        return None
    height, width = image.height, image.width
    if not (min(height, width) >= 1 and height * width <= MAX_PIXELS and height == int(height) and width == int(width)):
        raise UserError(
            f"{path}: image {image.id!r} has the size {width} x {height}: whole numbers from 1 up are needed, and at "
            f"most {MAX_PIXELS} pixels are taken"
        )
    return int(height), int(width)
