"""A quick look at every image of a list before hours are spent on it: headers, ends of files, labels, masks."""

import sys

from data.image import check_scales
from data.label_png import check_labels_fit
from errors import UserError
from files import in_threads

SHOWN = 20  # images left out, by name


def usable_ids(layout, list_name, checks, skip_bad=False, show=True):
    """The IDs of a list whose images pass all checks.

    layout: `data.layout.Layout`. checks: functions (layout, ID) that raise UserError, such as those below.
    skip_bad: leave out images that fail, and say which, if show. Raises UserError for the first of them otherwise, or
    if none is left.
    """
    ids = layout.ids(list_name)
    layout.files()  # listed once, before threads ask for it
    problems = dict(zip(ids, in_threads(lambda image_id: _problem(layout, image_id, checks), ids)))
    layout.index.save()
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
        print(
            "\n".join([f"left out {len(bad)} of the {len(problems)} images in {where}:", *lines, *more]),
            file=sys.stderr,
            flush=True,
        )
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
    return layout.image_facts(image_id).size


def check_scaled_image(scales, layout, image_id):
    """As `check_image`, of an image that is to be resized by each of the factors."""
    check_scales(layout.path(image_id), check_image(layout, image_id), scales)


def check_labels(layout, image_id):
    """image_labels.txt has one line for the image, with classes that there are."""
    layout.present(image_id)


def check_mask(layout, image_id):
    """There is a mask of the image's size with values 0 to K-1 and IGNORE."""
    facts = layout.mask_facts(image_id)
    check_labels_fit(layout.mask_path(image_id), facts.size, facts.top, layout.n_classes, check_image(layout, image_id))


def check_mask_if_any(layout, image_id):
    """As `check_mask`; an image need not have one."""
    if layout.has_mask(image_id):
        check_mask(layout, image_id)
