"""Image files of every kind become RGB, or are refused."""

from functools import partial

import cv2
import numpy as np
import pytest
import torch
from picturing import chw, save, write_tiff
from PIL import ExifTags, Image

from data.image import image_size, save_jpeg
from data.layout import Layout
from errors import UserError


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "1"])
def test_every_kind_of_png_becomes_rgb(root, pixels, mode):
    picture = Image.fromarray(pixels).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.fromarray(pixels[..., 0]))  # transparency is dropped, not blended
        expected = pixels
    else:
        expected = np.array(picture.convert("RGB"))
    picture.save(root / "JPEGImages/a.png")
    image = Layout(root).image("a")
    assert image.dtype == torch.uint8 and torch.equal(image, chw(expected))


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_png_becomes_8_bit(root, pixels, channels):
    deep = pixels.astype(np.uint16) * 257
    cv2.imwrite(str(root / "JPEGImages/a.png"), deep[..., 0] if channels == 1 else deep[..., ::-1])
    image = Layout(root).image("a")
    assert image.dtype == torch.uint8 and image.shape == (3, 20, 30)
    expected = chw(pixels if channels == 3 else pixels[..., :1].repeat(3, axis=2))
    assert (image.int() - expected.int()).abs().max() <= 1


def test_grey_and_cmyk_jpeg_become_rgb(root):
    smooth = np.full((16, 24, 3), (200, 90, 40), np.uint8)
    Image.fromarray(smooth).convert("L").save(root / "JPEGImages/a.jpg")
    grey = Layout(root).image("a")
    assert grey.shape == (3, 16, 24) and (grey[0] == grey[1]).all() and (grey[0] == grey[2]).all()
    Image.fromarray(smooth).convert("CMYK").save(root / "JPEGImages/b.jpg")
    assert (Layout(root).image("b").int() - chw(smooth).int()).abs().max() <= 6


@pytest.mark.parametrize(
    "orientation, turn",
    [
        (3, lambda x: x.rot90(2, (1, 2))),
        (6, lambda x: x.rot90(-1, (1, 2))),
        (8, lambda x: x.rot90(1, (1, 2))),
        (2, lambda x: x.flip(2)),
    ],
)
def test_exif_orientation_is_applied(root, orientation, turn):
    blocks = np.zeros((32, 48, 3), np.uint8)
    blocks[:16, :16] = 255  # bright at the top left as stored
    save(Image.fromarray(blocks), root / "JPEGImages/a.jpg", orientation, quality=95)
    image = Layout(root).image("a")
    expected = turn(chw(blocks))
    assert image.shape == expected.shape and (image.int() - expected.int()).abs().max() < 30


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_the_size_in_the_header_is_that_of_the_turned_image(root, suffix, orientation):
    """Found: Pillow turns the size of a TIFF as it opens it, and ours was turned once more."""
    path = root / f"JPEGImages/a.{suffix}"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (48, 32)).save(path, exif=exif)
    assert image_size(path) == tuple(Layout(root).image("a").shape[1:]) == ((48, 32) if orientation > 4 else (32, 48))


def test_a_jpeg_is_whole_or_not_there(tmp_path):
    """Found: on a full disk Pillow wrote half of it without a word."""
    resource = pytest.importorskip("resource")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UserError, match="a.jpg: cannot be written"):
            save_jpeg(tmp_path / "a.jpg", noise, quality=95)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_broken_images_are_named(root, pixels, keep):
    path = root / "JPEGImages/a.jpg"
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="a.jpg: cannot be decoded") as error:
        Layout(root).image("a")
    assert "\n" not in str(error.value)
    for read in (Layout(root).size, lambda name: Layout(root).image(name, at_least=(2, 3))):
        with pytest.raises(UserError) as same:
            read("a")
        assert str(same.value) == str(error.value)


@pytest.mark.parametrize("name", ["a.jpeg", "a.JPG", "a.PNG", "a.WebP", "a.bmp", "a.TIF", "a.tiff", "a.gif", "a.JPeG"])
def test_suffixes_of_any_case_and_format_are_found(root, pixels, name):
    Image.fromarray(pixels).save(root / "JPEGImages" / name)
    assert Layout(root).image("a").shape == (3, 20, 30) and Layout(root).size("a") == (20, 30)


def test_images_of_floats_are_refused(root, pixels):
    Image.fromarray(pixels[..., 0].astype(np.float32) / 255).save(root / "JPEGImages/a.tif")
    with pytest.raises(UserError, match="a.tif: cannot be decoded as an image: its values are floats"):
        Layout(root).size("a")


def test_tiffs_of_12_and_16_bits_are_as_bright_as_they_should_be(root):
    grey = np.arange(240, dtype=np.uint16).reshape(12, 20)
    deep = grey << 4  # of 12 bits
    pairs = np.stack([deep[:, ::2] >> 4, deep[:, ::2] << 4 & 255 | deep[:, 1::2] >> 8, deep[:, 1::2] & 255], axis=2)
    path = root / "JPEGImages/a.tif"
    for write in (
        partial(write_tiff, path, pairs.reshape(12, 30).astype(np.uint8), 12, 20),
        partial(write_tiff, path, grey * 257, 16, 20),
        partial(write_tiff, path, 65535 - grey * 257, 16, 20, 0),
    ):
        write()
        assert np.array_equal(Layout(root).image("a")[0].numpy(), grey)


@pytest.mark.parametrize(
    "values", [np.full((6, 9), 200, np.int32), np.full((6, 9), 2**31, np.uint32), np.full((6, 9), 9000, np.int16)]
)
def test_tiffs_of_32_bits_are_refused(root, values):
    """What is white among them, nobody knows: taken for 16 bits, they were black."""
    assert cv2.imwrite(str(root / "JPEGImages/a.tif"), values)
    for read in (Layout(root).size, Layout(root).image, Layout(root).image_facts):
        with pytest.raises(UserError, match="a.tif: cannot be decoded as an image: its values are whole numbers of 32"):
            read("a")


def test_a_16_bit_image_may_be_turned(root, pixels):
    save(Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), root / "JPEGImages/a.png", 6)
    expected = torch.from_numpy(np.rot90(pixels[..., 0], -1).copy())
    assert Layout(root).size("a") == (30, 20) and torch.equal(Layout(root).image("a")[0], expected)
