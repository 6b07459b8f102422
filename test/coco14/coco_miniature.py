"""COCO 2014 with eight made-up images in the official format, with what masks trip over, and plain references."""

import json
import zipfile

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as pycocotools_mask

from coco14.classes import CATEGORIES, CLASSES

# ID -> (split, (H, W)); the IDs are neither consecutive nor in order
IMAGES = {
    9: ("train", (40, 60)),
    25: ("train", (60, 40)),
    581: ("train", (48, 48)),
    30: ("train", (33, 57)),  # no annotation at all
    34: ("train", (50, 50)),  # nothing but a crowd
    42: ("val", (40, 50)),
    73: ("val", (45, 45)),
    581_929: ("val", (36, 60)),  # nothing
}


def box(x, y, width, height):
    return [float(n) for n in (x, y, x + width, y, x + width, y + height, x, y + height)]


def runs(size, *rectangles):
    """Run lengths as a list, as COCO's crowds have them: of (row, column, height, width)."""
    mask = np.zeros(size, np.uint8)
    for row, column, height, width in rectangles:
        mask[row : row + height, column : column + width] = 1
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    return {"counts": np.diff([0, *edges, flat.size]).tolist(), "size": list(size)}


def packed_runs(size, *rectangles):
    """The same as the text that pycocotools makes."""
    packed = pycocotools_mask.frPyObjects(runs(size, *rectangles), *size)
    return {"counts": packed["counts"].decode(), "size": list(size)}


# (image, category, crowd, segmentation), in the order of the annotations, images in turn
OBJECTS = [
    (9, 1, 0, [box(2, 2, 30, 30)]),
    (25, 90, 0, [box(5, 10, 20.5, 30.25)]),  # toothbrush: class 80
    (9, 18, 0, [box(10, 10, 10, 10)]),  # a small dog within the person, later
    (42, 13, 0, [box(1, 1, 20, 20), box(30, 25, 10.6, 10.2)]),  # a stop sign in two parts: class 12
    (581, 3, 0, [box(10, 10, 8, 8)]),  # a small car under a truck that comes later
    (581, 8, 0, [[4.0, 4.0, 44.0, 6.0, 40.0, 44.0, 6.0, 40.0]]),
    (34, 1, 1, runs((50, 50), (5, 5, 30, 30))),
    (25, 1, 1, runs((60, 40), (0, 0, 12, 40))),  # a crowd that the toothbrush reaches into
    (25, 44, 0, packed_runs((60, 40), (45, 3, 10, 20), (50, 30, 5, 5))),
    (73, 62, 0, [box(-3, 30, 20, 30)]),  # reaches out of the image
    (73, 67, 0, [[1.0, 1.0, 9.0, 9.0]]),  # two points: no pixel, as the chair beside it has
]
TRAIN = ["COCO_train2014_000000000009", "COCO_train2014_000000000025", "COCO_train2014_000000000581"]
VAL = ["COCO_val2014_000000000042", "COCO_val2014_000000000073"]
NO_OBJECTS = {
    "train": ["COCO_train2014_000000000030", "COCO_train2014_000000000034"],
    "val": ["COCO_val2014_000000581929"],
}
SMALL = {"train": 3, "val": 2, "train_all": 5, "val_all": 3}
LABELS = {
    TRAIN[0]: ["person", "dog"],
    TRAIN[1]: ["bottle", "toothbrush"],
    TRAIN[2]: ["car", "truck"],
    VAL[0]: ["stop sign"],
    VAL[1]: ["chair", "dining table"],
} | {image_id: [] for ids in NO_OBJECTS.values() for image_id in ids}


def id_of(image):
    return f"COCO_{IMAGES[image][0]}2014_{image:012d}"


def annotations(split):
    """The content of instances_SPLIT2014.json."""
    images = [
        {
            "license": 5,
            "file_name": f"{id_of(image)}.jpg",
            "coco_url": f"http://images.cocodataset.org/{split}2014/{id_of(image)}.jpg",
            "height": size[0],
            "width": size[1],
            "date_captured": "2013-11-14 11:18:45",
            "id": image,
        }
        for image, (part, size) in IMAGES.items()
        if part == split
    ]
    objects = [
        {
            "segmentation": segmentation,
            "area": 1.5,
            "iscrowd": crowd,
            "image_id": image,
            "bbox": [1.0, 2.0, 3.0, 4.0],
            "category_id": category,
            "id": 100 * number + 7,
        }
        for number, (image, category, crowd, segmentation) in enumerate(OBJECTS)
        if IMAGES[image][0] == split
    ]
    return {
        "info": {"description": "COCO 2014 Dataset", "year": 2014},
        "images": images,
        "licenses": [{"url": "http://creativecommons.org", "id": 5, "name": "Attribution License"}],
        "annotations": objects,
        "categories": [{"supercategory": "thing", "id": key, "name": name} for key, name in CATEGORIES.items()],
    }


def make_trees(base):
    """base/annotations, base/train2014 and base/val2014."""
    for image, (split, size) in IMAGES.items():
        path = base / f"{split}2014" / f"{id_of(image)}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(image).integers(0, 255, (*size, 3), np.uint8)
        Image.fromarray(pixels[..., 0] if image == 73 else pixels).save(path)  # COCO has grey ones as well
    (base / "annotations").mkdir()
    for split in ("train", "val"):
        write_json(base / f"annotations/instances_{split}2014.json", annotations(split))
        write_json(base / f"annotations/captions_{split}2014.json", {"annotations": []})


def write_json(path, value):
    path.write_text(json.dumps(value))


def pack(base, folder):
    """The three archives of the trees, as COCO packs them."""
    folder.mkdir()
    for name, top in (
        ("train2014.zip", "train2014"),
        ("val2014.zip", "val2014"),
        ("annotations_trainval2014.zip", "annotations"),
    ):
        kind = zipfile.ZIP_DEFLATED if top == "annotations" else zipfile.ZIP_STORED
        with zipfile.ZipFile(folder / name, "w", kind) as archive:
            archive.writestr(f"{top}/", "")
            for path in sorted((base / top).iterdir()):
                archive.write(path, f"{top}/{path.name}")


def plain_object(segmentation, size):
    """The pixels of an object, written out: run lengths one by one, and the outline by pycocotools' drawing alone."""
    height, width = size
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        flat, value = [], 0
        for count in segmentation["counts"]:
            flat += [value] * count
            value = 1 - value
        return np.array([[flat[column * height + row] for column in range(width)] for row in range(height)], bool)
    if isinstance(segmentation, dict):
        return pycocotools_mask.decode({**segmentation, "counts": segmentation["counts"].encode()}).astype(bool)
    polygons = [polygon for polygon in segmentation if len(polygon) > 4]
    covered = np.zeros(size, bool)
    for polygon in polygons:
        covered |= pycocotools_mask.decode(pycocotools_mask.frPyObjects([polygon], height, width))[..., 0].astype(bool)
    return covered


def plain_mask(image, overlap="later", crowd="background"):
    """The protocol in a few lines."""
    size = IMAGES[image][1]
    labels = np.zeros(size, np.uint8)
    mine = [(plain_object(seg, size), CLASSES[category], crowds) for i, category, crowds, seg in OBJECTS if i == image]
    if crowd == "ignore":
        for covered, _, crowds in mine:
            labels[covered] = 255 if crowds else labels[covered]
    mine = [each for each in mine if crowd == "object" or not each[2]]
    if overlap == "smallest":
        mine = sorted(mine, key=lambda each: each[0].sum(), reverse=True)
    for covered, label, _ in mine:
        labels[covered] = label
    return labels


def drawn_by_pil(polygon, size):
    """Another program's drawing of a polygon: the border differs by half a pixel."""
    image = Image.new("L", size[::-1])
    ImageDraw.Draw(image).polygon([tuple(p) for p in np.array(polygon).reshape(-1, 2) - 0.5], fill=1, outline=0)
    return np.array(image, bool)
