"""Pictures as data: URIs, small enough for a page that holds hundreds of them."""

import base64
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

THUMBNAIL = 200  # pixels of the longer side


class Picture(NamedTuple):
    """uri: data: URI of a thumbnail."""

    title: str
    uri: str


def thumbnail(picture, side=THUMBNAIL):
    """uint8 [H,W,3] with its longer side at most `side`, by averaging. Returns uint8 [h,w,3]."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(image)


def jpeg_uri(picture, quality=80):
    """picture: uint8 [H,W,3], for photographs and what is drawn over them."""
    return _uri(Image.fromarray(picture), "JPEG", quality=quality)


def label_uri(labels, palette, side=THUMBNAIL):
    """labels: integers [H,W] in 0-255, as a palette PNG with sharp edges. palette: uint8 [256,3]."""
    image = Image.fromarray(np.asarray(labels, np.uint8))
    factor = min(1, side / max(image.size))
    image = image.resize([max(1, round(length * factor)) for length in image.size], Image.Resampling.NEAREST)
    image.putpalette(palette.tobytes())
    return _uri(image, "PNG", optimize=True)


def file_uri(path):
    """A PNG file as it is."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _uri(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(file.getvalue()).decode()
