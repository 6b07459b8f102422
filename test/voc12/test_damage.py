"""Whatever is wrong with the sources: one line that names it, status 2, and nothing half-made under a final name."""

import errno
import io
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from miniature import LISTED, TEST, write_annotation, write_lines, write_mat
from PIL import Image
from scipy.io import savemat

import voc12.masks
from data.label_png import read_label_png, save_label_png
from voc12.sources import SOURCES


def refused(done, root, *parts):
    """The one line on stderr, apart from progress bars; it holds all the parts."""
    assert done.status == 2, done.out + done.err
    lines = [
        line
        for line in re.split(r"[\r\n]+", done.err)
        if line.strip()
        and "it/s]" not in line
        and "?it/s" not in line
        and "B/s]" not in line
        and "?B/s" not in line
        and "s/it]" not in line
    ]
    assert len(lines) == 1 and lines[0].startswith("error: "), done.err
    for part in parts:
        assert str(part) in lines[0]
    assert not [path for path in Path(root).rglob("*") if path.name.endswith((".tmp", ".partial"))]
    assert not (root / "image_labels.txt").exists() and not (root / "lists").exists()
    for path in Path(root).glob("SegmentationClassAug/*"):
        read_label_png(path)
    return lines[0]


def cut(path, by=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * by)])


def resave(path, array):
    Image.fromarray(array).save(path)


# What is done to the trees, and what the line must hold; {voc} and {sbd} are the trees.
DAMAGE = {
    "image missing": (
        lambda o: (o.voc / "JPEGImages/2008_000002.jpg").unlink(),
        "{voc}/JPEGImages/2008_000002.jpg: cannot be decoded as an image: No such file",
    ),
    "image damaged": (
        lambda o: (o.voc / "JPEGImages/2008_000002.jpg").write_bytes(b"\xff\xd8 no more"),
        "{voc}/JPEGImages/2008_000002.jpg: cannot be decoded as an image",
    ),
    "annotation missing": (
        lambda o: (o.voc / "Annotations/2008_000002.xml").unlink(),
        "{voc}/Annotations/2008_000002.xml: missing",
    ),
    "annotation cut short": (
        lambda o: cut(o.voc / "Annotations/2008_000002.xml"),
        "{voc}/Annotations/2008_000002.xml: cannot be read as an annotation",
    ),
    "annotation with a size that is none": (
        lambda o: write_annotation(o.voc / "Annotations/2008_000002.xml", ["boat"], ("high", "wide")),
        "{voc}/Annotations/2008_000002.xml: cannot be read as an annotation: could not convert",
    ),
    "unknown class": (
        lambda o: write_annotation(o.voc / "Annotations/2009_000001.xml", ["dog", "unicorn"], (20, 20)),
        "{voc}/Annotations/2009_000001.xml: class 'unicorn' is none of VOC's 20",
    ),
    "VOC mask missing": (
        lambda o: (o.voc / "SegmentationClass/2007_000033.png").unlink(),
        "{voc}/SegmentationClass/2007_000033.png: missing, but an official list names it",
    ),
    "VOC mask cut short": (
        lambda o: cut(o.voc / "SegmentationClass/2007_000033.png", 0.9),
        "{voc}/SegmentationClass/2007_000033.png: cannot be decoded as a PNG",
    ),
    "VOC mask in colours": (
        lambda o: resave(o.voc / "SegmentationClass/2007_000033.png", np.zeros((9, 9, 3), np.uint8)),
        "{voc}/SegmentationClass/2007_000033.png: is a RGB image: labels must be an index PNG",
    ),
    "VOC mask of another size": (
        lambda o: save_label_png(o.voc / "SegmentationClass/2007_000033.png", np.ones((5, 6), np.uint8)),
        "{voc}/SegmentationClass/2007_000033.png: is [5, 6], its image [23, 28]",
    ),
    "mask with a label of no class": (
        lambda o: save_label_png(o.voc / "SegmentationClass/2007_000033.png", np.full((23, 28), 21)),
        "{voc}/SegmentationClass/2007_000033.png: holds the value 21",
    ),
    "mat missing": (lambda o: (o.sbd / "cls/2008_000007.mat").unlink(), "{sbd}/cls/2008_000007.mat: cannot be read as"),
    "mat that is none": (
        lambda o: (o.sbd / "cls/2008_000007.mat").write_text("no\nmat\n" * 99),
        "{sbd}/cls/2008_000007.mat: cannot be read as a mask of SBD",
    ),
    "mat cut short": (lambda o: cut(o.sbd / "cls/2008_000007.mat"), "{sbd}/cls/2008_000007.mat: cannot be read as"),
    "mat of something else": (
        lambda o: savemat(o.sbd / "cls/2008_000007.mat", {"x": 1}),
        "{sbd}/cls/2008_000007.mat: cannot be read as a mask of SBD (it has no struct GTcls)",
    ),
    "mat of instances": (
        lambda o: savemat(o.sbd / "cls/2008_000007.mat", {"GTcls": {"Categories": [1]}}),
        "2008_000007.mat: cannot be read as a mask of SBD (its struct GTcls has no field Segmentation)",
    ),
    "mat with a wrong array": (
        lambda o: savemat(o.sbd / "cls/2008_000007.mat", {"GTcls": {"Segmentation": np.ones((2, 3, 4))}}),
        "2008_000007.mat: cannot be read as a mask of SBD (GTcls.Segmentation is no uint8 array [H,W]",
    ),
    "mat of another size": (
        lambda o: write_mat(o.sbd / "cls/2008_000007.mat", np.ones((5, 6), np.uint8)),
        "{sbd}/cls/2008_000007.mat: is [5, 6], its image",
    ),
    "SBD's list missing": (lambda o: (o.sbd / "val.txt").unlink(), "{sbd}/val.txt: missing"),
    "SBD's list too short": (
        lambda o: write_lines(o.sbd / "val.txt", ["2010_000001"]),
        "train_aug has 6 images, not 7: these are not complete, or not the official ones: {voc}",
    ),
    "train too short": (
        lambda o: write_lines(o.voc / "ImageSets/Segmentation/train.txt", ["2009_000001"]),
        "train has 1 images, not 3",
    ),
    "val missing": (
        lambda o: (o.voc / "ImageSets/Segmentation/val.txt").unlink(),
        "{voc}/ImageSets/Segmentation/val.txt: missing",
    ),
    "list with an image twice": (
        lambda o: write_lines(o.voc / "ImageSets/Segmentation/val.txt", ["a", "b", "a"]),
        "{voc}/ImageSets/Segmentation/val.txt: names a twice",
    ),
    "list that leads elsewhere": (
        lambda o: write_lines(o.voc / "ImageSets/Segmentation/val.txt", ["../../x"]),
        "{voc}/ImageSets/Segmentation/val.txt, line 1: '../../x' is no image ID",
    ),
    "list that is no text": (
        lambda o: (o.voc / "ImageSets/Segmentation/val.txt").write_bytes(b"\xff\xfe\x00"),
        "{voc}/ImageSets/Segmentation/val.txt: is no UTF-8 text file",
    ),
    "no images": (lambda o: (o.voc / "JPEGImages").rename(o.voc / "Pictures"), "{voc}/JPEGImages/2"),
    "no SBD": (
        lambda o: (o.sbd / "cls").rename(o.sbd / "class"),
        "SBD is missing (looked in {root}, {base}): fetch " + SOURCES["sbd"].url,
    ),
    "no VOC": (
        lambda o: o.voc.rename(o.voc.with_name("VOC")),
        "VOC 2012 trainval is missing (looked in {root}, {base}): fetch " + SOURCES["voc"].url,
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_trees(official, prepare, kind):
    damage, message = DAMAGE[kind]
    damage(official)
    refused(prepare(official.root, "--sources", official.base), official.root, message.format(**vars(official)))


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--sources", "no such folder or archive"),
        ("--aug_dir", "missing"),
        ("--voc_root", "train.txt: missing: is the tree complete"),
    ],
)
def test_folders_that_are_not_there(official, prepare, tmp_path, flag, message):
    done = prepare(official.root, "--sources", official.base, flag, tmp_path / "nowhere")
    refused(done, official.root, tmp_path / "nowhere", message)


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            lambda o: (o.test / f"JPEGImages/{TEST[1]}.jpg").unlink(),
            f"JPEGImages/{TEST[1]}.jpg: cannot be decoded as an image: No such file",
        ),
        (lambda o: write_lines(o.test / "ImageSets/Segmentation/test.txt", TEST[:1]), "test has 1 images, not 2"),
    ],
)
def test_damaged_test_tree(official, prepare, damage, message):
    """The rest is whole and stays; the next call makes the test list alone."""
    damage(official)
    done = prepare(official.root, "--sources", official.base, official.test)
    assert done.status == 2 and message in done.err.splitlines()[-1]
    assert (official.root / "image_labels.txt").exists() and not (official.root / "lists/test.txt").exists()


@pytest.mark.parametrize("kind", ["voc", "sbd", "test"])
@pytest.mark.parametrize("by", [0.6, 0.001])
def test_archives_cut_short(archives, prepare, kind, by):
    path = archives.archives / SOURCES[kind].name
    cut(path, by)
    done = prepare(archives.root, "--sources", archives.archives)
    assert done.status == 2 and done.err.splitlines()[-1].startswith(f"error: {path}: ")
    assert "cut short or damaged: delete it and fetch" in done.err.splitlines()[-1]
    if kind == "test":  # which has no official sum: reading it to its end finds it out
        assert not (archives.root / "lists/test.txt").exists()
    else:
        assert f"its MD5 is not {SOURCES[kind].md5}" in refused(done, archives.root)


def test_an_archive_whose_stream_is_cut_short_is_found_out_without_a_sum(archives, prepare, monkeypatch):
    path = archives.archives / SOURCES["sbd"].name
    cut(path, 0.6)
    monkeypatch.setattr("torchvision.datasets.utils.check_integrity", lambda path, md5: True)
    refused(prepare(archives.root, "--sources", archives.archives), archives.root, path, "cannot be read to its end")


def member(name, content=b"x" * 99, **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, io.BytesIO(content)


IMAGES = "VOCdevkit/VOC2012/JPEGImages"
HOSTILE = {
    "climbs out": [member(f"{IMAGES}/../../../../escaped.jpg")],
    "climbs out at once": [member("../escaped.jpg")],
    "absolute": [member("/tmp/escaped.jpg")],
    "link out, then a file through it": [
        member(IMAGES, b"", type=tarfile.SYMTYPE, linkname="../../../.."),
        member(f"{IMAGES}/2008_000001.jpg"),
    ],
    "absolute link": [member(f"{IMAGES}/2008_000001.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
    "link within": [member(f"{IMAGES}/2008_000001.jpg", b"", type=tarfile.SYMTYPE, linkname="2008_000004.jpg")],
    "hard link": [member(f"{IMAGES}/2008_000001.jpg", b"", type=tarfile.LNKTYPE, linkname="../../etc/passwd")],
    "device": [member(f"{IMAGES}/2008_000001.jpg", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5)],
    "huge": [member(f"{IMAGES}/2008_000001.jpg", bytes(65 << 20))],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives(archives, prepare, kind, tmp_path):
    path = archives.archives / SOURCES["test"].name
    with tarfile.open(path, "w") as archive:
        for info, content in HOSTILE[kind]:
            archive.addfile(info, content)
    done = prepare(archives.root, "--sources", archives.archives)
    said = done.err.splitlines()[-1]
    assert done.status == 2 and said.startswith(f"error: {path}: ")
    assert "is unsafe, not the official archive" in said or (kind == "absolute" and "holds none of the files" in said)
    assert not list(tmp_path.rglob("escaped.jpg")) and not Path("/tmp/escaped.jpg").exists()
    assert not list(tmp_path.rglob(f"set/**/{TEST[0]}.jpg")) and not (tmp_path / f"{TEST[0]}.jpg").exists()
    assert not (archives.root / "lists/test.txt").exists()


def test_an_archive_of_something_else(archives, prepare):
    path = archives.archives / SOURCES["test"].name
    with tarfile.open(path, "w") as archive:
        archive.addfile(*member("holiday/2008_000001.jpg"))
    done = prepare(archives.root, "--sources", archives.archives)
    assert done.status == 2 and "holds none of the files VOCdevkit/VOC2012/" in done.err.splitlines()[-1]


def test_a_tree_on_another_disk_is_followed_but_no_file_is_written_through_a_link(archives, prepare, tmp_path):
    (tmp_path / "large_disk").mkdir()
    archives.root.mkdir()
    (archives.root / "VOCdevkit").symlink_to(tmp_path / "large_disk")
    (archives.root / IMAGES).mkdir(parents=True)
    (tmp_path / "mine").write_text("mine")
    (archives.root / f"{IMAGES}/{TEST[0]}.jpg").symlink_to(tmp_path / "mine")
    assert prepare(archives.root, "--sources", archives.archives).status == 0
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / f"large_disk/VOC2012/JPEGImages/{TEST[0]}.jpg").is_file()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://no-such-host.invalid"])
def test_a_host_that_is_down(official, prepare, url):
    done = prepare(official.root, "--download", "--mirror", url)
    name = SOURCES["voc"].name
    refused(
        done,
        official.root,
        f"{url.rstrip('/')}/{name}: cannot be fetched (",
        f"fetch it on another machine and put it into {official.root} as {name}",
    )


def test_a_download_of_something_else(archives, prepare, mirror):
    (archives.archives / SOURCES["sbd"].name).write_text("not found, but status 200")
    done = prepare(archives.root, "--download", "--mirror", mirror)
    refused(done, archives.root, f"{mirror}/benchmark.tgz: cannot be fetched (File not found or corrupted.)")
    assert not (archives.root / "benchmark.tgz").exists() and (archives.root / "VOCdevkit").is_dir()


def test_a_mirror_that_lacks_the_file(archives, prepare, mirror):
    (archives.archives / SOURCES["voc"].name).unlink()
    done = prepare(archives.root, "--download", "--mirror", mirror)
    refused(done, archives.root, "cannot be fetched (HTTP Error 404: File not found)")


@pytest.mark.parametrize("mirror", ["ftp://host/x", "/data/mirror"])
def test_a_mirror_that_is_no_web_address(official, prepare, mirror):
    refused(prepare(official.root, "--download", "--mirror", mirror), official.root, "must start with http://")


def full(*arguments, **settings):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_while_masks_are_made(official, prepare, monkeypatch):
    monkeypatch.setattr("PIL.Image.Image.save", full)
    done = prepare(official.root, "--sources", official.base)
    refused(done, official.root, "SegmentationClassAug/2", "cannot be written: No space left on device: make room")


def test_a_full_disk_while_downloading(official, prepare, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.utils.download_url", full)
    done = prepare(official.root, "--download")
    refused(done, official.root, official.root / SOURCES["voc"].name, "cannot be written: No space left on device")


def test_a_worker_that_is_killed(official, prepare, monkeypatch):
    monkeypatch.setattr(voc12.masks, "save_label_png", lambda path, labels: os._exit(9))
    refused(prepare(official.root, "--sources", official.base), official.root, "a worker process was killed")


def test_a_full_disk_while_extracting(archives, prepare, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", full)
    done = prepare(archives.root, "--sources", archives.archives)
    refused(done, archives.root, archives.root / "VOCdevkit", "cannot be written: No space left on device")
    monkeypatch.undo()


def test_a_folder_that_cannot_be_made(official, prepare):
    official.root.write_text("a file, not a folder")
    done = prepare(official.root, "--sources", official.base)
    assert done.status == 2 and str(official.root) in done.err.splitlines()[-1]
    assert done.err.splitlines()[-1].startswith("error: ") and official.root.read_text() == "a file, not a folder"


def test_a_mended_tree_goes_on_where_it_stopped(official, prepare):
    mat = official.sbd / "cls/2010_000001.mat"
    whole = mat.read_bytes()
    cut(mat)
    refused(prepare(official.root, "--sources", official.base), official.root, mat)
    mat.write_bytes(whole)
    assert prepare(official.root, "--sources", official.base).status == 0
    assert {path.stem for path in (official.root / "SegmentationClassAug").iterdir()} == set(LISTED)
