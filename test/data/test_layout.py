import struct
from functools import partial

import cv2
import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as F
from PIL import Image, ImageOps

from data.label_png import read_label_png
from data.layout import Layout
from data.usable import check_labels, usable_ids
from errors import UserError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "SegmentationClass").mkdir()
    (tmp_path / "lists").mkdir()
    (tmp_path / "classes.txt").write_text("background\ncat\ndog\nsofa\n")
    (tmp_path / "image_labels.txt").write_text("a dog cat\nb sofa\nc\n")
    (tmp_path / "lists/train.txt").write_text("b\na\nc\n")
    return tmp_path


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def photo():
    """480x720, with blots of all sizes and an edge, and no symmetry."""
    rng = np.random.default_rng(1)
    noise = [
        cv2.resize(rng.uniform(-1, 1, (2 * n, 3 * n, 3)), (720, 480), interpolation=cv2.INTER_CUBIC) for n in (2, 8, 32)
    ]
    photo = 120 + 60 * noise[0] + 30 * noise[1] + 15 * noise[2]
    photo[300:, 450:] += 60
    return Image.fromarray(photo.clip(0, 255).astype(np.uint8))


def save(photo, path, orientation=None, **options):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    photo.save(path, exif=exif, **options)


def mean_difference(one, other):
    return (one.float() - other.float()).abs().mean()


def chw(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)


def test_lists_keep_their_order_and_labels_follow_the_classes(root):
    layout = Layout(root)
    assert layout.n_classes == 4 and layout.class_names == ["background", "cat", "dog", "sofa"]
    assert layout.ids("train") == ["b", "a", "c"]
    assert [layout.labels(name).tolist() for name in "abc"] == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert layout.labels("a").dtype == torch.float32


def test_text_files_of_windows_and_blank_lines_are_read(root):
    (root / "lists/train.txt").write_bytes(b"b\r\n\r\na  \r\n")
    (root / "image_labels.txt").write_bytes(b"\r\na dog\r\n\r\nb cat\r\n")
    layout = Layout(root)
    assert layout.ids("train") == ["b", "a"] and layout.labels("b").tolist() == [1, 0, 0]


@pytest.mark.parametrize("image_id", ["../x", "a/b", "/etc/passwd", "..", ".", "x/"])
def test_ids_with_parts_of_a_path_are_refused(root, image_id):
    (root / "lists/bad.txt").write_text(f"a\n{image_id}\n")
    with pytest.raises(UserError, match=rf"bad\.txt, line 2: '{image_id}'"):
        Layout(root).ids("bad")


def test_line_numbers_count_blank_lines_as_an_editor_does(root):
    (root / "lists/bad.txt").write_text("a\n\n\n../x\n")
    (root / "image_labels.txt").write_text("a dog\n\nb cow\n")
    with pytest.raises(UserError, match=r"bad\.txt, line 4"):
        Layout(root).ids("bad")
    with pytest.raises(UserError, match=r"image_labels\.txt, line 3"):
        Layout(root).labels("b")


@pytest.mark.parametrize(
    "name, read",
    [
        ("classes.txt", Layout),
        ("lists/train.txt", lambda root: Layout(root).ids("train")),
        ("image_labels.txt", lambda root: Layout(root).labels("a")),
        ("JPEGImages/a", lambda root: Layout(root).image("a")),
        ("JPEGImages/a", lambda root: Layout(root).size("a")),
        ("SegmentationClass/a.png", lambda root: Layout(root).mask("a")),
    ],
)
def test_missing_files_are_named(root, name, read):
    (root / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match=str(root / name)):
        read(root)


@pytest.mark.parametrize(
    "text, message",
    [("b dog\na cow\n", r"image_labels\.txt, line 2: class 'cow'"), ("b dog\n", r"image_labels\.txt.* no line for a")],
)
def test_missing_classes_and_labels_are_named(root, text, message):
    """The lines of other images are read all the same."""
    (root / "image_labels.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        Layout(root).labels("a")
    assert Layout(root).labels("b").tolist() == [0, 1, 0]


@pytest.mark.parametrize("text", ["background\n", "\n", "background\ncat\ncat\n", "\n".join(map(str, range(256)))])
def test_class_lists_that_cannot_be_used(root, text):
    (root / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=r"classes\.txt"):
        Layout(root)


def test_empty_lists_and_files_that_are_no_text(root):
    (root / "lists/train.txt").write_text("\n\n")
    with pytest.raises(UserError, match="lists no image"):
        Layout(root).ids("train")
    (root / "classes.txt").write_bytes(b"background\n\xff\xfe\n")
    with pytest.raises(UserError, match=r"classes\.txt: is no UTF-8"):
        Layout(root)


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
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(blocks).save(root / "JPEGImages/a.jpg", exif=exif, quality=95)
    image = Layout(root).image("a")
    expected = turn(chw(blocks))
    assert image.shape == expected.shape and (image.int() - expected.int()).abs().max() < 30


@pytest.mark.parametrize("suffix", [".jpeg", ".JPG", ".PNG"])
def test_other_suffixes_are_found(root, pixels, suffix):
    Image.fromarray(pixels).save(root / f"JPEGImages/a{suffix}")
    assert Layout(root).image("a").shape == (3, 20, 30)


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


def test_augmented_masks_come_first(root):
    Image.fromarray(np.full((2, 3), 1, np.uint8)).save(root / "SegmentationClass/a.png")
    assert (Layout(root).mask("a") == 1).all()
    (root / "SegmentationClassAug").mkdir()
    Image.fromarray(np.full((2, 3), 2, np.uint8)).save(root / "SegmentationClassAug/a.png")
    assert (Layout(root).mask("a") == 2).all()


def test_without_masks_images_can_be_read_but_nothing_evaluated(root):
    (root / "SegmentationClass").rmdir()
    layout = Layout(root)
    assert layout.mask_folder is None
    with pytest.raises(UserError, match="has no masks"):
        layout.mask("a")


def test_label_pngs_keep_their_indices(tmp_path):
    labels = np.array([[0, 1, 2], [20, 254, 255]], np.uint8)
    picture = Image.fromarray(labels)
    picture.save(tmp_path / "grey.png")
    picture.putpalette(list(range(255, -1, -1)) * 3)  # the palette's colours must not matter
    picture.save(tmp_path / "palette.png")
    for name in ("grey.png", "palette.png"):
        read = read_label_png(tmp_path / name)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, labels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1"])
def test_pictures_are_no_labels(tmp_path, pixels, mode):
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=f"a.png: is a {mode} image"):
        read_label_png(tmp_path / "a.png")


def test_broken_label_pngs_are_named(tmp_path, pixels):
    path = tmp_path / "a.png"
    Image.fromarray(pixels[..., 0]).save(path)
    whole = path.read_bytes()
    for keep in (0, 4, 40, len(whole) // 2):
        path.write_bytes(whole[:keep])
        with pytest.raises(UserError, match="a.png"):
            read_label_png(path)


@pytest.mark.parametrize("name", ["a.WebP", "a.bmp", "a.TIF", "a.tiff", "a.gif", "a.JPeG"])
def test_suffixes_of_any_case_and_format_are_found(root, pixels, name):
    Image.fromarray(pixels).save(root / "JPEGImages" / name)
    assert Layout(root).image("a").shape == (3, 20, 30) and Layout(root).size("a") == (20, 30)


@pytest.mark.parametrize("image_id", ["a b", "a.b.c", "naïve Ω", "二", "a.jpg", "$x$", "-a", "a%d"])
def test_any_name_is_an_id(root, pixels, image_id):
    Image.fromarray(pixels).save(root / f"JPEGImages/{image_id}.png")
    (root / "lists/train.txt").write_text(f"{image_id}\n")
    (root / "image_labels.txt").write_text(f"{image_id}\tcat\tdog\nplain sofa\n")
    layout = Layout(root)
    assert layout.ids("train") == usable_ids(layout, "train", (check_labels,)) == [image_id]
    assert layout.image(image_id).shape == (3, 20, 30)
    assert layout.labels(image_id).tolist() == [1, 1, 0] and layout.labels("plain").tolist() == [0, 0, 1]


def test_tabs_part_names_with_spaces(root):
    (root / "classes.txt").write_text("background\ntraffic light\ncat\n", encoding="utf-8-sig")
    (root / "image_labels.txt").write_text("a b\ttraffic light\tcat\nno class\t\nc cat\n")
    layout = Layout(root)
    assert [layout.labels(name).tolist() for name in ("a b", "no class", "c")] == [[1, 1], [0, 0], [0, 1]]
    (root / "image_labels.txt").write_text("a traffic light\n")
    with pytest.raises(UserError, match="line 1: class 'traffic' of .* is not in classes.txt"):
        Layout(root).labels("a")


def test_two_files_of_one_id_are_refused_and_other_files_left_alone(root, pixels):
    for name in ("a.jpg", "b.jpg", "b.PNG", "._a.jpg"):
        Image.fromarray(pixels).save(root / "JPEGImages" / name)
    (root / "JPEGImages/a.xml").write_text("")
    layout = Layout(root)
    assert layout.image("a").shape == (3, 20, 30)
    for read in (layout.image, layout.size):
        with pytest.raises(UserError, match="JPEGImages: b.PNG and b.jpg have the same ID"):
            read("b")


def test_images_of_floats_are_refused(root, pixels):
    Image.fromarray(pixels[..., 0].astype(np.float32) / 255).save(root / "JPEGImages/a.tif")
    with pytest.raises(UserError, match="a.tif: cannot be decoded as an image: its values are floats"):
        Layout(root).size("a")


def write_tiff(path, values, bits, width, photometric=1):
    """Grey, uncompressed and little endian, of any number of bits: Pillow writes few of them."""
    tags = [
        (256, width),
        (257, len(values)),
        (258, bits),
        (259, 1),
        (262, photometric),
        (273, 8 + 2 + 9 * 12 + 4),
        (277, 1),
        (278, len(values)),
        (279, values.nbytes),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(struct.pack("<4sIH", b"II*\0", 8, len(tags)) + entries + bytes(4) + values.tobytes())


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
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(root / "JPEGImages/a.png", exif=exif)
    expected = torch.from_numpy(np.rot90(pixels[..., 0], -1).copy())
    assert Layout(root).size("a") == (30, 20) and torch.equal(Layout(root).image("a")[0], expected)


def test_255_classes_fit(root):
    (root / "classes.txt").write_text("\n".join(map(str, range(255))))
    (root / "image_labels.txt").write_text("a 254 1\n")
    labels = Layout(root).labels("a")
    assert labels.shape == (254,) and labels.nonzero()[:, 0].tolist() == [0, 253]


def test_missing_lists_and_labels_are_named(root):
    with pytest.raises(UserError, match="lists/val.txt: no such list: there are train$"):
        Layout(root).ids("val")
    (root / "lists/val.txt").write_text("a\nx\ny\n")
    with pytest.raises(UserError, match="has no line for x; 1 more of the 3 in .*lists/val.txt cannot be used either"):
        usable_ids(Layout(root), "val", (check_labels,))
    (root / "image_labels.txt").write_text("a dog\nb cat\na cat\n")
    with pytest.raises(UserError, match="line 3: a second line for a"):
        Layout(root).labels("a")
