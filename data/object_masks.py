"""Objects of COCO's JSON, polygons or run lengths, drawn into masks.

What is written in an annotation decides how much memory its drawing takes, so all of it is checked first.
"""

import msgspec
import numpy as np

from conventions import BACKGROUND, IGNORE
from data.index import digest
from errors import UserError, missing_package

LONGEST_OUTLINE = 1 << 20  # pixels of a polygon; pycocotools keeps five points of each
Polygons = list[list[float] | float]


class _RunLengths(msgspec.Struct):
    counts: str | list[int]
    size: tuple[int, int]


def draw_mask(objects, classes, size, overlap="later", crowd="background"):
    """The mask of an image, uint8 [H,W], from its objects (`data.coco_json.ObjectEntry`).

    classes: {category's ID: class}. size: (H, W). overlap: of the objects that cover a pixel it is the `later`'s in the
    order of the annotations, or the `smallest`'s by the pixels that each covers, of equal ones the later's. crowd: what
    objects that are crowds become, `background`, `ignore` (IGNORE where no other object is) or an `object` like others.
    Raises UserError for a segmentation that is no such thing or does not fit the image.
    """
    labels = np.full(size, BACKGROUND, np.uint8)
    drawn = []
    for each in objects:
        if each.crowd and crowd == "background":
            continue
        covered = object_mask(each, size)
        if each.crowd and crowd == "ignore":
            labels[covered] = IGNORE
        else:
            drawn.append((covered, classes[each.category]))
    if overlap == "smallest":
        drawn.sort(key=lambda pair: -np.count_nonzero(pair[0]))
    for covered, label in drawn:
        labels[covered] = label
    return labels


def mask_stamp(objects, classes, size, overlap, crowd):
    """What `draw_mask` makes its mask of, as a stamp (`files`)."""
    parts = [f"{classes[each.category]} {each.crowd:d} ".encode() + each.segmentation for each in objects]
    return digest(b"\n".join([f"{size} {overlap} {crowd}".encode(), *parts]))


def object_mask(entry, size):
    """The pixels of one object, bool [H,W]: what pycocotools draws; none of an object without a segmentation.

    Polygons of fewer than three points cover nothing (pycocotools takes two for a box).
    """
    if not entry.segmentation:
        return np.zeros(size, bool)
    try:
        found = msgspec.json.decode(entry.segmentation, type=Polygons | _RunLengths)
        if isinstance(found, _RunLengths):
            return _of_run_lengths(found, size)
        return _of_polygons(found, size)
    except RecursionError as error:
        raise UserError(f"{entry.name}: its segmentation is nested too deeply") from error
    except ValueError as error:
        raise UserError(f"{entry.name}: its segmentation cannot be drawn: {error}") from error


def import_pycocotools():
    """The module of masks. Raises UserError if it is not installed."""
    try:
        import pycocotools.mask
    except ImportError as error:
        raise missing_package("drawing COCO's outlines as masks", "pycocotools") from error
    return pycocotools.mask


def _of_polygons(found, size):
    if all(isinstance(each, float) for each in found):  # some tools leave the brackets of the only one out
        found = [found]
    if any(isinstance(each, float) for each in found):
        raise ValueError("polygons are lists of numbers")
    polygons = [_checked(polygon, size) for polygon in found if len(polygon) >= 6]
    if not polygons:
        return np.zeros(size, bool)
    masks = import_pycocotools()
    return masks.decode(masks.merge(masks.frPyObjects(polygons, *size))).astype(bool)


def _checked(polygon, size):
    if len(polygon) % 2:
        raise ValueError(f"a polygon has {len(polygon)} numbers, an odd one: they are x and y in turn")
    points = np.array(polygon).reshape(-1, 2)
    sides = np.array(size[::-1])
    if not ((points >= -sides) & (points <= 2 * sides)).all():
        raise ValueError(f"a polygon lies far outside the image of {size[1]} x {size[0]}")
    steps = np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1)
    if steps.sum() > LONGEST_OUTLINE:
        raise ValueError(f"a polygon's outline is longer than {LONGEST_OUTLINE} pixels")
    return polygon


def _of_run_lengths(found, size):
    if found.size != size:
        raise ValueError(f"run lengths of {found.size[1]} x {found.size[0]} in an image of {size[1]} x {size[0]}")
    counts = unpack_counts(found.counts) if isinstance(found.counts, str) else found.counts
    pixels = size[0] * size[1]
    if any(count < 0 for count in counts) or sum(counts) != pixels:
        raise ValueError(f"its run lengths are {sum(counts)} pixels together, or some negative; the image has {pixels}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size[::-1]).T  # by columns


def unpack_counts(text):
    """COCO's text form of run lengths: 5 bits a character from "0" up, the low ones first; a sixth bit says that more
    follow, the last character's fifth is the sign; from the third length on, the difference to the one two before."""
    counts, value, shift = [], 0, 0
    for character in text:
        code = ord(character) - ord("0")
        if not 0 <= code < 64 or shift > 60:
            raise ValueError(f"its run lengths hold {character!r}, which is none of their letters")
        value |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            value -= (code & 0x10 and 1) << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its run lengths are cut short")
    return counts
