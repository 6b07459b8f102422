import numpy as np
import pytest
from PIL import Image

from data.label_png import save_label_png, voc_palette
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
