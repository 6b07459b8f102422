"""One's own data in COCO's format, as annotation tools export it: image labels, and masks where it has outlines."""

import os
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data.coco_json import read_instances
from data.image import image_size
from data.label_png import save_label_png
from data.object_masks import draw_mask, import_pycocotools, mask_stamp
from errors import UserError
from files import read_stamp

BACKGROUND = "background"


class CocoSource(NamedTuple):
    """annotations: the JSON. overlap, crowd: as `data.object_masks.draw_mask` takes them. for_each: function (function,
    items) that yields function(item) for every item, in any order."""

    annotations: str
    overlap: str
    crowd: str
    for_each: object


class Collected(NamedTuple):
    """labels: {ID: classes}. links: {link to make in JPEGImages: its image}. classes: in order. paths: {ID: image}.
    sizes: {ID: (H, W) or None}. objects: {ID: `data.coco_json.ObjectEntry`s}. categories: {category: its class}."""

    labels: dict
    links: dict
    classes: list
    paths: dict
    sizes: dict
    objects: dict
    categories: dict


def read_coco(root, source):
    """What a CocoSource says of the images in root, or beside the JSON. Raises UserError."""
    path = Path(source.annotations)
    content = read_instances(path)
    paths = _find_images(root, path, {image: entry.file_name for image, entry in content.images.items()})
    found = Collected({}, {}, [], {}, {}, {}, content.categories)
    for image, entry in content.images.items():
        image_id, place = paths[image].stem, paths[image]
        if found.paths.setdefault(image_id, place) != place:
            raise UserError(f"{found.paths[image_id]} and {place} share a name but are two images: rename one of them")
        if place.parent != root / "JPEGImages":
            found.links[root / "JPEGImages" / place.name] = place
        found.sizes[image_id] = entry.size
        found.objects.setdefault(image_id, []).extend(content.objects[image])
    for image_id, objects in found.objects.items():
        names = {content.categories[each.category] for each in objects if source.crowd == "object" or not each.crowd}
        found.labels[image_id] = sorted(names - {BACKGROUND})
    used = {name for names in found.labels.values() for name in names}
    found.classes.extend(dict.fromkeys(name for name in content.categories.values() if name in used))
    crowds = sum(each.crowd for objects in found.objects.values() for each in objects)
    if crowds and source.crowd != "object":
        print(f"{path}: {crowds} objects are marked as crowds and give no label; --crowd object takes them as others")
    return found


def _find_images(root, path, names):
    """{ID: file}. names: {ID: file_name}. In JPEGImages a name's last part is looked for, elsewhere all of it too:
    beside the JSON, in `images`, and of instances_PART.json in PART and images/PART."""
    folder = root / "JPEGImages"
    there = {each.name for each in folder.iterdir() if each.exists()} if folder.is_dir() else set()
    part = path.stem.rpartition("_")[2]
    folders = (".", "images", part, f"images/{part}")
    bases = [base / below for base in (root, path.parent, path.parent.parent) for below in folders]
    found, missing = {}, []
    for image, name in names.items():
        parts = PurePosixPath(name.replace("\\", "/"))
        inside = not parts.is_absolute() and ".." not in parts.parts
        if parts.name in there:
            found[image] = folder / parts.name
            continue
        places = (base / each for base in bases for each in ([parts] if inside else []) + [parts.name] if parts.name)
        found[image] = next((place for place in places if os.path.isfile(place)), None)
        if found[image] is None:
            missing.append(name)
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of its {len(names)} images, such as {missing[0][:100]!r}, are not in "
            f"{folder}, {root} or beside it: put them into JPEGImages"
        )
    return found


def outlined(found, source):
    """The IDs of images that a mask can be made of: all of their objects have an outline.

    None where no object has any: there, an image without objects is no reason to make a mask of nothing.
    """
    if not any(each.segmentation for objects in found.objects.values() for each in objects):
        return []
    counted = {
        image_id: [each for each in objects if source.crowd != "background" or not each.crowd]
        for image_id, objects in found.objects.items()
    }
    return [image_id for image_id, objects in counted.items() if all(each.segmentation for each in objects)]


def make_masks(folder, found, source, class_names, ids):
    """Write folder/ID.png of the images in ids, unless there is one that others made, or that is as it has to be.

    An image of another size than the JSON says gets none: it may have been turned, and nobody tells which way.
    """
    import_pycocotools()
    numbers = {name: number for number, name in enumerate(class_names)}
    # An object of a class that gives no label, as `background`, is background.
    classes = {category: numbers.get(name, 0) for category, name in found.categories.items()}
    make = partial(_make_mask, folder, found, source, classes)
    other = sorted(image_id for image_id, fits in source.for_each(make, ids) if not fits)
    if other:
        print(f"{len(other)} images, such as {other[0]}, have another size than the annotations say, and get no mask")


def _make_mask(folder, found, source, classes, image_id):
    """(ID, whether the image has the size that the annotations say)."""
    target, size, objects = folder / f"{image_id}.png", image_size(found.paths[image_id]), found.objects[image_id]
    if found.sizes[image_id] not in (None, size):
        return image_id, False
    stamp, known = mask_stamp(objects, classes, size, source.overlap, source.crowd), read_stamp(target)
    if known not in ("", stamp):  # "": of whole files that others wrote
        try:
            labels = draw_mask(objects, classes, size, source.overlap, source.crowd)
        except UserError as error:
            raise UserError(f"{source.annotations}: {error}") from error
        save_label_png(target, labels, stamp)
    return image_id, True
