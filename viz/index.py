"""The index of what predict.py wrote: pages of thumbnails beside its outputs, whose links lead to them."""

import os
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from errors import UserError
from files import atomic, check_file
from viz.answer import TITLES
from viz.page import environment
from viz.pictures import THUMBNAIL, data_uri, thumbnail

PER_PAGE = 100  # images: a page has a few megabytes, however many images there are
SHOWN = "_overlay.jpg"  # the output that stands for its kind
SIGN = '<meta name="generator" content="AE-SIPE predict.py">'


class Index:
    """index.html, index_2.html, ... of a folder, each of which is written once the images that it shows are added.

    folder: of the outputs. title: of the pages. count: of the images that will be added.
    Raises UserError for a page of somebody else's, which would be lost.
    """

    def __init__(self, folder, title, count):
        self.folder, self.title, self.count, self.images = Path(folder), title, count, []
        self.names = ["index.html", *(f"index_{number}.html" for number in range(2, -(-count // PER_PAGE) + 1))]
        for path in (self.folder / name for name in self.names):
            if path.exists() and not is_signed(path, SIGN):
                raise UserError(f"{path}: would be overwritten: move it, or choose another --out")
        self.first, self.added = self.folder / self.names[0], 0

    def add(self, path, said, pixels=None, start=None, written=()):
        """Add an image.

        said: of it, or what is wrong with it. pixels: uint8 [H,W,3]; None for an image that could not be read. start:
        the path that the names of its outputs begin with. written: their names.
        """
        name, pictures = readable(path), []
        if pixels is not None:
            pictures.append(("image", f"image {name}", data_uri(thumbnail(pixels)), None, []))
        for output in (each for each in written if each.endswith(SHOWN)):
            kind = output.removeprefix(f"{start.name}_").removesuffix(SHOWN)
            labels, heat = (output.removesuffix(SHOWN) + ending for ending in (".png", "_heat.jpg"))
            more = [
                (title, self._link(start, each))
                for title, each in (("labels", labels), ("heat", heat))
                if each in written
            ]
            uri = data_uri(_read_thumbnail(start.with_name(output)))
            title = TITLES.get(kind, kind)
            pictures.append((title, f"{title} of {name}: {readable(said)}", uri, self._link(start, output), more))
        self.images.append((name, readable(said), pictures))
        self.added += 1
        if len(self.images) == PER_PAGE or self.added == self.count:
            self._write()

    def _link(self, start, name):
        """A relative link to an output, whose name may hold anything."""
        return quote(os.fsencode(start.with_name(name).relative_to(self.folder)))

    def _write(self):
        number = -(-self.added // PER_PAGE)
        context = {"title": readable(self.title), "sign": SIGN, "count": self.count, "names": self.names}
        context |= {"number": number, "images": self.images, "first": self.added - len(self.images) + 1}
        with atomic(self.folder / self.names[number - 1]) as temporary:
            temporary.write_text(environment().get_template("index.html").render(context), encoding="utf-8")
        self.images = []


def is_signed(path, sign):
    """Whether a page is there that begins with the sign of the script that makes such pages."""
    check_file(path)
    return path.exists() and sign.encode() in path.read_bytes()[:500]


def readable(text):
    """A path or text whose bytes need not be UTF-8, as UTF-8 can hold it."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def _read_thumbnail(path):
    """uint8 [H,W,3] of a JPEG, decoded at a part of its size where that is enough."""
    with Image.open(path) as image:
        image.draft("RGB", (THUMBNAIL, THUMBNAIL))
        return thumbnail(np.asarray(image.convert("RGB")))
