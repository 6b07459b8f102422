import numpy as np
import pytest
from PIL import Image

from data.label_png import LOOKED_AT, describe_shares, read_label_png, save_label_png, voc_palette
from errors import UserError


def test_known_colours():
    palette = voc_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    known = {0: (0, 0, 0), 1: (128, 0, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    for index, colour in known.items():
        assert tuple(palette[index]) == colour
    assert len(np.unique(palette, axis=0)) == 256
    np.testing.assert_array_equal(voc_palette(21), palette[:21])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_png_keeps_indices_and_shows_palette(tmp_path, dtype):
    labels = np.array([[0, 1, 15], [20, 254, 255]], dtype)
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    save_label_png(path, labels)
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), labels)
        np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette()[labels])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("labels", [np.array([[256]]), np.array([[-1]]), np.zeros((2, 2)), np.zeros((1, 2, 2), int)])
def test_bad_labels_are_refused_and_leave_nothing(tmp_path, labels):
    with pytest.raises(ValueError):
        save_label_png(tmp_path / "a.png", labels)
    assert not list(tmp_path.iterdir())


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def save(image, file, **options):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(UserError, match="a.png: cannot be written: disk full"):
        save_label_png(path, np.zeros((2, 2), int))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


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
    with pytest.raises(UserError, match=f"a.png: is an image of mode {mode}: labels"):
        read_label_png(tmp_path / "a.png")


def test_broken_label_pngs_are_named(tmp_path, pixels):
    path = tmp_path / "a.png"
    Image.fromarray(pixels[..., 0]).save(path)
    whole = path.read_bytes()
    for keep in (0, 4, 40, len(whole) // 2):
        path.write_bytes(whole[:keep])
        with pytest.raises(UserError, match="a.png"):
            read_label_png(path)


def test_shares_of_labels_and_what_to_do_about_bare_ones(tmp_path):
    def said(*labels):
        for index, values in enumerate(labels):
            save_label_png(tmp_path / f"{index}.png", np.array([values], np.uint8))
        return describe_shares("labels", tmp_path, [str(i) for i in range(len(labels))], "stage.background_weight")

    usual = said([0, 0, 1, 255], [0, 2, 2, 2])
    assert usual == "labels: background 38%, classes 50%, not counted 12% of the pixels of 2 images"
    assert said([1, 1], [2, 255], [0, 1]).endswith(
        "2 have no background at all: raise stage.background_weight, or train AE-SIPE for fewer epochs"
    )
    assert said([0, 255], [0, 0], [0, 1]).endswith(
        "2 have no class at all: lower stage.background_weight, or train AE-SIPE for more epochs"
    )


def test_shares_are_of_labels_spread_over_a_long_list(tmp_path):
    ids = [str(i) for i in range(2 * LOOKED_AT + 1)]
    assert describe_shares("labels", tmp_path, ids, "") == "labels: none" == describe_shares("labels", tmp_path, [], "")
    for name in ids[::3] + ids[1::3]:
        save_label_png(tmp_path / f"{name}.png", np.array([[int(int(name) % 3 == 0)]]))
    assert describe_shares("labels", tmp_path, ids, "").startswith("labels: background 0%")  # every third alone is read
