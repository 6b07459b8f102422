"""The archive that VOC's evaluation server takes: results/VOC2012/Segmentation/COMPETITION_test_cls/ID.png

VOC has two segmentation competitions: comp5 for methods trained on the data that VOC 2012 provides and nothing else,
comp6 for those that saw any other data but its test images. ImageNet weights are other data, which makes the paper's
setting comp6; so are SBD's masks for a network that is trained on them.
"""

import gzip
import io
import tarfile
from collections import Counter
from pathlib import Path

from PIL import Image

from conventions import IGNORE
from data.label_png import read_labels, voc_palette
from errors import UserError
from files import atomic


def check_request(path, listed, ids):
    """UserError where `write_submission` would end with one, or lack images, whatever the labels are.

    listed: IDs of the list. ids: of these the usable ones.
    """
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder: --submission names the archive to write, such as out.tgz")
    image_id, times = Counter(listed).most_common(1)[0]
    if times > 1:
        raise UserError(f"{image_id} is in the list {times} times: a submission holds every image once")
    if lacking := sorted({*listed} - {*ids}):
        raise UserError(f"{lacking[0]} cannot be used: a submission holds every image of the list")


def write_submission(path, folder, layout, ids, competition):
    """Pack label images; the same labels give the same bytes.

    path: archive to write, gzipped tar. folder: holds ID.png. layout: `data.dataset.Dataset`, for the sizes of the
    images. ids: every one once. competition: comp5 or comp6.
    Returns the number of label images. Raises UserError, and leaves path as it was, unless each is as the server wants
    it: a palette PNG in VOC's colours, of its image's size, with values in 0..K-1.
    """
    # Neither the time nor a name goes into the header of gzip.
    with (
        atomic(path) as temporary,
        open(temporary, "wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for image_id in sorted(ids):
            data = _read(folder / f"{image_id}.png", layout.n_classes, layout.size(image_id))
            # Time, owner and rights at fixed defaults.
            entry = tarfile.TarInfo(f"results/VOC2012/Segmentation/{competition}_test_cls/{image_id}.png")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return len(ids)


def _read(path, n_classes, size):
    """The bytes of a label image, checked."""
    labels = read_labels(path, n_classes, size)
    with Image.open(path) as image:
        palette = image.getpalette()  # None of a grey one
    if palette is None or palette[: 3 * n_classes] != voc_palette(n_classes).ravel().tolist():
        raise UserError(f"{path}: is no palette PNG in VOC's colours: delete it and run deeplab/test.py again")
    if IGNORE in labels:
        raise UserError(f"{path}: has the value {IGNORE}: classes are 0 to {n_classes - 1}")
    return path.read_bytes()
