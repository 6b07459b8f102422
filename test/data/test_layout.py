import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from data.layout import Layout, read_label_png
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
        Layout(root).labels("a")


@pytest.mark.parametrize("name, read", [
    ("classes.txt", Layout),
    ("lists/train.txt", lambda root: Layout(root).ids("train")),
    ("image_labels.txt", lambda root: Layout(root).labels("a")),
    ("JPEGImages/a", lambda root: Layout(root).image("a")),
    ("SegmentationClass/a.png", lambda root: Layout(root).mask("a")),
])
def test_missing_files_are_named(root, name, read):
    (root / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match=str(root / name)):
        read(root)


@pytest.mark.parametrize("text, message", [
    ("a dog\nb cow\n", r"image_labels\.txt, line 2: class 'cow'"),
    ("b dog\n", r"image_labels\.txt.* no line for a"),
])
def test_missing_classes_and_labels_are_named(root, text, message):
    (root / "image_labels.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        Layout(root).labels("a")


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


@pytest.mark.parametrize("orientation, turn", [(3, lambda x: x.rot90(2, (1, 2))), (6, lambda x: x.rot90(-1, (1, 2))),
                                               (8, lambda x: x.rot90(1, (1, 2))), (2, lambda x: x.flip(2))])
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
