"""Whatever is wrong with lists, photographs, trimaps and archives: one line that names it, status 2, no set."""

import io
import os
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
from pets_miniature import LISTS, TRAIN_AUG, VAL, size_of, trimap
from PIL import Image

from data.layout import Layout
from pets.sources import ANNOTATIONS, IMAGES, SOURCES


def refused(done, root, *parts):
    assert done.status == 2, done.out + done.err
    (line,) = [line for line in done.err.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.err and not (root / "classes.txt").exists()
    for part in parts:
        assert str(part) in line, line


def save(path, labels):
    Image.fromarray(labels).save(path)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


NAME = TRAIN_AUG[2]
DAMAGE = {
    "a photograph cut short": (f"images/{NAME}.jpg", cut, "cannot be decoded as an image"),
    "a photograph that is text": (
        f"images/{NAME}.jpg",
        lambda path: path.write_text("<html>not found"),
        "cannot identify its format",
    ),
    "a trimap cut short": (f"annotations/trimaps/{NAME}.png", cut, "cannot be decoded as a PNG"),
    "a trimap of another size": (
        f"annotations/trimaps/{NAME}.png",
        lambda path: save(path, trimap(NAME)[1:]),
        f"is [{size_of(NAME)[0] - 1}, 61], its photograph [{size_of(NAME)[0]}, 61]",
    ),
    "a mask that is no trimap": (
        f"annotations/trimaps/{NAME}.png",
        lambda path: save(path, np.where(trimap(NAME) == 1, 255, 0).astype(np.uint8)),
        "is no trimap: it holds other values than 1 (pet), 2 (background) and 3 (border)",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_cannot_be_used_is_refused_or_left_out(official, prepare, kind):
    place, damage, said = DAMAGE[kind]
    damage(official.base / place)
    refused(
        prepare(official.root, "--sources", official.base), official.root, official.base / place, said, "--skip_bad"
    )
    done = prepare(official.root, "--sources", official.base, "--skip_bad")
    (line,) = [line for line in done.err.splitlines() if line.startswith("left out: ")]
    assert done.status == 0 and str(official.base / place) in line and said in line
    assert Layout(official.root).ids("train_aug") == [name for name in TRAIN_AUG if name != NAME]


def test_several_that_cannot_be_used_are_counted(official, prepare):
    for name in TRAIN_AUG[1:4]:
        cut(official.base / f"images/{name}.jpg")
    refused(prepare(official.root, "--sources", official.base), official.root, "; 2 more of the 10 cannot be used")
    for name in (*TRAIN_AUG, *VAL):
        cut(official.base / f"annotations/trimaps/{name}.png")
    done = prepare(official.root, "--sources", official.base, "--skip_bad")
    refused(done, official.root, "; 9 more of the 10 cannot be used either")


@pytest.mark.parametrize(
    "line",
    [
        "Abyssinian_999",
        "Abyssinian_999 1 1",
        "Abyssinian_999 1 3 1",
        "../../Abyssinian_999 1 1 1",
        "#Image CLASS-ID SPECIES BREED ID",
        "Abyssinian_999 1 1 1 1",
    ],
)
def test_lines_of_another_form(official, prepare, line):
    path = official.base / "annotations/test.txt"
    path.write_text("\n".join([*LISTS["test"][:-1], line]))
    refused(prepare(official.root, "--sources", official.base), official.root, f"{path}, line {len(LISTS['test'])}: ")


def test_a_tree_without_one_of_the_lists(official, prepare):
    (official.base / "annotations/test.txt").unlink()
    done = prepare(official.root, "--sources", official.base)
    refused(done, official.root, f"{official.base / 'annotations/test.txt'}: missing: is the tree complete?")


def test_a_name_twice(official, prepare):
    path = official.base / "annotations/trainval.txt"
    path.write_text("\n".join([*LISTS["trainval"][:-1], LISTS["trainval"][0]]))
    done = prepare(official.root, "--sources", official.base)
    refused(done, official.root, f"{path}, line {len(LISTS['trainval'])}: names Abyssinian_1 a second time")


def test_a_part_of_the_lists(official, prepare):
    path = official.base / "annotations/trainval.txt"
    path.write_text("\n".join(LISTS["trainval"][:20]))
    done = prepare(official.root, "--sources", official.base)
    refused(done, official.root, "trainval has 20 images, not 48", "--no-check_counts")
    assert prepare(official.root, "--sources", official.base, "--no-check_counts").status == 0
    assert Layout(official.root).ids("train_aug") == ["Abyssinian_1", "Abyssinian_7", "american_bulldog_1"]


def test_an_empty_list(official, prepare):
    (official.base / "annotations/test.txt").write_text("")
    done = prepare(official.root, "--sources", official.base, "--no-check_counts")
    refused(done, official.root, official.base / "annotations/test.txt", "lists no image")


@pytest.mark.parametrize("tree, suffix", [("images", "jpg"), ("annotations/trimaps", "png")])
def test_a_tree_that_lacks_files(official, prepare, tree, suffix):
    (official.base / f"{tree}/{NAME}.{suffix}").unlink()
    said = f"{official.base / tree}: lacks 1 of the 10 files that are taken, such as {NAME}.{suffix}"
    refused(prepare(official.root, "--sources", official.base), official.root, said)


def test_nothing_is_there_and_no_download_asked_for(official, prepare):
    done = prepare(official.root)
    refused(done, official.root, "Oxford-IIIT Pet's lists is missing", "annotations.tar.gz", "or give --download")


def test_a_disk_that_is_too_small(official, prepare, monkeypatch):
    monkeypatch.setattr("data.sources.shutil.disk_usage", lambda path: SimpleNamespace(free=7 * 10**8))
    done = prepare(official.root, "--download")
    refused(done, official.root, "need 0.9 GB, and 0.7 GB are free: make room")
    assert not official.root.exists()


@pytest.mark.parametrize("archive", [IMAGES, ANNOTATIONS])
def test_an_archive_cut_short(archives, prepare, archive):
    path = archives.archives / archive
    cut(path)
    done = prepare(archives.root, "--sources", archives.archives)
    refused(done, archives.root, f"{path}: its MD5 is not {archives.sums[archive]}", "delete it and fetch")


MEMBERS = {
    "climbs out": tarfile.TarInfo("images/../../../escaped.jpg"),
    "a link": tarfile.TarInfo(f"images/{NAME}.jpg"),
}
MEMBERS["a link"].type, MEMBERS["a link"].linkname = tarfile.SYMTYPE, "/etc/passwd"


@pytest.mark.parametrize("kind", MEMBERS)
def test_hostile_archives(archives, prepare, monkeypatch, kind):
    path = archives.archives / IMAGES
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(MEMBERS[kind], io.BytesIO())
    monkeypatch.setitem(SOURCES, "images", SOURCES["images"]._replace(md5=None))
    done = prepare(archives.root, "--sources", archives.archives)
    refused(done, archives.root, f"{path}: is unsafe, not the official archive")
    assert not [*archives.root.parent.rglob("escaped.jpg")] and not (archives.root / f"images/{NAME}.jpg").exists()
