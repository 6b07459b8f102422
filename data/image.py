"""Image files of any usual kind as RGB tensors. Raises UserError, which names the file, for what cannot be read.

NumPy and PyTorch are imported where an array is needed: a stage that finds all done needs none.
"""

from contextlib import contextmanager
from io import BytesIO

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from errors import UserError
from files import atomic, check_file

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # of PIL; among others it would start Ghostscript
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
WIDTH, HEIGHT, BITS, PHOTOMETRIC, WHITE_IS_ZERO = 256, 257, 258, 262, 0  # tags of TIFF, and a value
MAX_PIXELS = 50_000_000  # of an image; ten times as many would still fit a small file
Image.MAX_IMAGE_PIXELS = None  # PIL would warn from another size on: `open_image` is the one that refuses


def image_size(path):
    """(H, W) of an image file as `read_image` returns it, from its header alone."""
    with open_image(path) as picture:
        tags = getattr(picture, "tag_v2", {})  # of a TIFF, whose size Pillow may have turned already
        width, height = tags.get(WIDTH, picture.width), tags.get(HEIGHT, picture.height)
        return (width, height) if orientation(picture) in SIDEWAYS else (height, width)


def scaled_size(size, factor, what="an image"):
    """(h, w) of an image of size (H, W) resized by a factor. Raises UserError, which begins with `what`, if that is
    above MAX_PIXELS, or rounds to no pixel at all."""
    height, width = (side * factor for side in size)
    if not (min(height, width) >= 0.5 and height * width <= MAX_PIXELS):  # NaN is neither
        raise UserError(
            f"{what} of {size[1]} x {size[0]} cannot be resized by {factor:g}: at least 1 pixel a side and "
            f"at most {MAX_PIXELS} in all are taken: give other scales, or resize the image"
        )
    return max(1, round(height)), max(1, round(width))


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


def save_jpeg(path, picture, **options):
    """Write a PIL image as a JPEG. Pillow passes over a full disk where it writes a JPEG to a file by itself."""
    encoded = BytesIO()
    picture.save(encoded, format="JPEG", **options)
    with atomic(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())


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
