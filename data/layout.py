"""A dataset in VOC layout: images, lists, image-level labels and, where there are any, masks.

    ROOT/JPEGImages/ID.jpg  ROOT/SegmentationClassAug/ID.png (or SegmentationClass/)  ROOT/lists/NAME.txt, an ID a line
    ROOT/image_labels.txt, `ID class [class ...]` a line  ROOT/classes.txt, a name a line, background first

An image's suffix is any of IMAGE_SUFFIXES in any case. A line of image_labels.txt that holds a tab is split at its
tabs, so that IDs and classes may contain spaces; any other line is split at its spaces.

NumPy and PyTorch are imported where an array is needed: a stage that finds all done needs none.
"""

import os
import re
from contextlib import contextmanager
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from data.index import Index, ends_well
from errors import UserError
from files import check_file

MASK_FOLDERS = ("SegmentationClassAug", "SegmentationClass")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # of PIL; among others it would start Ghostscript
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # tags of TIFF, and a value
MAX_PIXELS = 50_000_000  # of an image; ten times as many would still fit a small file
LONGEST_ID = 230  # bytes: with its suffix and a temporary one, a file's name may have 255
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # they end names in C, and steer terminals
Image.MAX_IMAGE_PIXELS = None  # PIL would warn from another size on: `open_image` is the one that refuses


class Layout:
    """Paths and labels of a dataset. Raises UserError with the file and line of what is missing or wrong.

    spare: a folder for the index of files where the dataset's own cannot be written (`data.index`), or None.
    """

    def __init__(self, root, spare=None):
        self.root = Path(root)
        self.index = Index(self.root, spare)
        self.class_names = read_class_names(self.root / "classes.txt")
        self.mask_folder = find_masks(self.root)
        self._labels = None
        self._files = None

    @property
    def n_classes(self):
        """K, with the background."""
        return len(self.class_names)

    def ids(self, list_name):
        """The IDs of lists/LIST_NAME.txt in order."""
        if not is_id(list_name):
            raise UserError(f"{list_name!r} is no name of a list: of {self.root / 'lists'}/NAME.txt give NAME")
        path = self.root / "lists" / f"{list_name}.txt"
        if not os.path.exists(path) and (present := ", ".join(sorted(each.stem for each in path.parent.glob("*.txt")))):
            raise UserError(f"{path}: no such list: there are {present}")
        lines = [(number, line.strip()) for number, line in read_lines(path)]
        if not lines:
            raise UserError(f"{path}: lists no image")
        for number, image_id in lines:
            _check_id(path, number, image_id)
        return [image_id for _, image_id in lines]

    def labels(self, image_id):
        """Image-level labels: float32 [K-1] in {0,1}, classes 1..K-1."""
        import torch

        labels = torch.zeros(self.n_classes - 1)
        labels[self.present(image_id)] = 1
        return labels

    def present(self, image_id):
        """The image-level labels as a list of indices, 0 for class 1 and so on."""
        if not self.is_labelled(image_id):
            raise UserError(f"{self.root / 'image_labels.txt'}: has no line for {image_id}")
        present = self._labels[image_id]
        if isinstance(present, UserError):
            raise present
        return present

    def is_labelled(self, image_id):
        """Whether image_labels.txt has a line for the image."""
        if self._labels is None:
            self._labels = self._read_labels()
        return image_id in self._labels

    def files(self):
        """{ID: names of its files in JPEGImages}, from one listing of the folder."""
        if self._files is None:
            self._files = image_files(self.root / "JPEGImages")
        return self._files

    def path(self, image_id):
        """The image's file. Raises UserError if there is none or more than one."""
        names = self.files().get(image_id, ())
        if not names:
            raise UserError(f"{self.root / 'JPEGImages' / image_id}.jpg: no such image")
        if len(names) > 1:
            raise UserError(f"{self.root / 'JPEGImages'}: {' and '.join(names)} have the same ID: rename all but one")
        return self.root / "JPEGImages" / names[0]

    def size(self, image_id):
        """(H, W) of the image as `image` returns it, from its file's header alone."""
        return image_size(self.path(image_id))

    def image_facts(self, image_id):
        """The `data.index.Facts` of the image's file. Raises UserError for one that is damaged or cut short."""
        return self.index.look(self.path(image_id), _find_image_facts)

    def mask_facts(self, image_id):
        """The `data.index.Facts` of the mask's file. Raises UserError for one that is missing or damaged."""
        return self.index.look(self.mask_path(image_id), _find_mask_facts)

    def image(self, image_id, at_least=None):
        """RGB image as uint8 [3,H,W], see `read_image`."""
        return read_image(self.path(image_id), at_least)

    def mask(self, image_id):
        """Ground truth as uint8 [H,W], 255 where it is not to be counted."""
        return read_label_png(self.mask_path(image_id))

    def mask_path(self, image_id):
        if self.mask_folder is None:
            raise UserError(f"{self.root}: has no masks ({' or '.join(MASK_FOLDERS)}), so nothing can be evaluated")
        path = self.mask_folder / f"{image_id}.png"
        if not os.path.exists(path):
            raise UserError(f"{path}: no such label image")
        return path

    def has_mask(self, image_id):
        return self.mask_folder is not None and os.path.exists(self.mask_folder / f"{image_id}.png")

    def _read_labels(self):
        """{ID: indices of its classes, or the UserError that its line deserves}: one bad line is not all of them."""
        index = {name: number for number, name in enumerate(self.class_names[1:])}
        path, labels = self.root / "image_labels.txt", {}
        for number, image_id, names in read_label_lines(path):
            unknown = next((name for name in names if name not in index), None)
            if image_id in labels:
                labels[image_id] = UserError(f"{path}, line {number}: a second line for {image_id}: join the two")
            elif unknown is not None:
                labels[image_id] = UserError(
                    f"{path}, line {number}: class {unknown!r} of {image_id} is not in classes.txt"
                )
            else:
                labels[image_id] = sorted({index[name] for name in names})
        return labels


def read_class_names(path):
    """The names in a classes.txt, background first. Raises UserError if no dataset can have them."""
    names = [line.strip() for _, line in read_lines(path)]
    if len(names) < 2 or len(set(names)) != len(names):
        raise UserError(f"{path}: needs `background` and at least one class, each once")
    if len(names) > 255:
        raise UserError(f"{path}: at most 255 classes fit an index PNG (255 is ignored)")
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


def read_label_lines(path):
    """(number, ID, names of its classes) of the lines of image_labels.txt."""
    for number, line in read_lines(path):
        image_id, *names = [part.strip() for part in line.split("\t")] if "\t" in line else line.split()
        _check_id(path, number, image_id)
        yield number, image_id, [name for name in names if name]


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


def image_size(path):
    """(H, W) of an image file as `read_image` returns it, from its header alone."""
    with open_image(path) as picture:
        width, height = picture.size
        return (width, height) if orientation(picture) in SIDEWAYS else (height, width)


def scaled_size(size, factor):
    """(h, w) of an image of size (H, W) resized by a factor. Raises UserError if that is above MAX_PIXELS, or rounds to
    no pixel at all."""
    height, width = (side * factor for side in size)
    if not (min(height, width) >= 0.5 and height * width <= MAX_PIXELS):  # NaN is neither
        raise UserError(
            f"an image of {size[1]} x {size[0]} cannot be resized by {factor:g}: at least 1 pixel a side and "
            f"at most {MAX_PIXELS} in all are taken: give other --scales, or resize the image"
        )
    return max(1, round(height)), max(1, round(width))


def check_scales(path, size, scales):
    """Raises UserError, which names the image, unless its size (H, W) can be resized by each of the factors."""
    try:
        for factor in scales:
            scaled_size(size, factor)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def read_image(path, at_least=None):
    """An image file of any mode as RGB, uint8 [3,H,W], turned as its EXIF data says; of an animation the first frame.

    at_least: (h, w). With it a JPEG that is at least twice as high and wide comes at 1/2, 1/4 or 1/8 of its size,
    never below (h, w): libjpeg then computes only the pixels that are needed, in less than half the time.
    """
    import numpy as np
    import torch

    with open_image(path) as picture:
        if at_least is not None:
            height, width = reversed(at_least) if orientation(picture) in SIDEWAYS else at_least
            picture.draft(None, (width, height))
        tags = getattr(picture, "tag_v2", {})  # of a TIFF, before a copy loses them
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I"):
            picture = _in_8_bits(picture, tags)
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def _in_8_bits(picture, tags):
    """A grey picture of 16 bits, or of a TIFF's 12, in 8: convert would cut them off at 255."""
    import numpy as np

    bits = tags.get(BITS, (16,))[0]
    values = (np.asarray(picture, np.uint16) >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(255 - values if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else values)


@contextmanager
def open_image(path, formats=FORMATS, kind="an image"):
    """Yields the PIL image of a file; what goes wrong until it is closed is a UserError that names the file.

    An image of more than MAX_PIXELS is refused from its header alone. formats: PIL's names of those that are tried.
    """
    check_file(path)
    try:
        with Image.open(path, formats=formats) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise UserError(
                    f"{path}: cannot be decoded as {kind}: it is {width} x {height}, {width * height} "
                    f"pixels, and at most {MAX_PIXELS} are taken: shrink it"
                )
            if picture.mode == "F":  # its range is anyone's guess
                raise ValueError("its values are floats: save it with 8 or 16 bits")
            if picture.mode == "I" and picture.format == "TIFF":  # and so it is of these; of others they are 16 bits
                raise ValueError("its values are whole numbers of 32 bits, or have a sign: save it with 8 or 16 bits")
            yield picture
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(
            f"{path}: cannot be decoded as {kind}: cannot identify its format: {', '.join(formats)} of 8 or "
            "16 bits are read"
        ) from error
    except Exception as error:  # Pillow lets through whatever its decoders meet in damaged files
        words = getattr(error, "strerror", None) or str(error)  # the system's without its second mention of the path
        reason = " ".join(words.split()) or type(error).__name__
        raise UserError(f"{path}: cannot be decoded as {kind}: {reason}") from error


def orientation(picture):
    """EXIF's orientation of a PIL image, 1 to 8; None if it has none."""
    return picture.getexif().get(ExifTags.Base.Orientation)


def read_label_png(path):
    """An index PNG (palette or grey) as uint8 [H,W]."""
    import numpy as np

    if not os.path.exists(path):
        raise UserError(f"{path}: no such label image")
    with open_image(path, ("PNG",), "a PNG") as image:
        if image.mode not in ("P", "L"):
            raise UserError(f"{path}: is a {image.mode} image: labels must be an index PNG (mode P or L)")
        return np.array(image)


def read_labels(path, n_classes, size):
    """As `read_label_png`, of labels that a stage made. Raises UserError if they do not fit image or classes."""
    try:
        labels = read_label_png(path)
        check_labels_fit(path, labels.shape, _top(labels), n_classes, size)
    except UserError as error:
        raise UserError(f"{error}: delete it and run the stage that makes it again") from error
    return labels


def check_labels_fit(path, shape, top, n_classes, size):
    """Raises UserError unless a label map has its image's size and no value between the classes and 255."""
    if tuple(shape) != tuple(size):
        raise UserError(f"{path}: is {list(shape)}, its image {list(size)}")
    if top >= n_classes:
        raise UserError(f"{path}: holds the value {top}, but classes are 0 to {n_classes - 1} and 255 is ignored")


def _top(labels):
    """The largest value of a label map that is not 255, 0 if there is none."""
    return int(labels.max(where=labels != 255, initial=0))


def _find_image_facts(path, content):
    size = image_size(path)
    if not ends_well(content):
        read_image(path)
    return size, -1


def _find_mask_facts(path, _):
    mask = read_label_png(path)
    return mask.shape, _top(mask)
