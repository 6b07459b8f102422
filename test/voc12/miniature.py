"""VOC 2012 and SBD with a dozen images, in the exact official formats: as trees and as archives."""

import errno
import os
import re
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from data.label_png import read_label_png, save_label_png, voc_palette
from data.layout import Layout
from voc12.classes import CLASS_NAMES

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN = ["2007_000032", "2007_000039", "2009_000001"]
VAL = ["2007_000033", "2009_000002"]
SBD_TRAIN = ["2008_000007", "2008_000002", "2007_000032", "2007_000033"]  # with one of VOC's train and one of its val
SBD_VAL = ["2010_000001", "2009_000001", "2008_000008"]
TEST = ["2008_000001", "2008_000004"]
SMALL = {"train": 3, "val": 2, "train_aug": 7, "test": 2}
# Image -> objects in the order of the annotation; "?" marks a difficult one. The first is in the mask as well.
OBJECTS = {
    "2007_000032": ["person", "aeroplane", "person"],
    "2007_000039": ["tvmonitor"],
    "2009_000001": ["dog"],
    "2007_000033": ["cat"],
    "2009_000002": ["bus", "car?"],
    "2008_000007": ["bird"],
    "2008_000002": ["boat"],
    "2010_000001": ["sofa", "cat?"],
    "2008_000008": ["horse"],
    "2011_000999": ["cow"],
}
LINES = {
    image_id: sorted({name.rstrip("?") for name in names})
    for image_id, names in OBJECTS.items()
    if image_id != "2011_000999"
}  # which is in no list
LISTED = sorted({*TRAIN, *VAL, *SBD_TRAIN, *SBD_VAL})


def size_of(image_id):
    """(H, W); all differ."""
    return 20 + list(OBJECTS).index(image_id), 31 - list(OBJECTS).index(image_id)


def voc_mask(image_id):
    """An object of each class with the official border of 255."""
    labels = np.zeros(size_of(image_id), np.uint8)
    labels[2:9, 2:9] = 255
    labels[3:8, 3:8] = CLASS_NAMES.index(OBJECTS[image_id][0])
    for number, name in enumerate(dict.fromkeys(OBJECTS[image_id][1:])):
        labels[10 + 3 * number : 12 + 3 * number, 3:6] = CLASS_NAMES.index(name.rstrip("?"))
    return labels


def sbd_mask(image_id):
    """The first object alone, without a border and elsewhere than in VOC's mask."""
    labels = np.zeros(size_of(image_id), np.uint8)
    labels[9:15, 9:15] = CLASS_NAMES.index(OBJECTS[image_id][0])
    return labels


def write_annotation(path, objects, size):
    boxes = "".join(
        f"""
	<object>
		<name>{name.rstrip("?")}</name>
		<pose>Frontal</pose>
		<truncated>0</truncated>
		<difficult>{int(name.endswith("?"))}</difficult>
		<bndbox><xmin>3</xmin><ymin>3</ymin><xmax>8</xmax><ymax>8</ymax></bndbox>
		<part><name>head</name><bndbox><xmin>4</xmin><ymin>4</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></part>
	</object>"""
        for name in objects
    )
    path.write_text(f"""<annotation>
	<folder>VOC2012</folder>
	<filename>{path.stem}.jpg</filename>
	<source><database>The VOC2012 Database</database><annotation>PASCAL VOC2012</annotation></source>
	<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>
	<segmented>1</segmented>{boxes}
</annotation>
""")


def write_mat(path, labels):
    """As SBD stores it: a struct GTcls with the mask, a sparse boundary map a class, and the classes present."""
    boundaries = np.empty((20, 1), object)
    for number in range(20):
        boundaries[number, 0] = csc_matrix(labels == number + 1, dtype=np.float64)
    present = np.unique(labels[labels > 0])[:, None]
    savemat(
        path,
        {"GTcls": {"Boundaries": boundaries, "Segmentation": labels, "CategoriesPresent": present}},
        do_compression=True,
    )


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def save_jpeg(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)).save(path)


def make_voc(voc):
    for part in ("Annotations", "SegmentationClass", "SegmentationObject"):
        (voc / part).mkdir(parents=True)
    for image_id, objects in OBJECTS.items():
        save_jpeg(voc / f"JPEGImages/{image_id}.jpg", size_of(image_id))
        exchanged = image_id == "2008_000008"  # height and width, in this one's annotation
        write_annotation(voc / f"Annotations/{image_id}.xml", objects, size_of(image_id)[:: -1 if exchanged else 1])
    for image_id in TRAIN + VAL:
        save_label_png(voc / f"SegmentationClass/{image_id}.png", voc_mask(image_id))
        save_label_png(voc / f"SegmentationObject/{image_id}.png", voc_mask(image_id))
    for name, ids in {"train": TRAIN, "val": VAL, "trainval": sorted(TRAIN + VAL)}.items():
        write_lines(voc / f"ImageSets/Segmentation/{name}.txt", ids)
    write_lines(voc / "ImageSets/Main/dog_train.txt", [f"{image_id} -1" for image_id in TRAIN])


def make_sbd(sbd):
    for part in ("cls", "inst", "img"):
        (sbd / part).mkdir(parents=True)
    for image_id in SBD_TRAIN + SBD_VAL:
        write_mat(sbd / f"cls/{image_id}.mat", sbd_mask(image_id))
        write_mat(sbd / f"inst/{image_id}.mat", sbd_mask(image_id))
        save_jpeg(sbd / f"img/{image_id}.jpg", size_of(image_id))
    write_lines(sbd / "train.txt", SBD_TRAIN)
    write_lines(sbd / "val.txt", SBD_VAL)


def make_test(voc):
    write_lines(voc / "ImageSets/Segmentation/test.txt", TEST)
    (voc / "Annotations").mkdir()
    for image_id in TEST:
        save_jpeg(voc / f"JPEGImages/{image_id}.jpg", (18, 24))
        write_annotation(voc / f"Annotations/{image_id}.xml", [], (18, 24))


def pack(folder, path, top):
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        archive.add(folder / top, top)
    return path


REPORT = [
    "2008_000008: annotation says {0} x {1}, image and mask are {1} x {0}".format(*size_of("2008_000008")),
    "2010_000001: labels without pixels: cat",
]


def stamps(root):
    return {path.relative_to(root): path.stat().st_mtime_ns for path in sorted(root.rglob("*")) if path.is_file()}


def check_set(root, test=True):
    """The whole set as it has to come out of the dozen images."""
    layout = Layout(root)
    assert tuple(layout.class_names) == CLASS_NAMES
    assert layout.ids("train") == TRAIN and layout.ids("val") == VAL
    assert layout.ids("train_aug") == sorted({*SBD_TRAIN, *SBD_VAL, *TRAIN} - {*VAL})
    lines = {image_id: names for image_id, *names in map(str.split, (root / "image_labels.txt").open())}
    assert list(lines) == LISTED and lines == LINES
    for image_id in LISTED:
        path = root / f"SegmentationClassAug/{image_id}.png"
        truth = voc_mask(image_id) if image_id in TRAIN + VAL else sbd_mask(image_id)
        assert np.array_equal(layout.mask(image_id), truth)
        with Image.open(path) as image:
            assert image.mode == "P" and image.getpalette() == voc_palette().ravel().tolist()
        assert layout.image(image_id).shape == (3, *size_of(image_id))
    assert {path.stem for path in (root / "SegmentationClassAug").iterdir()} == set(LISTED)
    assert (root / "label_report.txt").read_text().splitlines() == REPORT
    assert (root / "lists/test.txt").exists() == test
    if test:
        assert layout.ids("test") == TEST and layout.image(TEST[0]).shape == (3, 18, 24)
    assert not list(root.rglob("*.tmp")) + list(root.rglob("*.unfinished")) + list(root.rglob("*.partial"))


def refused(done, root, *parts):
    """The one line on stderr, apart from progress bars; it holds all the parts."""
    assert done.status == 2, done.out + done.err
    bar = re.compile(r"\[\d\d:\d\d[<,]")  # of the time that it took so far
    lines = [line for line in re.split(r"[\r\n]+", done.err) if line.strip() and not bar.search(line)]
    assert len(lines) == 1 and lines[0].startswith("error: "), done.err
    for part in parts:
        assert str(part) in lines[0]
    assert not [path for path in Path(root).rglob("*") if path.name.endswith((".tmp", ".partial"))]
    assert not (root / "image_labels.txt").exists() and not (root / "lists").exists()
    for path in Path(root).glob("SegmentationClassAug/*"):
        read_label_png(path)
    return lines[0]


def cut(path, by=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * by)])


def full(*arguments, **settings):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
