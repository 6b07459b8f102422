"""Oxford-IIIT Pet from its archives, extracted trees or a download -> cats and dogs in the layout of `data.layout`.

A demonstration, so a part of it, small enough for a laptop: every STEPS-th cat and dog of the official lists, in their
order, with a longer side of at most LONG_SIDE. train_aug is from trainval, val from test, train every TRAIN-th of
train_aug. The trimaps' pet becomes the class of the list, their border is not counted.

All photographs are written as RGB JPEGs: some of the official .jpg files are PNGs or GIFs, grey or with alpha.
Lists, classes and labels are written last.
"""

import re
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from conventions import BACKGROUND, IGNORE
from data.image import open_image, save_jpeg, scaled_size
from data.label_png import read_label_png, save_label_png
from data.layout import read_lines, save_texts
from data.official import check_count, in_one_line, is_done, own_folder
from data.sources import GB, check_space, missing_bytes, require
from errors import UserError
from pets.sources import NAME, SOURCES, only
from tool.parallel import parallel_map

CLASS_NAMES = ("background", "cat", "dog")
SPECIES = {"1": "cat", "2": "dog"}  # of the official lists
COUNTS = {"trainval": 3680, "test": 3669}
STEPS = {"trainval": {"cat": 6, "dog": 12}, "test": {"cat": 16, "dog": 33}}  # there are two dogs to a cat
TRAIN = 4
LONG_SIDE = 320
PET, AROUND, BORDER = 1, 2, 3  # of a trimap
ROOM = GB // 10  # bytes of the photographs that are taken, unpacked and converted, and of their masks
SHOWN = 20  # photographs by name


class Made(NamedTuple):
    """A photograph that was converted. kind: PIL's name of its format. problem: why it cannot be used, else None."""

    name: str
    kind: str | None
    problem: str | None


def prepare_pets(settings):
    """Make the data set, or what is missing of it. settings: of prepare_dataset.py. Raises UserError."""
    root = Path(settings.dataset_root)
    with in_one_line(root):
        if not is_done(root, ("train_aug", "train", "val"), None, {}):
            _make(root, settings)


def _make(root, settings):
    missing = {SOURCES[key].name: missing_bytes(SOURCES[key], settings) for key in ("images", "lists")}
    needed = sum(missing.values()) + ROOM
    free = check_space(root, needed, "Oxford-IIIT Pet's archives and photographs")
    fetched = ", ".join(f"{name}: {size / 1e6:.0f} MB to download" for name, size in missing.items() if size)
    print(f"{root}: needs {needed / GB:.1f} GB{fetched and f' ({fetched})'}; {free / GB:.1f} GB are free", flush=True)
    annotations = require(SOURCES["lists"], settings)
    pets = {part: read_pets(annotations / f"{part}.txt") for part in STEPS}
    for part, found in pets.items():
        check_count(part, found, COUNTS if settings.check_counts else {}, [annotations])
    chosen = {part: choose(found, STEPS[part]) for part, found in pets.items()}
    species = {name: pets[part][name] for part, names in chosen.items() for name in names}
    trees = {key: require(only(SOURCES[key], species), settings) for key in ("images", "trimaps")}
    _check_complete(trees["images"], [f"{name}.jpg" for name in species])
    _check_complete(trees["trimaps"], [f"{name}.png" for name in species])
    for folder in ("JPEGImages", "SegmentationClassAug"):
        own_folder(root / folder)
    made = parallel_map(partial(make_pair, root, trees, species), [*species], settings.num_workers, "photographs")
    bad = _said(made, settings.skip_bad)
    train_aug, val = ([name for name in names if name not in bad] for names in chosen.values())
    lists = {"train": train_aug[::TRAIN], "train_aug": train_aug, "val": val}
    save_texts(root, CLASS_NAMES, lists, {name: [species[name]] for name in (*train_aug, *val)})


def read_pets(path):
    """{name: species} of an official list, `NAME CLASS-ID SPECIES BREED-ID` a line, in order. Raises UserError."""
    if not path.exists():
        raise UserError(f"{path}: missing: is the tree complete?")
    pets = {}
    for number, line in read_lines(path):
        name, *numbers = line.split()
        if not (re.fullmatch(NAME, name, re.ASCII) and len(numbers) == 3 and numbers[1] in SPECIES):
            raise UserError(
                f"{path}, line {number}: is not `NAME CLASS-ID SPECIES BREED-ID` with the species 1 or 2: take the "
                "official list"
            )
        if name in pets:
            raise UserError(f"{path}, line {number}: names {name} a second time: take the official list")
        pets[name] = SPECIES[numbers[1]]
    if not pets:
        raise UserError(f"{path}: lists no image: take the official list")
    return pets


def choose(pets, steps):
    """Every n-th name of each species, in the order of the list. pets: {name: species}. steps: {species: n}."""
    taken = set()
    for species, step in steps.items():
        taken.update([name for name, own in pets.items() if own == species][::step])
    return [name for name in pets if name in taken]


def _check_complete(tree, files):
    missing = sorted({*files} - {path.name for path in tree.iterdir()})
    if missing:
        raise UserError(
            f"{tree}: lacks {len(missing)} of the {len(files)} files that are taken, such as {missing[0]}: delete the "
            "folder and run this again, or take the official archive"
        )


def make_pair(root, trees, species, name):
    """Write JPEGImages/NAME.jpg and SegmentationClassAug/NAME.png. Returns Made; with a problem nothing is written.

    Both are taken as their pixels are stored, as torchvision reads them: so they fit whatever EXIF says.
    """
    try:
        kind, photograph = _read_photograph(trees["images"] / f"{name}.jpg")
        mask = read_mask(trees["trimaps"] / f"{name}.png", CLASS_NAMES.index(species[name]), photograph.size[::-1])
    except UserError as error:
        return Made(name, None, str(error))
    height, width = scaled_size(mask.shape, min(1, LONG_SIDE / max(mask.shape)))
    smaller = photograph.resize((width, height), Image.Resampling.LANCZOS)
    save_jpeg(root / "JPEGImages" / f"{name}.jpg", smaller, quality=95, subsampling=0)
    mask = np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    save_label_png(root / "SegmentationClassAug" / f"{name}.png", mask)
    return Made(name, kind, None)


def _read_photograph(path):
    """(PIL's name of its format, the photograph as RGB)."""
    with open_image(path) as picture:
        return picture.format, picture.convert("RGB")


def read_mask(path, label, size):
    """A trimap as class numbers, uint8 [H,W]. label: the pet's class. size: (H, W) of its photograph."""
    trimap = read_label_png(path)
    if trimap.shape != size:
        raise UserError(f"{path}: is {list(trimap.shape)}, its photograph {list(size)}")
    if not np.isin(trimap, (PET, AROUND, BORDER)).all():
        raise UserError(f"{path}: is no trimap: it holds other values than 1 (pet), 2 (background) and 3 (border)")
    return np.select([trimap == PET, trimap == AROUND], [label, BACKGROUND], IGNORE).astype(np.uint8)


def _said(made, skip_bad):
    """The names that cannot be used, after saying them and which photographs are no JPEGs. Raises UserError for the
    first of those that cannot be used, unless skip_bad."""
    made = sorted(made)
    bad = {each.name: each.problem for each in made if each.problem}
    if bad and (not skip_bad or len(bad) == len(made)):
        others = f"; {len(bad) - 1} more of the {len(made)} cannot be used either" * (len(bad) > 1)
        raise UserError(f"{next(iter(bad.values()))}{others}{' (--skip_bad leaves such out)' * (not skip_bad)}")
    for problem in bad.values():
        print(f"left out: {problem}", file=sys.stderr)
    other = [f"{each.name}.jpg ({each.kind})" for each in made if not each.problem and each.kind != "JPEG"]
    if other:
        print(f"{len(other)} of {len(made)} photographs are no JPEGs and were converted: {', '.join(other[:SHOWN])}")
    return bad
