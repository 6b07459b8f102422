"""predict.py on images of every kind, with networks of random weights: what is checked is what becomes of the files."""

import os
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scripts import error_lines, read_png, run
from test_own_data import save_image
from trained_run import CLASSES, make_run

from data.image import image_size, read_image
from data.layout import Layout
from infer.maps import load_aesipe, multi_scale_maps
from infer.segmentation import load_deeplab, multi_scale_probabilities
from module.labels import labels_at_size, weighted_argmax
from tool.run import Run
from viz.photo import with_legend

MAPS = ("cam", "is_cam", "ae_is_cam")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("predict")
    make_run(root / "run", root / "gone")
    return root / "run"


@pytest.fixture
def call(made, script, tmp_path):
    """call(images, flags): predict.py at one scale, into the folder out."""

    def predict(*images, flags=(), run=made):
        return script("predict.py", "--run", run, "--image", *images, "--out", tmp_path / "out", "--scales", 1, *flags)

    return predict


def photo(height=40, width=60, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return cv2.resize(pixels, (width, height))


def save(path, kind, height=40, width=60):
    path.parent.mkdir(exist_ok=True)
    if kind == "animation":
        pixels = photo(height, width)
        Image.fromarray(pixels).save(path, save_all=True, append_images=[Image.fromarray(255 - pixels)])
    else:
        save_image(path, (height, width), kind, seed=0)
    return path


@pytest.mark.parametrize("network", ["deeplab", "aesipe"])
def test_every_kind_of_image_gives_labels_of_its_own_size(call, tmp_path, network):
    kinds = {
        "grey.jpg": "L",
        "rgba.PNG": "RGBA",
        "palette.png": "P",
        "deep.16.png": "I;16",
        "turned.jpeg": "EXIF",
        "cmyk.jpg": "CMYK",
        "moving.gif": "animation",
        "bits.png": "1",
        "naïve Ω 二.webp": "RGB",
        "$a 50%.bmp": "RGB",
    }
    paths = [save(tmp_path / "in" / name, kind) for name, kind in kinds.items()]
    sizes = {"one.png": (1, 1), "flat.png": (1, 90), "tall.jpg": (150, 2), "large.jpg": (700, 900)}
    paths += [save(tmp_path / "in" / name, "RGB", *size) for name, size in sizes.items()]
    done = call(*paths, flags=("--network", network))
    assert done.status == 0 and done.err == "" and len(done.out.splitlines()) == len(paths)
    for path, line in zip(paths, done.out.splitlines()):
        assert line.startswith(f"{path} (")
        for kind in ("deeplab",) if network == "deeplab" else MAPS:
            labels = read_png(tmp_path / f"out/{path.stem}_{kind}.png")
            assert labels.shape == image_size(path) == sizes.get(path.name, (40, 60)) and labels.max() < len(CLASSES)
            for ending in ("overlay", "heat") if network == "aesipe" else ("overlay",):
                with Image.open(tmp_path / f"out/{path.stem}_{kind}_{ending}.jpg") as picture:
                    picture.load()
                    assert picture.format == "JPEG" and max(picture.size) >= min(640, max(labels.shape))
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_segmentation_is_the_tests(made, call, tmp_path):
    """The same labels as deeplab/test.py writes, and of one run the network that is asked for."""
    path = save(tmp_path / "a.png", "RGB", 70, 90)
    assert call(path).status == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a_deeplab.png", "a_deeplab_overlay.jpg"}
    model = load_deeplab(Run(made), len(CLASSES), torch.device("cpu"))
    expected = multi_scale_probabilities(model, read_image(path), [1.0], True).argmax(dim=0).numpy()
    assert np.array_equal(read_png(tmp_path / "out/a_deeplab.png"), expected)


def test_maps_are_make_cams(made, call, tmp_path):
    path = save(tmp_path / "a.png", "RGB", 70, 90)
    done = call(path, flags=("--network", "aesipe", "--labels", " Vögel,cat", "--background_weight", 0.5))
    assert done.status == 0 and "cat 0." in done.out and "Vögel 0." in done.out and "my dog" not in done.out
    model = load_aesipe(Run(made), len(CLASSES), torch.device("cpu"))
    keys, maps = multi_scale_maps(model, read_image(path), torch.tensor([1.0, 0, 1]), [1.0], MAPS)
    assert keys.tolist() == [0, 1, 3]
    for name in MAPS:
        expected = keys.numpy()[weighted_argmax(maps[name].numpy(), 0.5)]
        assert np.array_equal(read_png(tmp_path / f"out/a_{name}.png"), expected)


def test_the_threshold_decides_which_classes_are_found(call, tmp_path):
    path = save(tmp_path / "a.png", "RGB")
    every = call(path, flags=("--network", "aesipe", "--threshold", 0)).out
    assert all(name in every for name in CLASSES[1:]) and "strongest" not in every
    none = call(path, flags=("--network", "aesipe", "--threshold", 1)).out
    assert "none from 1 up, the strongest: " in none and sum(name in none for name in CLASSES[1:]) == 1


def test_all_networks_and_labels_restrict_the_segmentation(call, tmp_path):
    path = save(tmp_path / "a.png", "RGB")
    done = call(path, flags=("--network", "all", "--labels", "my dog", "--crf"))
    assert done.status == 0 and "deeplab: " in done.out and "; aesipe: my dog" in done.out
    assert len(list((tmp_path / "out").iterdir())) == 2 + 9
    assert set(np.unique(read_png(tmp_path / "out/a_deeplab.png"))) <= {0, 2}


def test_larger_images_are_seen_smaller(call, tmp_path):
    path = save(tmp_path / "a.jpg", "RGB", 300, 400)
    done = call(path, flags=("--max_side", 100))
    assert "(400 x 300, seen at 100 x 75)" in done.out
    assert read_png(tmp_path / "out/a_deeplab.png").shape == (300, 400)


def test_names_that_collide_are_kept_apart_and_inputs_stay(made, script, tmp_path):
    """Outputs lie beside the images, and one image has the name of another's output."""
    one, two = tmp_path / "one", tmp_path / "two"
    paths = [save(folder / name, "RGB") for folder in (one, two) for name in ("a.png", "a.jpg", "a.bmp", "A.png")]
    paths.append(save(one / "a_deeplab.png", "RGB"))
    before = {path: path.read_bytes() for path in paths}
    done = script("predict.py", "--run", made, "--image", *paths, one / "a.png", "--out", one, "--scales", 1)
    assert done.status == 0 and len(done.out.splitlines()) == len(paths)
    assert {path: path.read_bytes() for path in paths} == before
    made_files = [name for line in done.out.splitlines() for name in line.split(" -> ")[1].split(": ")[1].split()]
    assert len({name.casefold() for name in made_files}) == len(made_files) == 2 * len(paths)
    assert {path.name for path in one.iterdir()} == {*made_files, *(p.name for p in paths if p.parent == one)}


def test_bad_images_among_good_ones_are_one_line_each(made, tmp_path):
    """As a process, so that the status and both streams are those that a user sees."""
    good = [save(tmp_path / "in" / name, "RGB") for name in ("a.jpg", "z.png")]
    os.mkfifo(tmp_path / "in/pipe.jpg")  # to open it would wait for ever
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "in/gone.jpg").symlink_to("nothing")
    (tmp_path / "in/broken.jpg").write_bytes(good[0].read_bytes()[:200])
    (tmp_path / "in/text.png").write_text("no image")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "in/floats.tif")
    save(tmp_path / "in" / ("n" * 201 + ".jpg"), "RGB")
    Image.fromarray(np.zeros((4, 4), np.int32)).save(tmp_path / "in/wide.tif")
    (tmp_path / "empty").mkdir()
    done = run(
        sys.executable,
        "predict.py",
        "--run",
        made,
        "--image",
        tmp_path / "empty",
        tmp_path / "in",
        tmp_path / "nothing.jpg",
        tmp_path / "pipe.jpg",
        "/dev/zero",
        "--out",
        tmp_path / "out",
        "--scales",
        "1",
    )
    assert done.returncode == 2 and [line.split(" ")[0] for line in done.stdout.splitlines()] == [str(p) for p in good]
    assert len(error_lines(done.stderr)) == len(done.stderr.splitlines()) == 11
    for name in (
        "empty: holds no image",
        "nothing.jpg: no such image",
        "broken.jpg: cannot",
        "text.png: cannot",
        "floats.tif: cannot",
        "wide.tif: cannot",
        "in/pipe.jpg: cannot be read: is a pipe, where a file",
        f"{tmp_path}/pipe.jpg: cannot be read: is a pipe",
        "/dev/zero: cannot be read: is a device",
        "in/gone.jpg: cannot be decoded as an image: No such file",
        "nn.jpg: its name has more than 200 bytes",
    ):
        assert name in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}_deeplab{ending}" for name in "az" for ending in (".png", "_overlay.jpg")
    }


def test_folders_are_searched_in_depth_and_outputs_lie_as_their_images_do(made, script, tmp_path):
    """But for what is hidden, the outputs themselves, and links, which may lead in circles."""
    images = tmp_path / "in"
    for name in ("z.png", "b/y.jpg", "b/y.png", "b/c/y.jpg", "a/z.png", "a/x.jpg.png", ".hidden/h.jpg", "a/.h.jpg"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        save(images / name, "RGB", 16, 16)
    (images / "b/circle").symlink_to(images)
    (images / "no.jpg").mkdir()
    kinds = ("", "_overlay")
    expected = {
        f"{name}_deeplab{kind}{'.jpg' if kind else '.png'}"
        for kind in kinds
        for name in ("z", "b/y.jpg", "b/y.png", "b/c/y", "a/z", "a/x.jpg")
    }
    out = images / "made"
    for _ in range(2):  # the second finds the outputs of the first below its images
        done = script("predict.py", "--run", made, "--image", images, images / "z.png", "--out", out, "--scales", 1)
        assert (done.status, done.err) == (0, "")
        assert [line.split(" ")[0] for line in done.out.splitlines()] == [
            str(images / name) for name in ("z.png", "a/x.jpg.png", "a/z.png", "b/y.jpg", "b/y.png", "b/c/y.jpg")
        ]
        assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == expected
    assert f" -> {out}/b/c: y_deeplab.png y_deeplab_overlay.jpg" in done.out


def test_scales_that_no_memory_holds_are_one_line(made, call, script, tmp_path):
    strip, wide = save(tmp_path / "a.png", "RGB", 1, 300), save(tmp_path / "b.png", "RGB", 40, 60)
    done = call(strip, wide, flags=("--scales", 0.1))
    assert done.status == 2 and len(done.out.splitlines()) == len(error_lines(done.err)) == 1
    assert f"{strip}: an image of 300 x 1 cannot be resized by 0.1: at least 1 pixel a side" in done.err
    Image.new("L", (4000, 4000)).save(tmp_path / "c.png")
    done = call(tmp_path / "c.png", flags=("--scales", 8, "--max_side", 4000))
    assert done.status == 2 and "cannot be resized by 8" in done.err and "50000000 in all" in done.err
    for text in ("[1.0e+9]", "[.nan]", "[1, [2]]", "x"):
        (tmp_path / "run").mkdir(exist_ok=True)
        for name in ("ckpt", "classes.txt"):
            if not (tmp_path / "run" / name).exists():
                (tmp_path / "run" / name).symlink_to(made / name)
        (tmp_path / "run/config.yaml").write_text(f"deeplab_test:\n  scales: {text}\n")
        done = script("predict.py", "--run", tmp_path / "run", "--image", wide)
        assert done.status == 2 and len(error_lines(done.err)) == 1 and "config.yaml: section deeplab_test: scales " in done.err


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--labels", "cat,cow"), "'cow' is no class of this run: its classes are cat, my dog, Vögel"),
        (("--labels", "background"), "'background' is no class"),
        (("--labels", ","), "is no class"),
        (("--network", "unet"), "must be one of deeplab, aesipe, all: unet"),
        (("--max_side", "0"), "must be a whole number from 1 to 16384: 0"),
        (("--threshold", "much"), "must be a number from 0 to 1: much"),
        (("--nonsense",), "unrecognized"),
    ],
)
def test_bad_arguments_are_one_line(call, tmp_path, flags, message):
    done = call(save(tmp_path / "a.png", "RGB"), flags=flags)
    assert done.status == 2 and len(done.err.splitlines()) == 1 and message in done.err
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_used_are_one_line(call, script, made, tmp_path):
    path = save(tmp_path / "in/a.png", "RGB")
    done = script("predict.py", "--run", made)
    assert done.status == 2 and "--image names no image" in done.err
    done = call(path, run=tmp_path / "in")
    assert done.status == 2 and len(done.err.splitlines()) == 1 and "classes.txt: is missing" in done.err
    shutil.copy(made / "classes.txt", tmp_path / "in")
    done = call(path, run=tmp_path / "in")
    assert done.status == 2 and "has neither ckpt/deeplab.pt nor ckpt/aesipe.pt" in done.err
    done = script("predict.py", "--run", made, "--image", tmp_path / "in", "--out", tmp_path / "in")
    assert done.status == 2 and "is the folder of the outputs too" in done.err
    (tmp_path / "out").write_text("a file")
    done = call(path)
    assert done.status == 2 and len(error_lines(done.err)) == 1 and "cannot be written" in done.err


def test_runs_of_before_take_the_names_from_their_dataset(made, call, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    (tmp_path / "run/classes.txt").unlink()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/classes.txt").write_text("\n".join(CLASSES))
    path = save(tmp_path / "a.png", "RGB")
    assert call(path, run=tmp_path / "run").status == 2
    assert call(path, run=tmp_path / "run", flags=("--dataset_root", tmp_path / "data")).status == 0
    (tmp_path / "run/config.yaml").write_text(f"train_aesipe:\n  dataset_root: {tmp_path / 'data'}\n")
    assert call(path, run=tmp_path / "run").status == 0
    (tmp_path / "data/classes.txt").write_text("background\ncat\n")
    done = call(path, run=tmp_path / "run")
    assert done.status == 2 and len(done.err.splitlines()) == 1 and "does not fit" in done.err


@pytest.mark.parametrize("size", [(40, 60), (97, 131), (7, 300), (10, 15)])
def test_labels_in_strips_are_those_of_the_whole(size):
    """Bounded memory: a strip at a time."""
    scores = torch.rand(4, 10, 15, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.interpolate(scores[None], size, mode="bilinear")[0].numpy()
    labels = labels_at_size(scores.numpy(), size, 0.7, max_elements=4 * size[1] * 3)
    assert labels.dtype == np.uint8 and (labels != weighted_argmax(whole, 0.7)).mean() < 1e-3


def test_legends_hold_any_names_on_any_picture():
    for size in ((1, 1), (50, 400)):
        picture = with_legend(np.zeros((*size, 3), np.uint8), ["n" * 99, "二 Ω"], [(255, 0, 0), (0, 0, 255)])
        assert picture.shape[0] > size[0] and picture.shape[1] >= size[1]
        assert (picture == [255, 0, 0]).all(axis=2).any() and (picture == [0, 0, 255]).all(axis=2).any()


def test_training_keeps_the_names(tmp_path, script):
    """So that a run which is copied without its dataset still predicts."""
    assert (
        script(
            "prepare_dataset.py",
            "--kind",
            "toy",
            "--dataset_root",
            tmp_path / "toy",
            "--train",
            4,
            "--train_aug",
            4,
            "--val",
            1,
            "--size",
            64,
        ).status
        == 0
    )
    where = (
        "--dataset_root",
        tmp_path / "toy",
        "--run_root",
        tmp_path,
        "--session_name",
        "run",
        "--num_workers",
        0,
        "--backbone",
        "mobilenet_v2",
        "--weights",
        "none",
        "--batch_size",
        2,
        "--crop_size",
        32,
    )
    for name, more in (
        ("train_aesipe.py", ("--max_epochs", 1)),
        ("deeplab/train.py", ("--max_iters", 1, "--labels", "truth")),
    ):
        assert script(name, *where, *more).status == 0
        names = (tmp_path / "run/classes.txt").read_text().splitlines()
        assert names == Layout(tmp_path / "toy").class_names
        (tmp_path / "run/classes.txt").unlink()
