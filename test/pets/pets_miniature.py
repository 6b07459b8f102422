"""Oxford-IIIT Pet with 108 small made-up pets in the official format, and what trips readers of the real one up."""

import io
import tarfile

import numpy as np
from PIL import Image, ImageOps

ORIENTATION = 0x0112  # EXIF's tag


def _lines(*parts):
    """Of (breed, its class, species, breed ID, first number, how many)."""
    return [
        f"{breed}_{number} {label} {species} {breed_id}"
        for breed, label, species, breed_id, first, count in parts
        for number in range(first, first + count)
    ]


LISTS = {
    "trainval": _lines(
        ("Abyssinian", 1, 1, 1, 1, 12),
        ("american_bulldog", 2, 2, 1, 1, 12),
        ("beagle", 5, 2, 4, 1, 12),
        ("Egyptian_Mau", 12, 1, 5, 130, 12),
    ),
    "test": _lines(
        ("Abyssinian", 1, 1, 1, 101, 10),
        ("american_bulldog", 2, 2, 1, 101, 20),
        ("beagle", 5, 2, 4, 101, 20),
        ("Egyptian_Mau", 12, 1, 5, 201, 10),
    ),
}
SMALL = {part: len(lines) for part, lines in LISTS.items()}
CATS = ["Abyssinian_1", "Abyssinian_7", "Egyptian_Mau_130", "Egyptian_Mau_136"]  # every 6th of trainval's 24
DOGS = ["american_bulldog_1", "beagle_1"]  # every 12th of 24
TRAIN_AUG = [*CATS[:2], *DOGS, *CATS[2:]]  # in the order of the list
TRAIN = ["Abyssinian_1", "Egyptian_Mau_130"]
VAL = ["Abyssinian_101", "american_bulldog_101", "beagle_114", "Egyptian_Mau_207"]
LARGE = "beagle_1"
COLOURS = {1: (200, 40, 30), 2: (30, 60, 200), 3: (115, 50, 115)}  # by the trimap's values


def size_of(name):
    """(H, W)."""
    return (500, 700) if name == LARGE else (40 + len(name) % 5, 61)


def trimap(name):
    """A pet with a border around it, not in the middle."""
    height, width = size_of(name)
    values = np.full((height, width), 2, np.uint8)
    values[height // 8 : height // 2, width // 5 : width // 2] = 3
    values[height // 8 + 2 : height // 2 - 2, width // 5 + 2 : width // 2 - 2] = 1
    return values


def photograph(name):
    """In colours that tell pet, border and background, so that the two can be seen to fit."""
    return Image.fromarray(np.array([(0, 0, 0), *COLOURS.values()], np.uint8)[trimap(name)])


def content(name):
    """The bytes of images/NAME.jpg, whatever they really are."""
    picture, file = photograph(name), io.BytesIO()
    if name == "Egyptian_Mau_130":
        picture.quantize(8).save(file, "GIF")
    elif name == "Egyptian_Mau_136":
        picture.putalpha(128)
        picture.save(file, "PNG")
    elif name == "Egyptian_Mau_207":
        picture.save(file, "BMP")
    elif name == "Abyssinian_7":
        ImageOps.grayscale(picture).save(file, "JPEG", quality=95)
    elif name == "beagle_114":
        picture.convert("CMYK").save(file, "JPEG", quality=95, subsampling=0)
    elif name == "Abyssinian_101":  # said to lie on its side
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        picture.save(file, "JPEG", quality=95, subsampling=0, exif=exif)
    else:
        picture.save(file, "JPEG", quality=95, subsampling=0)
    # Extraneous bytes before the end, as libjpeg says of two of the real ones.
    return file.getvalue()[:-2] + bytes(20) + b"\xff\xd9" if name == "american_bulldog_1" else file.getvalue()


def make_tree(base):
    """base/images and base/annotations."""
    (base / "images").mkdir(parents=True)
    (base / "annotations/trimaps").mkdir(parents=True)
    (base / "annotations/xmls").mkdir()
    for part, lines in LISTS.items():
        (base / f"annotations/{part}.txt").write_text("".join(f"{line}\n" for line in lines))
        for name in (line.split()[0] for line in lines):
            (base / f"images/{name}.jpg").write_bytes(content(name))
            Image.fromarray(trimap(name)).save(base / f"annotations/trimaps/{name}.png")
    (base / "annotations/README").write_text("trimaps/ 1: Foreground 2:Background 3: Not classified\n")
    (base / "annotations/xmls/Abyssinian_1.xml").write_text("<annotation/>\n")
    for place in ("images/Egyptian_Mau_130.mat", "annotations/trimaps/._Abyssinian_1.png", "images/._beagle_1.jpg"):
        (base / place).write_bytes(b"\0\5\26\7 of macOS or MATLAB")


def pack(base, folder):
    """The two archives of the tree."""
    folder.mkdir()
    for top in ("images", "annotations"):
        with tarfile.open(folder / f"{top}.tar.gz", "w:gz", compresslevel=1) as archive:
            archive.add(base / top, top)
