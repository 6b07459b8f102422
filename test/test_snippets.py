"""The blocks of Python in docs/coming_from.md and docs/own_data.md, run as they are in a user's folder."""

import re

import numpy as np
import pytest
from PIL import Image
from scripts import REPOSITORY

from data.label_png import save_label_png
from data.toy import make_toy
from tool.cam_file import load_cam, save_cam


def snippets(page):
    """The blocks of Python of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```$", (REPOSITORY / "docs" / page).read_text(), re.M | re.S)


def run_snippet(page, word):
    """Run the one block of a page that holds a word."""
    (text,) = (each for each in snippets(page) if word in each)
    exec(compile(text, f"docs/{page}", "exec"), {"__name__": "__main__"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def maps(folder):
    """{ID: (keys, maps)} of files of 16 and 8 bits, as they are read here; beside them lies one of no class."""
    place = folder / "runs/demo/ae_is_cam"
    place.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, keys, size, bits in (("2007.a", [0, 3], (13, 21), 16), ("b", [0, 1, 20], (8, 5), 8)):
        save_cam(place / f"{name}.npz", keys, 0.9 * random.random((len(keys), *size)), bits)
    read = {path.stem: load_cam(path) for path in place.iterdir()}
    save_cam(place / "none.npz", [0], np.ones((1, 9, 9)))
    return read


def read_dict(path):
    return np.load(path, allow_pickle=True).item()  # as their code reads it; the file is this test's


def test_every_block_of_the_pages_is_run_here():
    assert [len(snippets(page)) for page in ("coming_from.md", "own_data.md")] == [4, 1]


def test_maps_are_written_as_irn_reads_them(maps, folder):
    run_snippet("coming_from.md", "irn_cam")
    assert {path.stem for path in (folder / "irn_cam").iterdir()} == {*maps} == {"2007.a", "b"}
    for name, (keys, cam) in maps.items():
        found = read_dict(folder / f"irn_cam/{name}.npy")
        assert np.pad(found["keys"] + 1, (1, 0), mode="constant").tolist() == keys.tolist()
        assert isinstance(found["high_res"], np.ndarray) and found["high_res"].shape == cam[1:].shape
        np.testing.assert_allclose(found["high_res"], cam[1:] / cam[1:].max(axis=(1, 2), keepdims=True), atol=2e-5)
        height, width = cam.shape[1:]
        assert tuple(found["cam"].shape) == (len(keys) - 1, -(-height // 4), -(-width // 4))
        assert found["cam"].amax(dim=(1, 2)).numpy() == pytest.approx(1, abs=1e-4)


def test_maps_are_written_as_mctformer_reads_them(maps, folder):
    run_snippet("coming_from.md", "mctformer_cam")
    assert {path.stem for path in (folder / "mctformer_cam").iterdir()} == {*maps}
    for name, (keys, cam) in maps.items():
        full = np.zeros((21, *cam.shape[1:]), np.float32)
        for key, each in read_dict(folder / f"mctformer_cam/{name}.npy").items():
            full[key + 1] = each
        assert (full[keys[1:]] == cam[1:]).all() and full.any(axis=(1, 2)).nonzero()[0].tolist() == keys[1:].tolist()


def test_maps_of_irn_and_sipe_become_label_images(maps, folder):
    run_snippet("coming_from.md", "irn_cam")
    (folder / "irn_cam").rename(folder / "their_cam")
    keys, cam = maps["b"]
    np.save(folder / "their_cam/sipe.npy", {"keys": keys, "IS_CAM": cam})
    run_snippet("coming_from.md", "their_cam")
    assert {path.stem for path in (folder / "labels").iterdir()} == {*maps, "sipe"}
    for name, (keys, cam) in maps.items():
        scores = cam[1:] / cam[1:].max(axis=(1, 2), keepdims=True)
        expected = np.where(scores.max(axis=0) > 0.15, keys[1:][scores.argmax(axis=0)], 0)
        clear = abs(scores - 0.15).min(axis=0) > 1e-3
        found = np.array(Image.open(folder / f"labels/{name}.png"))
        assert (found == expected)[clear].all() and {*np.unique(found)} <= {*keys} and 0 in found
    keys, cam = maps["b"]
    assert (np.array(Image.open(folder / "labels/sipe.png")) == keys[cam.argmax(axis=0)]).all()


def test_labels_of_any_method_are_scored(folder, capsys):
    make_toy(folder / "data/toy", train=2, train_aug=2, val=1, size=80)
    masks = {path.stem: np.array(Image.open(path)) for path in (folder / "data/toy/SegmentationClassAug").glob("*.png")}
    (folder / "labels").mkdir()
    for name, mask in masks.items():
        save_label_png(folder / f"labels/{name}.png", np.where(mask == 255, 0, mask))
    run_snippet("coming_from.md", "label_confusion_matrix")
    assert capsys.readouterr().out.startswith("mIoU 100.00\nbackground 100.00\n")
    for name, mask in masks.items():
        save_label_png(folder / f"labels/{name}.png", np.zeros_like(mask))
    run_snippet("coming_from.md", "label_confusion_matrix")
    found = [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]]
    known = np.concatenate(
        [masks[name][masks[name] != 255] for name in (folder / "data/toy/lists/train.txt").read_text().split()]
    )
    assert found[0] == f"{100 * (known == 0).mean():.2f}" and {*found[1:]} <= {"0.00", "-"} and "0.00" in found


def test_large_photographs_are_made_smaller(folder):
    (folder / "photographs/my cat").mkdir(parents=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (1200, 900)).save(folder / "photographs/my cat/large.jpg", exif=turned)
    Image.new("L", (300, 200)).save(folder / "photographs/my cat/small.jpg")
    run_snippet("own_data.md", "thumbnail")
    sizes = {}
    for path in (folder / "data/own/images_by_class/my cat").iterdir():
        with Image.open(path) as image:
            sizes[path.name] = (image.mode, image.size, image.getexif().get(0x0112, 1))
    assert sizes == {"large.jpg": ("RGB", (375, 500), 1), "small.jpg": ("RGB", (300, 200), 1)}
