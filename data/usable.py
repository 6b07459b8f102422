"""A quick look at every image of a list before hours are spent on it: headers, ends of files, labels, masks."""

import sys
import time
from contextlib import contextmanager, nullcontext
from functools import partial

from data.image import scaled_size
from data.label_png import check_labels_fit
from errors import UserError
from files import in_threads
from progress import progress_bar

SHOWN = 20  # images left out, by name
QUIET = 5  # seconds of a look without a bar: all but the first at a large set take less
KEPT = 30  # seconds between two times that what was found is kept


def usable_ids(dataset, list_name, checks, skip_bad=False, show=True):
    """The IDs of a list whose images pass all checks.

    dataset: `data.dataset.Dataset`. checks: functions (dataset, ID) that raise UserError, such as those below.
    skip_bad: leave out images that fail, and say which, if show. show: also shows a bar if it takes long. Raises
    UserError for the first of them otherwise, or if none is left.
    """
    ids = dataset.ids(list_name)
    with _long_look(dataset, f"images of {list_name}", len(ids)) if show else nullcontext() as done:
        problems = dict(zip(ids, in_threads(lambda image_id: problem_of(dataset, image_id, checks), ids, done)))
    dataset.index.save()
    bad = {image_id: problem for image_id, problem in problems.items() if problem}
    if not bad:
        return ids
    where = dataset.list_place(list_name)
    if not skip_bad or len(bad) == len(problems):
        others = f"; {len(bad) - 1} more of the {len(problems)} in {where} cannot be used either" * (len(bad) > 1)
        first, said = next(iter(bad.items()))
        unscaled = [check for check in checks if not isinstance(check, partial)]  # data.check knows no stage's scales
        listed = dataset.check_command and problem_of(dataset, first, (check_image, *unscaled)) == said
        all_said = f"{dataset.check_command} lists all; " if listed else ""
        remedy = "" if skip_bad else f" ({all_said}--skip_bad continues without)"
        raise UserError(f"{said}{others}{remedy}")
    if show:
        lines = [f"  {image_id}: {problem}" for image_id, problem in list(bad.items())[:SHOWN]]
        more = [f"  and {len(bad) - SHOWN} more: {dataset.check_command or ''}".rstrip(": ")] * (len(bad) > SHOWN)
        print(
            "\n".join([f"left out {len(bad)} of the {len(problems)} images in {where}:", *lines, *more]),
            file=sys.stderr,
            flush=True,
        )
    return [image_id for image_id in ids if image_id not in bad]


@contextmanager
def _long_look(dataset, title, total):
    """Yields what `files.in_threads` is to tell how far it is: a look that takes long shows a bar, and keeps what it
    found now and then, for the call after one that was killed."""
    bar, seen, began = None, 0, time.monotonic()
    kept = began

    def done(count):
        nonlocal bar, seen, kept
        seen += count
        if bar is not None:
            bar.update(count)
        elif time.monotonic() - began > QUIET:  # not tqdm's delay: a short look does without its import
            bar = progress_bar(title, total=total, initial=seen)
        if time.monotonic() - kept > KEPT:
            dataset.index.save()
            kept = time.monotonic()

    try:
        yield done
    finally:
        if bar is not None:
            bar.close()


def problem_of(dataset, image_id, checks):
    """What the first check that an image fails says, None if it passes all."""
    try:
        for check in checks:
            check(dataset, image_id)
    except UserError as error:
        return str(error)
    return None


def check_image(dataset, image_id):
    """The image can be opened and is not cut short; one whose end is not as usual is decoded to know.

    Returns its (H, W).
    """
    return dataset.image_facts(image_id).size


def require_images(dataset, ids, what):
    """Raises UserError for the first of these images that is not there or has no labels. what: names them."""
    for image_id in ids:
        if problem := problem_of(dataset, image_id, (check_image, check_labels)):
            raise UserError(f"{what}: {problem}")


def check_scaled_image(scales, dataset, image_id):
    """As `check_image`, of an image that is to be resized by each of the factors."""
    for factor in scales:
        scaled_size(check_image(dataset, image_id), factor, f"{dataset.path(image_id)}: an image")


def check_labels(dataset, image_id):
    """The image has labels, of classes that there are."""
    dataset.present(image_id)


def check_mask(dataset, image_id):
    """There is a mask of the image's size with values 0 to K-1 and IGNORE."""
    facts = dataset.mask_facts(image_id)
    check_labels_fit(
        dataset.mask_path(image_id), facts.size, facts.top, dataset.n_classes, check_image(dataset, image_id)
    )


def check_mask_if_any(dataset, image_id):
    """As `check_mask`; an image need not have one."""
    if dataset.has_mask(image_id):
        check_mask(dataset, image_id)


# {list: what the first stage asks of its images}: a set that fails is one that training cannot begin with.
CHECKED = {
    "train_aug": (check_image, check_labels),
    "train": (check_image, check_mask_if_any),
    "val": (check_image, check_mask_if_any),
}
