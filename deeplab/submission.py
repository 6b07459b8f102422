"""The archive that VOC's evaluation server takes: results/VOC2012/Segmentation/COMPETITION_test_cls/ID.png

VOC has two segmentation competitions: comp5 for methods trained on the data that VOC 2012 provides and nothing else,
comp6 for those that saw any other data but its test images. ImageNet weights are other data, which makes the paper's
setting comp6; so are SBD's masks for a network that is trained on them.
"""

import gzip
import io
import tarfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from data.image import FORMATS
from data.label_png import voc_palette
from errors import UserError
from files import atomic

COMPETITIONS = ("comp5", "comp6")


def check_request(path, ids):
    """UserError where `write_submission` would end with one whatever the labels are."""
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder: --submission names the archive to write, such as out.tgz")
    image_id, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise UserError(f"{image_id} is in the list {times} times: a submission holds every image once")


def write_submission(path, folder, layout, ids, competition):
    """Pack label images and check the archive before it gets its name; the same labels give the same bytes.

    path: archive to write, gzipped tar. folder: holds ID.png, palette PNGs. layout: `data.layout.Layout`, for the sizes
    of the images. ids: every one once. competition: of COMPETITIONS.
    Returns the number of label images. Raises UserError, and leaves path as it was, if the archive is not as the server
    wants it: see `check_archive`.
    """
    prefix = f"results/VOC2012/Segmentation/{competition}_test_cls"
    with atomic(path) as temporary:
        # Neither the time nor a name goes into the header of gzip.
        with (
            open(temporary, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for image_id in sorted(ids):
                data = _read(folder / f"{image_id}.png")
                entry = tarfile.TarInfo(f"{prefix}/{image_id}.png")  # time, owner and rights at fixed defaults
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        check_archive(temporary, prefix, layout, ids)
    return len(ids)


def check_archive(path, prefix, layout, ids):
    """UserError unless the archive holds PREFIX/ID.png of every ID once and nothing else, each a palette PNG in VOC's
    colours, of its image's size, with values in 0..K-1."""
    expected = {f"{prefix}/{image_id}.png": image_id for image_id in ids}
    seen = set()
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r") as archive:
            for entry in archive:
                if entry.name not in expected or entry.name in seen:
                    raise UserError(f"submission: {entry.name} is in the archive twice or of no image of the list")
                seen.add(entry.name)
                _check_label(
                    archive.extractfile(entry), entry.name, layout.size(expected[entry.name]), layout.n_classes
                )
            while packed.read(1 << 20):  # to the end, where the checksum is
                pass
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read back: {error}") from error
    missing = sorted(expected.keys() - seen)
    if missing:
        raise UserError(f"submission: {missing[0]} is missing, with {len(missing) - 1} more")


def _check_label(file, name, size, n_classes):
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.format != "PNG" or image.mode != "P":
                raise UserError(f"submission: {name} is no palette PNG: delete it and run deeplab/test.py again")
            if (image.height, image.width) != size:  # before all its pixels are decoded
                raise UserError(f"submission: {name} is {[image.height, image.width]}, its image {list(size)}")
            labels, palette = np.array(image), image.getpalette()
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"submission: {name} cannot be decoded: delete it and run deeplab/test.py again") from error
    if palette[: 3 * n_classes] != voc_palette(n_classes).ravel().tolist():
        raise UserError(f"submission: {name} has other colours than VOC's")
    if labels.max() >= n_classes:
        raise UserError(f"submission: {name} has the value {labels.max()}: classes are 0 to {n_classes - 1}")


def _read(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): run deeplab/test.py for this list") from error
