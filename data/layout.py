"""A data set in VOC layout: images, lists, image-level labels and, where there are any, masks.

    ROOT/JPEGImages/ID.jpg  ROOT/SegmentationClassAug/ID.png (or SegmentationClass/)  ROOT/lists/NAME.txt, an ID a line
    ROOT/image_labels.txt, `ID class [class ...]` a line  ROOT/classes.txt, a name a line, background first

An image's suffix is any of IMAGE_SUFFIXES in any case. A line of image_labels.txt that holds a tab is split at its
tabs, so that IDs and classes may contain spaces; any other line is split at its spaces.
"""

import os
import re
from functools import cached_property
from pathlib import Path

from conventions import BACKGROUND, IGNORE, MAX_CLASSES
from data.dataset import Dataset
from data.image import IMAGE_SUFFIXES
from errors import UserError, nearest
from files import check_file, save_lines

MASK_FOLDERS = ("SegmentationClassAug", "SegmentationClass")
LONGEST_ID = 230  # bytes: with its suffix and a temporary one, a file's name may have 255
# An image cannot have that class; most often it was forgotten in classes.txt.
FIRST_IS_BACKGROUND = "the background's: put `background` before it, unless it is the background's name"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # they end names in C, and steer terminals


class Layout(Dataset):
    """A data set in VOC layout. Raises UserError with the file and line of what is missing or wrong."""

    def __init__(self, root, spare=None):
        super().__init__(root, spare)
        self.class_names = read_class_names(self.root / "classes.txt")
        self.mask_folder = find_masks(self.root)
        self.check_command = f"python -m data.check {self.root}"

    def lists(self):
        """The names of the lists that there are, sorted."""
        return sorted(path.stem for path in (self.root / "lists").glob("*.txt"))

    def ids(self, list_name):
        """The IDs of lists/LIST_NAME.txt in order."""
        if not is_id(list_name):
            raise UserError(f"{list_name!r} is no name of a list: of {self.root / 'lists'}/NAME.txt give NAME")
        path = self.list_place(list_name)
        if not os.path.exists(path) and (present := ", ".join(self.lists())):
            raise UserError(f"{path}: no such list{nearest(list_name, self.lists())}: there are {present}")
        return read_ids(path)

    def has_list(self, list_name):
        return os.path.exists(self.list_place(list_name))

    def list_place(self, list_name):
        return self.root / "lists" / f"{list_name}.txt"

    def present(self, image_id):
        if not self.is_labelled(image_id):
            raise UserError(f"{self.root / 'image_labels.txt'}: has no line for {image_id}")
        present = self._labels[image_id]
        if isinstance(present, UserError):
            raise present
        return present

    def is_labelled(self, image_id):
        """Whether image_labels.txt has a line for the image."""
        return image_id in self._labels

    @cached_property
    def files(self):
        """{ID: names of its files in JPEGImages}, from one listing of the folder."""
        return image_files(self.root / "JPEGImages")

    def path(self, image_id):
        """The image's file. Raises UserError if there is none or more than one."""
        names = self.files.get(image_id, ())
        if not names:
            bare, dot, suffix = image_id.rpartition(".")
            known = bare in self.files and dot + suffix.lower() in IMAGE_SUFFIXES
            hint = f": IDs have no suffix: write {bare}" if known else ""
            raise UserError(f"{self.root / 'JPEGImages' / image_id}.jpg: no such image{hint}")
        if len(names) > 1:
            raise UserError(f"{self.root / 'JPEGImages'}: {' and '.join(names)} have the same ID: rename all but one")
        return self.root / "JPEGImages" / names[0]

    def mask_path(self, image_id):
        return self.mask_folder and self.mask_folder / f"{image_id}.png"

    @cached_property
    def _labels(self):
        """{ID: indices of its classes, or the UserError that its line deserves}: one bad line is not all of them."""
        index = {name: number for number, name in enumerate(self.class_names[1:])}
        path, labels = self.root / "image_labels.txt", {}
        for number, image_id, names in read_label_lines(path):
            unknown = next((name for name in names if name not in index), None)
            if "," in image_id and (problem := comma_problem(image_id, self.files)):
                labels[image_id.partition(",")[0]] = UserError(f"{path}, line {number}: {problem}")
            elif image_id in labels:
                labels[image_id] = UserError(f"{path}, line {number}: a second line for {image_id}: join the two")
            elif unknown == self.class_names[BACKGROUND]:
                labels[image_id] = UserError(
                    f"{path}, line {number}: class {unknown!r} of {image_id} is in the first line of classes.txt, "
                    f"which is {FIRST_IS_BACKGROUND}"
                )
            elif unknown is not None:
                labels[image_id] = UserError(
                    f"{path}, line {number}: class {unknown!r} of {image_id} is not in classes.txt"
                    f"{nearest(unknown, index)}"
                )
            else:
                labels[image_id] = sorted({index[name] for name in names})
        return labels


def read_class_names(path):
    """The names in a classes.txt, background first. Raises UserError if no dataset can have them."""
    lines = {}
    for number, line in read_lines(path):
        if (first := lines.setdefault(line.strip(), number)) != number:
            raise UserError(f"{path}, line {number}: {line.strip()!r} is in line {first} too: name each class once")
    names = list(lines)
    if len(names) < 2:
        raise UserError(f"{path}: needs `background` and at least one class, each once")
    if len(names) > MAX_CLASSES:
        raise UserError(f"{path}: at most {MAX_CLASSES} classes fit an index PNG ({IGNORE} is ignored)")
    wrong = next((name for name in names if CONTROL.search(name)), None)
    if wrong is not None:
        raise UserError(f"{path}: {wrong!r} has a control character: take it out")
    return names


def read_lines(path):
    """(number, text) of the lines of a text file that are not blank."""
    check_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}): is --dataset_root right, and has prepare_dataset.py been run?"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no UTF-8 text file") from error
    if "\0" in text:  # in no file's name, but in text of 16 bits a letter
        raise UserError(f"{path}: is no UTF-8 text file: it holds zero bytes")
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def read_ids(path):
    """The IDs in a list, one a line. Raises UserError if it is missing, empty or holds what is no ID."""
    lines = [(number, line.strip()) for number, line in read_lines(path)]
    if not lines:
        raise UserError(f"{path}: lists no image")
    for number, image_id in lines:
        _check_id(path, number, image_id)
    return [image_id for _, image_id in lines]


def read_label_lines(path):
    """(number, ID, names of its classes) of the lines of image_labels.txt."""
    for number, line in read_lines(path):
        image_id, *names = [part.strip() for part in line.split("\t")] if "\t" in line else line.split()
        _check_id(path, number, image_id)
        yield number, image_id, [name for name in names if name]


def comma_problem(image_id, files):
    """What is wrong with an ID of image_labels.txt that a comma parts from a class, else None. files: `image_files`."""
    first = image_id.partition(",")[0]
    if image_id in files or first not in files:
        return None
    return (
        f"{image_id!r} is no image, and {first} is one: separate an ID and its classes by spaces or a tab, not commas"
    )


def save_texts(root, class_names, lists, labels):
    """Write the text files of a set, image_labels.txt last.

    lists: {name: IDs}. labels: {ID: names of its classes}, of IDs without spaces.
    """
    for name, ids in lists.items():
        save_lines(root / "lists" / f"{name}.txt", ids)
    save_lines(root / "classes.txt", class_names)
    between = "\t" if any(" " in name for name in class_names) else " "
    save_lines(root / "image_labels.txt", [between.join((image_id, *names)) for image_id, names in labels.items()])


def is_id(text):
    """Whether a text can be an image's ID or a list's name: part of a file's name that stays in its folder."""
    return (
        Path(text).name == text
        and text not in (".", "..")
        and not CONTROL.search(text)
        and 0 < len(text.encode(errors="surrogatepass")) <= LONGEST_ID
    )


def _check_id(path, number, image_id):
    if not is_id(image_id):
        shown = image_id if len(image_id) <= 60 else f"{image_id[:57]}..."
        raise UserError(
            f"{path}, line {number}: {shown!r} is no image ID: it must be a file's name without its "
            f"suffix, of at most {LONGEST_ID} bytes and without control characters"
        )


def image_files(folder):
    """{ID: names of its files} of the images in a folder, sorted; hidden files are left out."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: it holds the images")
    files = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            files.setdefault(path.stem, []).append(path.name)
    return files


def find_masks(root):
    """The folder of masks of a dataset, None if it has none."""
    return next((root / name for name in MASK_FOLDERS if (root / name).is_dir()), None)
