"""A quick look at every image of a list before hours are spent on it: headers, ends of files, labels, masks."""

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor

from data.layout import read_image
from errors import UserError
from files import PNG_END, ends_with

SHOWN = 20  # images left out, by name
# What the two formats that nearly all photographs have begin and end with.
ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": PNG_END}


def usable_ids(layout, list_name, checks, skip_bad=False, show=True):
    """The IDs of a list whose images pass all checks.

    layout: `data.layout.Layout`. checks: functions (layout, ID) that raise UserError, such as those below.
    skip_bad: leave out images that fail, and say which, if show. Raises UserError for the first of them otherwise, or
    if none is left.
    """
    ids = layout.ids(list_name)
    layout.files()  # listed once, before threads ask for it
    with ThreadPoolExecutor(8) as pool:
        problems = dict(zip(ids, pool.map(lambda image_id: _problem(layout, image_id, checks), ids)))
    bad = {image_id: problem for image_id, problem in problems.items() if problem}
    if not bad:
        return ids
    where = f"{layout.root / 'lists' / list_name}.txt"
    if not skip_bad or len(bad) == len(problems):
        others = f"; {len(bad) - 1} more of the {len(problems)} in {where} cannot be used either" * (len(bad) > 1)
        remedy = "" if skip_bad else f" (python -m data.check {layout.root} lists all; --skip_bad goes on without)"
        raise UserError(f"{next(iter(bad.values()))}{others}{remedy}")
    if show:
        lines = [f"  {image_id}: {problem}" for image_id, problem in list(bad.items())[:SHOWN]]
        more = [f"  and {len(bad) - SHOWN} more: python -m data.check {layout.root}"] if len(bad) > SHOWN else []
        print("\n".join([f"left out {len(bad)} of the {len(problems)} images in {where}:", *lines, *more]),
              file=sys.stderr, flush=True)
    return [image_id for image_id in ids if image_id not in bad]


def _problem(layout, image_id, checks):
    try:
        for check in checks:
            check(layout, image_id)
    except UserError as error:
        return str(error)
    return None


def check_image(layout, image_id):
    """The image can be opened and is not cut short; one whose end is not as usual is decoded to know.

    Returns its (H, W).
    """
    size = layout.size(image_id)
    path = layout.path(image_id)
    if not _ends_well(path):
        read_image(path)
    return size


def _ends_well(path):
    with open(path, "rb") as file:
        end = ENDS.get(file.read(2))
    return end is not None and ends_with(path, end)


def check_labels(layout, image_id):
    """image_labels.txt has one line for the image, with classes that there are."""
    layout.labels(image_id)


def check_mask(layout, image_id):
    """There is a mask of the image's size with values 0 to K-1 and 255."""
    mask, size = layout.mask(image_id), layout.size(image_id)
    path = layout.mask_folder / f"{image_id}.png"
    if mask.shape != size:
        raise UserError(f"{path}: is {list(mask.shape)}, its image {list(size)}")
    wrong = values_beyond(mask, layout.n_classes)
    if wrong.size:
        raise UserError(f"{path}: holds the value {wrong.max()}, but classes are 0 to {layout.n_classes - 1} and 255 "
                        "is ignored")


def values_beyond(mask, n_classes):
    """The values of a mask, with repeats, that are neither a class nor 255."""
    return mask[(mask >= n_classes) & (mask != 255)]


def check_mask_if_any(layout, image_id):
    """As `check_mask`; an image need not have one."""
    if layout.has_mask(image_id):
        check_mask(layout, image_id)


def digest(ids):
    """A short text that differs where lists of images differ."""
    return f"{len(ids)} images, {hashlib.sha256(chr(10).join(ids).encode()).hexdigest()[:12]}"
