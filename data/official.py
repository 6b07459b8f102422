"""What the preparations of official data sets share, from their own form to the layout of `data.layout`."""

import os
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from errors import UserError
from files import in_threads


@contextmanager
def in_one_line(root):
    """Turns what ends workers, and what the system says of folders, into a UserError. root: of the data set."""
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError(
            f"{root}: a worker process was killed, perhaps for memory: run this again with fewer --num_workers"
        ) from error
    except OSError as error:  # a folder that may not be read or written
        raise UserError(f"{error.filename or root}: {error.strerror or error}: fix it and run this again") from error


def is_done(root, lists, made_with, way):
    """Whether a set is complete. way: {setting: value} that it has to be made with. made_with: the like, of which it is
    said to be made; None where nothing is said. Raises UserError if they differ."""
    labels = root / "image_labels.txt"
    if not all(path.exists() for path in (labels, root / "classes.txt", *(root / f"lists/{n}.txt" for n in lists))):
        return False
    for key, value in way.items():
        if made_with and made_with.get(key, value) != value:
            raise UserError(
                f"{labels}: was made with {key} {made_with[key]}, not {value}: delete it and run this again"
            )
    return True


def differences(labelled, seen, class_names):
    """How an image's labels and the classes in its mask differ, as parts of a line of label_report.txt; [] if not."""
    between = ", " if any(" " in name for name in class_names) else " "
    sides = {"labels without pixels": {*labelled} - {*seen}, "pixels without label": {*seen} - {*labelled}}
    return [f"{what}: {between.join(n for n in class_names if n in names)}" for what, names in sides.items() if names]


def check_count(name, ids, counts, folders):
    """Raises UserError unless a list has as many images as it has to. counts: {list: number}, {} for any. folders:
    where it is from."""
    if len(ids) != counts.get(name, len(ids)):
        raise UserError(
            f"{name} has {len(ids)} images, not {counts[name]}: these are not complete, or not "
            f"the official ones: {', '.join(map(str, folders))} (--no-check_counts takes a part of them)"
        )


def link_images(root, source, ids):
    """A link an image in root/JPEGImages, since images may lie in several trees; none where it is in place."""
    source = source.resolve()
    folder = own_folder(root / "JPEGImages")
    within = source.is_relative_to(root.resolve())
    target = Path("..") / source.relative_to(root.resolve()) if within else source  # so that root can be moved
    there = {*os.listdir(folder)}  # of a new set nothing is asked for one by one

    def link(name):
        path = folder / name
        if name in there:
            if path.exists():
                return
            path.unlink()  # a link to a tree that has moved
        path.symlink_to(target / name)

    in_threads(link, [f"{image_id}.jpg" for image_id in ids])


def own_folder(path):
    """A folder to write into; a link to someone else's gives way to it, so that nothing is written there."""
    if path.is_symlink():
        path.unlink()
    path.mkdir(parents=True, exist_ok=True)
    return path
