"""A name that is unknown is answered with the one that is most like it, wherever users write names."""

from types import SimpleNamespace

import pytest

from data.collect import collect
from data.datasets import open_dataset
from data.layout import Layout
from errors import UserError, nearest
from net.aesipe import AESIPE
from net.backbone import build_backbone
from tool.config import override, parse


@pytest.mark.parametrize(
    "word, known, found",
    [
        ("CAT", ["dog", "Cat"], ": did you mean Cat?"),
        ("dinning table", ["dining table", "table"], ": did you mean dining table?"),
        (7, [70, 8], ": did you mean 70?"),
        ("cow", ["cat", "dog"], ""),
        ("", ["cat"], ""),
        ("cat", [], ""),
    ],
)
def test_the_most_alike_in_any_case_or_none(word, known, found):
    assert nearest(word, known) == found


@pytest.mark.parametrize(
    "text, message",
    [
        ("trian_aesipe: {}", "section 'trian_aesipe' is unknown: did you mean train_aesipe?"),
        ("common: {sead: 1}", "common.sead is unknown: did you mean seed?"),
        ("make_cam: {scale: [1]}", "make_cam.scale is unknown: did you mean scales?"),
        ("make_cam: {maps: [cam, ae_iscam]}", "make_cam.maps must be a list, each one of ae_is_cam"),
        ("make_cam: {maps: [cam, ae_iscam]}", "did you mean ae_is_cam?"),
        ("common: {backbone: Resnet-101}", "did you mean resnet101?"),
    ],
)
def test_in_a_config_file(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        parse(
            "make_cam" if "backbone" not in text else "train_aesipe", argv=["--config", str(tmp_path / "config.yaml")]
        )
    assert message in str(error.value)


@pytest.mark.parametrize("name, meant", [("list", "train_list"), ("learning_rate", "lr"), ("epochs", "max_epochs")])
def test_what_others_call_a_setting(tmp_path, name, meant):
    """Found: train_aesipe.list was answered with val_list, which is what is watched, not trained on."""
    (tmp_path / "config.yaml").write_text(f"train_aesipe: {{{name}: 1}}")
    with pytest.raises(UserError, match=rf"train_aesipe.{name} is unknown: did you mean {meant}\?: keys are"):
        parse("train_aesipe", argv=["--config", str(tmp_path / "config.yaml")])
    with pytest.raises(UserError, match=rf"unrecognized arguments: --{name} 1: did you mean --{meant}\? \(see"):
        parse("train_aesipe", argv=[f"--{name}", "1"])


@pytest.mark.parametrize(
    "words, message",
    [
        (["--map", "cam"], "unrecognized arguments: --map cam: did you mean --maps?"),
        (
            ["--maps", "cam", "iscam"],
            "argument --maps: must be one of ae_is_cam, is_cam, cam: iscam: did you mean is_cam?",
        ),
        (["--device", "CPU"], "did you mean cpu?"),
        (["--device", "GPU"], "auto, cuda, cpu, mps: GPU: did you mean cuda?"),
        (["--device", "cuda:0"], "did you mean cuda?"),
    ],
)
def test_on_the_command_line(words, message):
    with pytest.raises(UserError) as error:
        parse("make_cam", argv=words)
    assert message in str(error.value)


@pytest.mark.parametrize("path", ["configs/own_smal.yaml", "own_small.yaml", "configs/own_small", "x/Own_Small.yml"])
def test_a_config_that_is_not_there(path):
    meant = "did you mean configs/own_small.yaml?"
    with pytest.raises(UserError) as error:
        parse("make_cam", argv=["--config", path])
    assert str(error.value) == f"{path}: cannot be read: there is no such file: {meant}"
    with pytest.raises(UserError, match="x.yaml: cannot be read: there is no such file$"):
        parse("make_cam", argv=["--config", "x.yaml"])


def test_in_an_override():
    with pytest.raises(UserError, match="section 'make_cams' is unknown: did you mean make_cam"):
        override({}, ["make_cams.list=val"])


@pytest.fixture
def dataset(tmp_path):
    for folder in ("JPEGImages", "lists", "Annotations"):
        (tmp_path / folder).mkdir()
    (tmp_path / "JPEGImages/a.jpg").touch()
    (tmp_path / "Annotations/a.xml").write_text("<annotation><object><name>tables</name></object></annotation>")
    (tmp_path / "lists/train_aug.txt").write_text("a\n")
    (tmp_path / "classes.txt").write_text("background\ntable\ncat\n")
    (tmp_path / "image_labels.txt").write_text("a Tabel\n")
    return tmp_path


def test_in_a_data_set(dataset):
    with pytest.raises(UserError, match=r"line 1: class 'Tabel' of a is not in classes.txt: did you mean table\?"):
        Layout(dataset).labels("a")
    with pytest.raises(UserError, match=r"train_agu.txt: no such list: did you mean train_aug\?: there are train_aug"):
        Layout(dataset).ids("train_agu")
    with pytest.raises(UserError, match=r"lacks class 'tables' of image a: did you mean table\?: add it"):
        collect(dataset, "xml", overwrite=True)
    with pytest.raises(UserError, match=r"'Voc' is no kind of data set: did you mean voc\?"):
        open_dataset(SimpleNamespace(dataset_format="Voc", dataset_root=dataset, run=None))


def test_of_parts_of_a_network():
    with pytest.raises(UserError, match=r"affinity 'pam' is unknown: did you mean pamr\?"):
        AESIPE(None, 2, affinity="pam")
    with pytest.raises(UserError, match=r"backbone 'resnet5' is unknown: did you mean resnet50\?"):
        build_backbone("resnet5", "none", 0, "train")
