"""The archive for VOC's server, and every way in which it can be wrong."""

import tarfile

import numpy as np
import pytest
from PIL import Image

from data.label_png import save_label_png, voc_palette
from data.layout import Layout
from deeplab.submission import check_request, write_submission
from errors import UserError
from voc12.classes import CLASS_NAMES

SIZES = {"2008_000006": (20, 30), "2008_000011": (33, 21), "turned": (40, 24)}


@pytest.fixture
def layout(tmp_path):
    """Three images, one of them on its side, and their labels in `labels`."""
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "classes.txt").write_text("\n".join(CLASS_NAMES))
    rng = np.random.default_rng(0)
    for image_id, (height, width) in SIZES.items():
        exif = Image.Exif()
        exif[0x0112] = 8 if image_id == "turned" else 1
        size = (width, height) if image_id != "turned" else (height, width)
        Image.new("RGB", size, (90, 80, 70)).save(tmp_path / f"JPEGImages/{image_id}.jpg", exif=exif)
        save_label_png(tmp_path / f"labels/{image_id}.png", rng.integers(0, 21, (height, width)))
    return Layout(tmp_path)


@pytest.mark.parametrize("competition", ["comp5", "comp6"])
def test_archive_holds_every_image_once(layout, tmp_path, competition):
    assert write_submission(tmp_path / "sub/out.tgz", tmp_path / "labels", layout, list(SIZES), competition) == 3
    with tarfile.open(tmp_path / "sub/out.tgz", "r:gz") as archive:
        assert archive.getnames() == [
            f"results/VOC2012/Segmentation/{competition}_test_cls/{image_id}.png" for image_id in sorted(SIZES)
        ]
        for entry in archive:
            image_id = entry.name.rpartition("/")[2][:-4]
            with (
                Image.open(archive.extractfile(entry)) as image,
                Image.open(tmp_path / f"labels/{image_id}.png") as label,
            ):
                assert image.mode == "P" and image.size == SIZES[image_id][::-1]
                assert np.array_equal(np.array(image), np.array(label))
                assert image.getpalette()[:63] == voc_palette(21).ravel().tolist()
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["out.tgz"]


def test_the_same_labels_give_the_same_bytes(layout, tmp_path, monkeypatch):
    write_submission(tmp_path / "one.tgz", tmp_path / "labels", layout, list(SIZES), "comp6")
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_submission(tmp_path / "two.tgz", tmp_path / "labels", layout, list(SIZES)[::-1], "comp6")
    assert (tmp_path / "one.tgz").read_bytes() == (tmp_path / "two.tgz").read_bytes()


def small(path):
    save_label_png(path, np.zeros((3, 4), np.uint8))


def ignored(path):
    save_label_png(path, np.full(SIZES["2008_000011"], 255, np.uint8))


def rgb(path):
    Image.new("RGB", SIZES["2008_000011"][::-1]).save(path)


def grey(path):
    Image.new("L", SIZES["2008_000011"][::-1]).save(path)


def other_colours(path):
    picture = Image.fromarray(np.zeros(SIZES["2008_000011"], np.uint8))
    picture.putpalette([7] * 768)
    picture.save(path)


def not_a_png(path):
    Image.new("P", SIZES["2008_000011"][::-1]).save(path, format="GIF")


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda path: path.unlink(), "2008_000011.png: no such label image"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "2008_000011.png: cannot be decoded"),
        (lambda path: path.write_bytes(b""), "2008_000011.png: cannot be decoded"),
        (small, r"2008_000011.png: is 4 x 3 pixels \(width x height\), its image 21 x 33"),
        (ignored, "has the value 255: classes are 0 to 20"),
        (rgb, "is an image of mode RGB: labels must be an index PNG"),
        (grey, "is no palette PNG in VOC's colours"),
        (not_a_png, "cannot be decoded as a PNG"),
        (other_colours, "is no palette PNG in VOC's colours"),
    ],
)
def test_wrong_labels_leave_the_archive_as_it_was(layout, tmp_path, damage, message):
    damage(tmp_path / "labels/2008_000011.png")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/out.tgz").write_bytes(b"before")
    with pytest.raises(UserError, match=message) as error:
        write_submission(tmp_path / "sub/out.tgz", tmp_path / "labels", layout, list(SIZES), "comp6")
    assert "\n" not in str(error.value)
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "sub").iterdir()] == [("out.tgz", b"before")]


def test_requests_that_cannot_work_are_refused_before_any_work(tmp_path):
    check_request(tmp_path / "out.tgz", ["b", "a"], ["a", "b"])
    with pytest.raises(UserError, match="is a folder"):
        check_request(tmp_path, ["a"], ["a"])
    with pytest.raises(UserError, match="^b is in the list 2 times"):
        check_request(tmp_path / "out.tgz", ["a", "b", "c", "b"], ["a", "b", "c"])
    with pytest.raises(UserError, match="^c cannot be used: a submission holds every image"):
        check_request(tmp_path / "out.tgz", ["a", "c", "b"], ["a", "b"])
