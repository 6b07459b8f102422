"""Images that are decoded at a part of their size, and the size that a header tells, are as the whole image."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as F
from picturing import chw, mean_difference, save
from PIL import Image, ImageOps

from data.layout import Layout
from errors import UserError


def test_a_large_jpeg_that_ends_early_has_a_size_but_is_not_decoded(root, photo):
    path = root / "JPEGImages/a.jpg"
    photo.save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    assert Layout(root).size("a") == (480, 720)
    for at_least in (None, (100, 100), (400, 400)):
        with pytest.raises(UserError, match="a.jpg: cannot be decoded as an image: .*truncated"):
            Layout(root).image("a", at_least)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", [None, *range(10)])
def test_sizes_and_reduced_images_are_turned_as_the_whole_image(root, photo, orientation, suffix):
    """0 and 9 are no orientations."""
    path = root / f"JPEGImages/a.{suffix}"
    save(photo, path, orientation)
    layout = Layout(root)
    with Image.open(path) as opened:
        expected = chw(np.array(ImageOps.exif_transpose(opened)))
    assert layout.size("a") == expected.shape[1:] == layout.image("a").shape[1:]
    height, width = layout.size("a")
    reduced = layout.image("a", at_least=(height // 4, width // 4))
    assert reduced.shape == ((3, height // 4, width // 4) if suffix == "jpg" else expected.shape)
    assert reduced.dtype == torch.uint8
    assert mean_difference(F.resize(reduced, [60, 60]), F.resize(expected, [60, 60])) < 2


def add_segment(path, data):
    """Puts an APP1 segment before all others of a JPEG."""
    whole = path.read_bytes()
    path.write_bytes(whole[:2] + b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data + whole[2:])


@pytest.mark.parametrize(
    "data",
    [
        b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>",
        b"Exif\0\0",
        b"Exif\0\0MM",
        b"Exif",
        b"",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12",
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0MM\0+\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0",  # 6, but not as EXIF begins
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",  # 6, the other byte order
        b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x0f\0\x02\0\0\0\xff\0\0\xff\0"  # 6 after a damaged tag
        b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of PIL, about damaged tags
def test_all_ways_of_reading_agree_on_odd_exif_data(root, photo, data):
    """Or a photo on its side would be squeezed into the wrong shape."""
    path = root / "JPEGImages/a.jpg"
    save(photo, path, 8)
    add_segment(path, data)
    height, width = Layout(root).image("a").shape[1:]
    assert Layout(root).size("a") == (height, width)
    assert Layout(root).image("a", at_least=(100, 100)).shape == (3, height // 4, width // 4)


@pytest.mark.parametrize(
    "at_least, size",
    [
        ((480, 720), (480, 720)),
        ((241, 361), (480, 720)),
        ((240, 360), (240, 360)),
        ((239, 359), (240, 360)),
        ((100, 359), (240, 360)),
        ((100, 361), (480, 720)),
        ((239, 50), (240, 360)),
        ((241, 50), (480, 720)),
        ((120, 180), (120, 180)),
        ((61, 10), (120, 180)),
        ((60, 90), (60, 90)),
        ((1, 1), (60, 90)),
        ((900, 100), (480, 720)),
    ],
)
def test_reduced_images_are_the_smallest_that_are_not_below_what_is_asked(root, photo, at_least, size):
    photo.save(root / "JPEGImages/a.jpg")
    image = Layout(root).image("a", at_least)
    assert image.shape == (3, *size)
    if size == (480, 720):
        assert torch.equal(image, Layout(root).image("a"))


@pytest.mark.parametrize("height, width", [(480, 720), (479, 713), (473, 720), (1, 700)])
@pytest.mark.parametrize("part", [8, 7, 4, 2.1])
def test_reduced_images_of_odd_sizes_stay_within_a_pixel(root, height, width, part):
    """libjpeg rounds sizes up, so that an image may be stretched by less than a pixel: two ramps show by how much."""
    rows, columns = np.linspace(0, 120, height)[:, None], np.linspace(0, 120, width)
    Image.fromarray((rows + columns).round().astype(np.uint8)).save(root / "JPEGImages/a.jpg", quality=100)
    at_least = [max(1, int(side / part)) for side in (height, width)]
    whole, reduced = Layout(root).image("a"), Layout(root).image("a", at_least)
    assert height == 1 or reduced[0].numel() < whole[0].numel()
    assert all(side >= asked for side, asked in zip(reduced.shape[1:], at_least))
    whole, reduced = (F.resize(image, at_least, antialias=True).int() for image in (whole, reduced))
    assert (whole - reduced).abs().max() <= 120 / at_least[0] + 120 / at_least[1] + 1


@pytest.mark.parametrize("options", [{}, {"quality": 95, "subsampling": 0}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("at_least", [(200, 300), (110, 165), (50, 75)])
def test_reduced_images_resize_to_nearly_what_whole_ones_do(root, photo, mode, options, at_least):
    photo.convert(mode).save(root / "JPEGImages/a.jpg", **options)
    whole, reduced = Layout(root).image("a"), Layout(root).image("a", at_least)
    assert reduced.shape[0] == 3 and reduced[0].numel() < whole[0].numel()
    whole, reduced = (F.resize(image, at_least, antialias=True) for image in (whole, reduced))
    assert mean_difference(whole, reduced) < 1.5
    for dy, dx in ((0, 1), (1, 0)):  # and they lie on each other: a shift by a pixel shows
        assert mean_difference(whole, reduced.roll((dy, dx), (1, 2))) > 1.5 * mean_difference(whole, reduced)


def test_jpegs_of_several_pictures_are_reduced_too(root, photo):
    """Phones save them: a second picture holds depth or another exposure."""
    save(photo, root / "JPEGImages/a.jpg", 6, format="MPO", save_all=True, append_images=[photo.rotate(180)])
    layout = Layout(root)
    assert layout.size("a") == (720, 480)
    whole, reduced = layout.image("a"), layout.image("a", at_least=(180, 120))
    assert reduced.shape == (3, 180, 120)
    assert mean_difference(F.resize(whole, [180, 120], antialias=True), reduced) < 1.5
