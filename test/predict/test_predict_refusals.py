"""What predict.py cannot use is a line each, and the rest is done."""

import os
import shutil

import numpy as np
import pytest
from photos import save
from PIL import Image
from scripts import error_lines
from trained_run import CLASSES


def test_bad_images_among_good_ones_are_one_line_each(call, tmp_path):
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
    done = call(tmp_path / "empty", tmp_path / "in", tmp_path / "nothing.jpg", tmp_path / "pipe.jpg", "/dev/zero")
    assert done.status == 2 and [line.split(" ")[0] for line in done.out.splitlines()] == [*map(str, good), "page:"]
    assert len(error_lines(done.err)) == len(done.err.splitlines()) == 11
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
        assert name in done.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "index.html",
        *(f"{name}_deeplab{ending}" for name in "az" for ending in (".png", "_overlay.jpg")),
    }


def test_scales_that_no_memory_holds_are_one_line(made, call, script, tmp_path):
    strip, wide = save(tmp_path / "a.png", "RGB", 1, 300), save(tmp_path / "b.png", "RGB", 40, 60)
    done = call(strip, wide, flags=("--scales", 0.1))
    assert done.status == 2 and len(done.out.splitlines()) == len(error_lines(done.err)) == 1
    assert f"{strip}: an image of 300 x 1 cannot be resized by 0.1: at least 1 pixel a side" in done.err
    Image.new("L", (4000, 4000)).save(tmp_path / "c.png")
    done = call(tmp_path / "c.png", flags=("--scales", 8, "--max_side", 4000))
    assert done.status == 2 and "cannot be resized by 8" in done.err and "50000000 in all" in done.err
    (tmp_path / "run").mkdir()
    for name in ("ckpt", "classes.txt"):
        (tmp_path / "run" / name).symlink_to(made / name)
    for text in ("[.nan]", "[1, [2]]"):
        (tmp_path / "run/config.yaml").write_text(f"deeplab_test:\n  scales: {text}\n")
        done = script("predict.py", "--run", tmp_path / "run", "--image", wide)
        assert (
            done.status == 2
            and len(error_lines(done.err)) == 1
            and "config.yaml: section deeplab_test: scales " in done.err
            and done.err.endswith(": fix it\n")
        )


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--labels", "cat,cow"), "'cow' is no class of this run: its classes are cat, my dog, Vögel"),
        (("--labels", "cat", "cow"), "--labels cat cow: 'cow' is no class of this run: its classes are cat, my dog"),
        (("--labels", "My Dogs"), "'My Dogs' is no class of this run: did you mean my dog?: its classes are cat"),
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
    done = call(path, run=tmp_path / "none")
    assert (
        done.status == 2
        and done.err
        == f"error: {tmp_path}/none: no such run folder: give --run RUN, to report.py RUN before the flags\n"
    )
    done = call(path, run=tmp_path / "in")
    untrained = "in: has neither ckpt/deeplab.pt nor ckpt/aesipe.pt: is --run the folder of a run whose training is"
    assert done.status == 2 and len(done.err.splitlines()) == 1 and untrained in done.err
    shutil.copy(made / "classes.txt", tmp_path / "in")
    done = call(path, run=tmp_path / "in")
    assert done.status == 2 and untrained in done.err
    (tmp_path / "in/classes.txt").unlink()
    (tmp_path / "in/ckpt").symlink_to(made / "ckpt")
    done = call(path, run=tmp_path / "in")
    assert done.status == 2 and len(done.err.splitlines()) == 1 and "classes.txt: is missing" in done.err
    done = script("predict.py", "--run", made, "--image", tmp_path / "in", "--out", tmp_path / "in")
    assert done.status == 2 and "is the folder of the outputs too" in done.err
    (tmp_path / "out").write_text("a file")
    done = call(path)
    (line,) = error_lines(done.err)
    assert done.status == 2 and "cannot be written" in line and "out is a file, not a folder" in line


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
