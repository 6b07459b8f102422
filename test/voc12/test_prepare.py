"""What is made of VOC 2012 and SBD, from trees, archives and downloads."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from miniature import REPOSITORY, SBD_TRAIN, SBD_VAL, TRAIN, VAL, check_set, sbd_mask, stamps, voc_mask
from PIL import Image
from torchvision.datasets import SBDataset
from torchvision.datasets.voc import DATASET_YEAR_DICT

import prepare_dataset
from data.label_png import read_label_png, save_label_png
from data.layout import Layout
from tool.config import parse
from voc12.annotations import Annotation, disagreements
from voc12.classes import CLASS_NAMES, COUNTS
from voc12.masks import MadeMask
from voc12.sources import SOURCES


def test_official_numbers():
    assert COUNTS == {"train": 1464, "val": 1449, "train_aug": 10582, "test": 1456} and len(CLASS_NAMES) == 21
    assert SOURCES["voc"].md5 == "6cd6e144f989b92b3379bac3b3de84fd"
    assert SOURCES["sbd"].md5 == "82b4d87ceb2ed10f6038a1cba92111cb"


def test_trees_become_lists_labels_and_masks(official, prepare):
    done = prepare(official.root, "--sources", official.base, official.test.parents[1])
    assert (done.status, done.out.splitlines()) == (
        0,
        [
            f"2 of 9 images have labels and masks that disagree: {official.root / 'label_report.txt'}",
            f"{official.root}: 21 classes with the background, test 2, train 3, train_aug 7, val 2",
        ],
    )
    check_set(official.root)


def test_a_part_of_voc_is_taken_when_it_is_said_to_be_one(official, prepare, monkeypatch):
    monkeypatch.setitem(COUNTS, "train", 1464)
    done = prepare(official.root, "--sources", official.base, official.test.parents[1])
    assert done.status == 2 and f"train has {len(TRAIN)} images, not 1464" in done.err
    done = prepare(official.root, "--sources", official.base, official.test.parents[1], "--no-check_counts")
    assert done.status == 0, done.err
    check_set(official.root)


@pytest.mark.parametrize("place", ["source", "root", "file"])
def test_archives_are_extracted_wherever_they_lie(archives, prepare, place):
    if place == "root":
        archives.archives.rename(archives.root)
    files = sorted(archives.archives.glob("*.t*")) if place == "file" else [archives.archives]
    done = prepare(archives.root, *([] if place == "root" else ["--sources", *files]), workers=2)
    assert done.status == 0, done.err
    check_set(archives.root)
    extracted = archives.root / "VOCdevkit/VOC2012"
    assert not (extracted / "SegmentationObject").exists() and not (extracted / "ImageSets/Main").exists()
    assert not (archives.root / "benchmark_RELEASE/dataset/img").exists()
    moved = archives.root.rename(archives.root.with_name("moved"))  # what was extracted in it moves with it
    check_set(moved)


def test_download_from_a_mirror(archives, prepare, mirror):
    done = prepare(archives.root, "--download", "--mirror", f"{mirror}/")
    assert done.status == 0, done.err
    check_set(archives.root, test=False)
    assert f"downloading {mirror}/{SOURCES['voc'].name}" in done.out


def test_a_host_that_gives_no_parts_gives_the_whole_again(archives, prepare, mirror):
    name = SOURCES["voc"].name
    archives.root.mkdir()
    (archives.root / f".{name}.download").write_bytes((archives.archives / name).read_bytes()[:100])
    done = prepare(archives.root, "--download", "--mirror", mirror)
    assert done.status == 0, done.err
    check_set(archives.root, test=False)


def test_a_prepared_set_is_left_alone_and_the_test_list_may_come_later(official, prepare):
    assert prepare(official.root, "--sources", official.base).status == 0
    check_set(official.root, test=False)
    before = stamps(official.root)
    (official.sbd / "train.txt").unlink()
    done = prepare(official.root)
    said = f"{official.root}: 21 classes with the background, train 3, train_aug 7, val 2\n"
    assert (done.status, done.out) == (0, said) and stamps(official.root) == before
    assert prepare(official.root, "--sources", official.test).status == 0
    check_set(official.root)
    after = stamps(official.root)
    assert before.items() <= after.items()


def test_of_a_complete_set_the_folders_that_are_not_read_are_named(official, prepare, tmp_path):
    sources = ("--sources", official.base, official.test)
    assert prepare(official.root, *sources).status == 0
    folders = ("--voc_root", official.voc, "--aug_dir", tmp_path / "aug")
    for flags, names in ((sources, "--sources"), (folders, "--voc_root, --aug_dir")):
        assert prepare(official.root, *flags).out.splitlines()[:-1] == [
            f"{official.root}: not read since the set is complete: {names}"
        ]
    (official.root / "lists/test.txt").unlink()
    assert prepare(official.root, *sources).out.count("\n") == 1  # they were searched for the test list
    check_set(official.root)


def test_a_set_of_other_classes_is_not_taken_for_vocs(official, prepare):
    """Found: a set of one's own was left as it was, and training began on it."""
    assert prepare(official.root, "--sources", official.base).status == 0
    (official.root / "classes.txt").write_text("background\nboat\n")
    before, done = stamps(official.root), prepare(official.root, "--sources", official.base, official.test)
    message = "holds other classes than VOC's: give another --dataset_root, or the --kind of this set"
    assert (done.status, done.err) == (2, f"error: {official.root}/classes.txt: {message}\n")
    assert stamps(official.root) == before


def test_masks_that_are_there_are_not_made_again(official, prepare):
    assert prepare(official.root, "--sources", official.base).status == 0
    before = stamps(official.root)
    (official.root / "image_labels.txt").unlink()
    (official.root / "SegmentationClassAug/2008_000002.png").unlink()
    assert prepare(official.root, "--sources", official.base).status == 0
    check_set(official.root, test=False)
    made = {path for path, stamp in stamps(official.root).items() if before[path] != stamp}
    assert {path.name for path in made if path.suffix == ".png"} == {"2008_000002.png"}


def test_difficult_objects_can_be_left_out(official, prepare):
    assert prepare(official.root, "--sources", official.base, "--skip_difficult").status == 0
    lines = (official.root / "image_labels.txt").read_text().splitlines()
    assert "2009_000002 bus" in lines and "2010_000001 sofa" in lines
    assert "2009_000002: pixels without label: car\n" in (official.root / "label_report.txt").read_text()
    refused = prepare(official.root)
    assert refused.status == 2 and "image_labels.txt: was made with skip_difficult True, not False" in refused.err
    (official.root / "image_labels.txt").unlink()
    assert prepare(official.root, "--sources", official.base).status == 0
    check_set(official.root, test=False)


def aug_masks(official, folder):
    folder.mkdir(parents=True)
    for image_id in SBD_TRAIN + SBD_VAL + TRAIN + VAL:
        Image.fromarray(sbd_mask(image_id)).save(folder / f"{image_id}.png")  # grey, as they are often passed on
    return folder


@pytest.mark.parametrize("where", ["elsewhere", "voc", "root"])
def test_masks_of_ones_own_are_accepted_instead_of_sbd(official, prepare, tmp_path, where):
    """VOC's own masks win here too."""
    (official.sbd / "cls").rename(tmp_path / "gone")
    if where == "root":  # the official tree itself becomes the set
        aug_masks(official, official.voc / "SegmentationClassAug")
        done = prepare(official.voc)
        assert not (official.voc / "JPEGImages/2007_000032.jpg").is_symlink()
    elif where == "voc":
        aug_masks(official, official.voc / "SegmentationClassAug")
        done = prepare(official.root, "--voc_root", official.voc)
    else:
        done = prepare(official.root, "--voc_root", official.voc, "--aug_dir", aug_masks(official, tmp_path / "aug"))
    assert done.status == 0, done.err
    root = official.voc if where == "root" else official.root
    layout = Layout(root)
    assert layout.ids("train_aug") == sorted({*SBD_TRAIN, *SBD_VAL, *TRAIN} - {*VAL})
    assert np.array_equal(layout.mask("2007_000032"), voc_mask("2007_000032"))
    assert np.array_equal(layout.mask("2008_000002"), sbd_mask("2008_000002"))


def test_links_of_older_versions_are_not_written_through(official, prepare, tmp_path):
    """They linked whole folders; the masks behind the link are someone's own."""
    aug = aug_masks(official, tmp_path / "aug")
    before = stamps(aug), stamps(official.voc)
    official.root.mkdir()
    (official.root / "SegmentationClassAug").symlink_to(aug)
    (official.root / "JPEGImages").symlink_to(official.voc / "JPEGImages")
    assert prepare(official.root, "--sources", official.base, official.test).status == 0
    check_set(official.root)
    assert (stamps(aug), stamps(official.voc)) == before


def test_relative_folders_and_links_to_a_tree_that_has_moved(official, prepare, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trees").symlink_to(official.base)
    (official.root / "JPEGImages").mkdir(parents=True)
    (official.root / "JPEGImages/2007_000032.jpg").symlink_to(tmp_path / "gone.jpg")
    assert prepare("set", "--sources", "trees").status == 0
    monkeypatch.chdir("/")
    check_set(official.root, test=False)


def test_the_dataset_stage_does_the_same(official, monkeypatch, capsys, tmp_path):
    config = yaml.safe_load((REPOSITORY / "configs/voc12_resnet101.yaml").read_text())
    config["common"]["dataset_root"] = str(official.root)
    config["dataset"]["sources"] = [str(official.base), str(official.test)]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(sys, "argv", ["prepare_dataset.py", "--config", str(tmp_path / "config.yaml")])
    for _ in range(2):
        prepare_dataset.main()
        assert "21 classes with the background, test 2, train 3, train_aug 7, val 2" in capsys.readouterr().out
    check_set(official.root)


@pytest.mark.parametrize("name", ["voc12_resnet101", "sipe_resnet101"])
def test_the_configs_of_voc_may_download(name):
    settings = parse("dataset", argv=["--config", str(REPOSITORY / f"configs/{name}.yaml")])
    assert settings.kind == "voc12" and settings.download and settings.sources == ()


def test_disagreements_name_both_sides():
    annotations = {"a": Annotation(("cat", "dog"), (3, 4)), "b": Annotation(("cow",), None)}
    masks = [MadeMask("b", frozenset({10}), (3, 4)), MadeMask("a", frozenset({8, 15}), (4, 3))]
    assert disagreements(annotations, masks) == [
        "a: labels without pixels: dog; pixels without label: person; annotation says 4 x 3, image and mask are 3 x 4"
    ]


LAB = os.environ.get("AESIPE_LAB")


@pytest.mark.skipif(not LAB, reason="AESIPE_LAB does not name the folder of VOC photographs")
def test_real_photographs_and_masks(prepare, tmp_path):
    """Annotations are written from the lab's labels, of which the first image's is wrong: only that is reported."""
    lab, voc = Path(LAB), tmp_path / "VOCdevkit/VOC2012"
    layout = Layout(lab)
    lists = {name: layout.ids(name)[:20] for name in ("train", "val")}
    extra = [i for i in layout.ids("train_aug") if i not in lists["train"]][:20]
    (voc / "Annotations").mkdir(parents=True)
    (voc / "ImageSets/Segmentation").mkdir(parents=True)
    (voc / "JPEGImages").symlink_to(lab / "JPEGImages")
    for name, ids in lists.items():
        (voc / f"ImageSets/Segmentation/{name}.txt").write_text("\n".join(ids))
    for image_id in [*lists["train"], *lists["val"], *extra]:
        mask = read_label_png(layout.mask_folder / f"{image_id}.png")
        names = [CLASS_NAMES[value] for value in np.unique(mask) if value not in (0, 255)]
        if image_id == extra[0]:
            names[0] = "boat"
        objects = "".join(f"<object><name>{name}</name></object>" for name in names)
        (voc / f"Annotations/{image_id}.xml").write_text(f"<annotation>{objects}</annotation>")
        (tmp_path / "aug").mkdir(exist_ok=True)
        save_label_png(tmp_path / f"aug/{image_id}.png", mask)
    done = prepare(tmp_path / "set", "--voc_root", voc, "--aug_dir", tmp_path / "aug", "--no-check_counts", workers=2)
    assert done.status == 0, done.err
    report = (tmp_path / "set/label_report.txt").read_text().splitlines()
    assert len(report) == 1 and report[0].startswith(f"{extra[0]}: labels without pixels: boat; pixels without label: ")
    made = Layout(tmp_path / "set")
    for image_id in lists["train"]:
        assert made.labels(image_id).equal(layout.labels(image_id))
        assert np.array_equal(made.mask(image_id), layout.mask(image_id))


def test_addresses_and_sums_are_torchvisions():
    voc, sbd = DATASET_YEAR_DICT["2012"], SBDataset
    ours, archive = SOURCES["voc"], "/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
    assert (ours.name, ours.md5) == (voc["filename"], voc["md5"])
    assert ours.url == f"http://host.robots.ox.ac.uk{archive}" and ours.others == (
        f"https://thor.robots.ox.ac.uk{archive}",
    )
    assert voc["url"] in (ours.url, *ours.others)  # torchvision 0.26 has the first, 0.29 the second
    assert SOURCES["sbd"][1:4] == (sbd.filename, sbd.url, sbd.md5)
