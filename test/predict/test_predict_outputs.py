"""What predict.py writes of images of every kind."""

import filecmp

import numpy as np
import pytest
import torch
from photos import save
from PIL import Image
from scripts import read_png
from trained_run import CLASSES, make_run

from data.image import image_size, read_image
from infer.maps import load_aesipe, multi_scale_maps
from infer.photo import load_networks, trained_side
from infer.segmentation import load_deeplab, multi_scale_probabilities
from module.labels import weighted_argmax
from tool.checkpoint import save_result
from tool.record import make_record
from tool.run import Run
from tool.settings import DeeplabTest, MakeCam, Predict, TrainAesipe

MAPS = ("cam", "is_cam", "ae_is_cam")


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
    sizes = {"one.png": (1, 1), "flat.png": (1, 90), "tall.jpg": (150, 2), "large.jpg": (700, 90)}
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


def test_maps_are_those_that_the_run_exported(call, tmp_path):
    """By another method than it was trained with."""
    make_run(tmp_path / "run", tmp_path / "gone")
    run, path = Run(tmp_path / "run"), save(tmp_path / "a.png", "RGB", 70, 90)
    switches = MakeCam(sequence=("prototype", "is_cam"), normalization="max")
    trained, exported = (
        multi_scale_maps(
            load_aesipe(run, len(CLASSES), torch.device("cpu"), given),
            read_image(path),
            torch.tensor([1.0, 0, 0]),
            [1.0],
            ["ae_is_cam"],
        )[1]["ae_is_cam"]
        for given in (MakeCam(), switches)
    )
    assert not torch.equal(trained, exported)
    run.keep_settings("make_cam", switches)
    [network] = load_networks(
        ["aesipe"], Predict(run_folder=str(run), scales=(1.0,)), CLASSES, None, torch.device("cpu")
    )
    _, outputs, _ = network.ask(read_image(path), [1], False)
    assert np.array_equal(outputs["ae_is_cam"].heat, exported.numpy())


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


def test_labels_are_refined_by_dense_crf_when_asked(made, call, tmp_path):
    path, run = save(tmp_path / "a.png", "RGB", 70, 90), Run(made)
    image, settings = read_image(path), Predict(run_folder=str(run), scales=(1.0,))
    networks = load_networks(["deeplab", "aesipe"], settings, CLASSES, None, torch.device("cpu"))
    said = {crf: [network.ask(image, [1, 3], crf)[2] for network in networks] for crf in (True, False)}
    assert said[True] != said[False]
    for crf, flags in ((True, ["--crf"]), (False, [])):
        done = call(path, flags=("--network", "all", "--labels", "cat", "Vögel", *flags), out=tmp_path / f"out{crf}")
        assert all(f"{network.name}: {words}" in done.out for network, words in zip(networks, said[crf]))
        for network in networks:
            keys, outputs, _ = network.ask(image, [1, 3], crf)
            for kind, output in outputs.items():
                expected = keys[weighted_argmax(output.scores, output.background_weight)]
                assert np.array_equal(read_png(tmp_path / f"out{crf}/a_{kind}.png"), expected)


def test_a_run_is_asked_at_its_own_scales_and_size(tmp_path):
    """Those of its export, of its test and of its training, unless others are given."""
    make_run(tmp_path / "run", tmp_path / "gone")
    run, own = Run(tmp_path / "run"), {"aesipe": (0.5,), "deeplab": (1.0, 2.0)}
    run.keep_settings("make_cam", MakeCam(scales=own["aesipe"]))
    run.keep_settings("deeplab_test", DeeplabTest(scales=own["deeplab"]))
    for given in (None, (1.5,)):
        settings = Predict(run_folder=str(run), scales=given)
        networks = load_networks(list(own), settings, CLASSES, None, torch.device("cpu"))
        assert {network.name: network.scales for network in networks} == (
            own if given is None else dict.fromkeys(own, given)
        )
    assert trained_side(run) == 640
    settings = TrainAesipe(long_side=(56, 80))
    save_result(run / "ckpt/aesipe.pt", {}, make_record("train_aesipe", settings, {}))
    assert trained_side(run) == 80
    (run / "ckpt/aesipe.pt").unlink()
    assert trained_side(run) == 640


def test_larger_images_are_seen_smaller(call, tmp_path):
    path = save(tmp_path / "a.jpg", "RGB", 300, 400)
    done = call(path, flags=("--max_side", 100))
    assert "(400 x 300, seen at 100 x 75)" in done.out
    assert read_png(tmp_path / "out/a_deeplab.png").shape == (300, 400)


def test_the_palette_changes_pictures_and_no_labels(call, tmp_path):
    path, names = save(tmp_path / "a.png", "RGB"), {}
    for palette in ("voc", "safe"):
        flags = ("--network", "aesipe", "--labels", "cat", "--background_weight", 0, "--palette", palette)
        assert call(path, flags=flags, out=tmp_path / palette).status == 0
        names[palette] = sorted(file.name for file in (tmp_path / palette).iterdir())
    assert names["voc"] == names["safe"] and len(names["voc"]) == 9
    for name in names["voc"]:
        same = (tmp_path / "voc" / name).read_bytes() == (tmp_path / "safe" / name).read_bytes()
        assert same == name.endswith(".png") or name.endswith("_overlay.jpg"), name  # it may show no class
    assert not filecmp.cmp(tmp_path / "voc/a_cam_overlay.jpg", tmp_path / "safe/a_cam_overlay.jpg", shallow=False)
