"""What is made of COCO 2014, from trees, archives and downloads."""

import json
import os
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from coco_miniature import (
    IMAGES,
    LABELS,
    NO_OBJECTS,
    OBJECTS,
    TRAIN,
    VAL,
    annotations,
    drawn_by_pil,
    id_of,
    plain_mask,
    plain_object,
    write_json,
)
from PIL import Image
from pycocotools.coco import COCO

import coco14.classes
import coco14.masks
from coco14.classes import CATEGORIES, CLASS_NAMES, CLASSES
from coco14.prepare import run_needs
from coco14.sources import SOURCES
from data.coco_json import ObjectEntry
from data.label_png import save_label_png, voc_palette
from data.layout import Layout
from data.object_masks import object_mask

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own


def stamps(root):
    return {path.relative_to(root): path.stat().st_mtime_ns for path in sorted(root.rglob("*")) if path.is_file()}


def refused(done, *parts):
    assert done.status == 2, done.out + done.err
    (line,) = [line for line in done.err.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.err
    for part in parts:
        assert str(part) in line, line
    return line


def check_set(root, **way):
    """The whole set as it has to come out of the eight images."""
    layout = Layout(root)
    assert tuple(layout.class_names) == CLASS_NAMES and layout.n_classes == 81
    assert layout.ids("train") == layout.ids("train_aug") == TRAIN and layout.ids("val") == VAL
    assert layout.ids("train_all") == sorted(TRAIN + NO_OBJECTS["train"])
    assert layout.ids("train_few") == layout.ids("train")[:1]
    assert layout.ids("val_all") == sorted(VAL + NO_OBJECTS["val"])
    for split, ids in NO_OBJECTS.items():
        assert layout.ids(f"{split}_no_objects") == ids
    for image, (_, size) in IMAGES.items():
        image_id = id_of(image)
        assert [CLASS_NAMES[1 + index] for index in layout.present(image_id)] == LABELS[image_id]
        assert np.array_equal(layout.mask(image_id), plain_mask(image, **way)), image_id
        assert layout.image(image_id).shape == (3, *size)
        assert (root / f"JPEGImages/{image_id}.jpg").is_symlink()
        with Image.open(root / f"SegmentationClassAug/{image_id}.png") as mask:
            assert mask.mode == "P" and mask.getpalette() == voc_palette().ravel().tolist()
    assert not [path for path in root.rglob("*") if path.name.endswith((".tmp", ".unfinished", ".download"))]


def test_official_numbers():
    assert len(CLASS_NAMES) == 81 and CLASSES[1] == 1 and CLASSES[13] == 12 and CLASSES[90] == 80
    assert set(range(1, 91)) - {*CATEGORIES} == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert coco14.classes.COUNTS == {"train": 82_081, "val": 40_137, "train_all": 82_783, "val_all": 40_504}
    assert SOURCES["train"].md5 == "0da8c0bd3d6becc4dcb32757491aca88"


def test_trees_become_lists_labels_and_masks(official, prepare):
    done = prepare(official.root, "--sources", official.base)
    assert done.status == 0, done.err
    check_set(official.root)
    report = (official.root / "label_report.txt").read_text().splitlines()
    # A car beneath a truck, and an outline of two points.
    assert report == [f"{TRAIN[2]}: labels without pixels: car", f"{VAL[1]}: labels without pixels: dining table"]
    assert "train: 5 images, 3 with at least one class, 2.00 classes in each of these (published: 2.87)" in done.out
    assert "val: 3 images, 2 with at least one class, 1.50 classes in each of these;" in done.out
    assert done.out.startswith("a run will need some 0 GB with make_cam.cam_bits 16")
    lines = (official.root / "class_report.txt").read_text().splitlines()
    rows = {row[0]: row[1:] for row in (line.split("\t") for line in lines)}
    masks = [plain_mask(image) for image, (split, _) in IMAGES.items() if split == "train"]
    assert rows["toothbrush"] == ["1", str(sum((mask == 80).sum() for mask in masks)), "0", "0"]
    assert rows["background"][:2] == ["5", str(sum((mask == 0).sum() for mask in masks))]
    assert len(lines) == 83 and lines[-1] == "ignored\t0\t0\t0\t0"


def test_what_a_run_on_all_of_coco_needs():
    assert run_needs(82_081, 99 * 10**9) == (
        "a run will need some 133 GB with make_cam.cam_bits 16, 43 GB with make_cam.cam_bits 8, for each kind of map, "
        "and 1.3 GB for labels; 99 GB are left on the data set's disk"
    )


@pytest.mark.parametrize("overlap", ["later", "smallest"])
@pytest.mark.parametrize("crowd", ["background", "ignore", "object"])
def test_the_protocols_settings(official, prepare, overlap, crowd):
    way = {"overlap": overlap, "crowd": crowd}
    assert prepare(official.root, "--sources", official.base, "--overlap", overlap, "--crowd", crowd).status == 0
    check_set(official.root, **way)
    other = prepare(official.root, "--overlap", "smallest" if overlap == "later" else "later", "--crowd", crowd)
    refused(other, "image_labels.txt: was made with overlap", "delete it and run this again")


def test_the_settings_differ_on_these_images():
    def masks(**way):
        return [plain_mask(image, **way) for image in IMAGES]

    def equal(one, two):
        return all(map(np.array_equal, one, two))

    made = [
        masks(overlap=overlap, crowd=crowd)
        for overlap in ("later", "smallest")
        for crowd in ("background", "ignore", "object")
    ]
    assert not any(equal(one, two) for i, one in enumerate(made) for two in made[:i])


def test_masks_are_pycocotools_own(official, prepare):
    """By its own class for annotations, which reads the file itself, and by another program but for borders."""
    assert prepare(official.root, "--sources", official.base).status == 0
    layout = Layout(official.root)
    for split in ("train", "val"):
        coco = COCO(official.base / f"annotations/instances_{split}2014.json")
        for image in coco.getImgIds():
            labels = np.zeros(IMAGES[image][1], np.uint8)
            for each in coco.loadAnns(coco.getAnnIds(imgIds=image, iscrowd=False)):
                if not isinstance(each["segmentation"], list) or len(each["segmentation"][0]) > 4:
                    labels[coco.annToMask(each).astype(bool)] = CLASSES[each["category_id"]]
            assert np.array_equal(layout.mask(id_of(image)), labels)
    for image, _, _, segmentation in OBJECTS:
        for polygon in segmentation if isinstance(segmentation, list) else []:
            if len(polygon) > 4:
                ours, size = plain_object([polygon], IMAGES[image][1]), IMAGES[image][1]
                assert (ours != drawn_by_pil(polygon, size)).mean() < 0.06


def test_drawn_objects_are_the_plain_ones(seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        height, width = (int(side) for side in rng.integers(1, 70, 2))
        points = [
            (rng.uniform(-0.3, 1.3, (rng.integers(3, 8), 2)) * [width, height]).ravel().tolist() for _ in range(2)
        ]
        entry = ObjectEntry("a", 1, False, json.dumps(points).encode())
        assert np.array_equal(object_mask(entry, (height, width)), plain_object(points, (height, width)))
        rectangle = (height // 3, width // 4, height // 2, width // 2)
        for made in (runs_of, packed_runs_of):
            segmentation = made((height, width), rectangle)
            entry = ObjectEntry("a", 1, True, json.dumps(segmentation).encode())
            assert np.array_equal(object_mask(entry, (height, width)), plain_object(segmentation, (height, width)))


def runs_of(size, rectangle):
    from coco_miniature import runs

    return runs(size, rectangle)


def packed_runs_of(size, rectangle):
    from coco_miniature import packed_runs

    return packed_runs(size, rectangle)


@pytest.mark.parametrize("place", ["source", "root", "file"])
def test_archives_are_extracted_wherever_they_lie(archives, prepare, place):
    if place == "root":
        archives.archives.rename(archives.root)
    files = sorted(archives.archives.glob("*.zip")) if place == "file" else [archives.archives]
    done = prepare(archives.root, *([] if place == "root" else ["--sources", *files]), workers=2)
    assert done.status == 0, done.err
    check_set(archives.root)
    assert not (archives.root / "annotations/captions_train2014.json").exists()
    check_set(archives.root.rename(archives.root.with_name("moved")))


def mirror_half(archives, name):
    return (archives.archives / name).stat().st_size // 2


def test_a_download_goes_on_where_it_was_cut_off(archives, prepare, mirror):
    name = SOURCES["train"].name
    mirror.handler.most = mirror_half(archives, name)
    done = prepare(archives.root, "--download", "--mirror", mirror.url)
    refused(done, f"{name}: cannot be fetched (the host gave", "run this again to continue from byte")
    mirror.handler.most = None
    assert prepare(archives.root, "--download", "--mirror", mirror.url).status == 0
    check_set(archives.root)
    asked = [start for path, start in mirror.handler.asked if name in path]
    assert asked == [0, mirror_half(archives, name)]


def test_a_download_that_was_whole_but_for_its_name(archives, prepare, mirror):
    archives.root.mkdir()
    whole = (archives.archives / "val2014.zip").read_bytes()
    (archives.root / ".val2014.zip.download").write_bytes(whole)
    (archives.root / ".train2014.zip.download").write_bytes(b"of another file" * 10_000)
    done = prepare(archives.root, "--download", "--mirror", mirror.url)
    refused(done, "train2014.zip: cannot be fetched (its MD5 is not", "fetch it on another machine")
    assert prepare(archives.root, "--download", "--mirror", mirror.url).status == 0
    check_set(archives.root)


def test_room_on_the_disk_is_looked_at_before_the_first_byte(archives, prepare, mirror, monkeypatch):
    monkeypatch.setattr("data.sources.shutil.disk_usage", lambda path: SimpleNamespace(free=30 * 10**9))
    done = prepare(archives.root, "--download", "--mirror", mirror.url)
    refused(done, "images and masks need 42.3 GB, and 30.0 GB are free")
    assert mirror.handler.asked == [] and not archives.root.exists()
    assert prepare(archives.root, "--sources", archives.base).status == 0  # of trees nothing is copied


def test_a_prepared_set_is_left_alone(official, prepare):
    assert prepare(official.root, "--sources", official.base).status == 0
    before = stamps(official.root)
    (official.base / "annotations/instances_val2014.json").unlink()
    done = prepare(official.root)
    assert done.status == 0 and stamps(official.root) == before
    assert done.out.startswith(f"{official.root}: 81 classes with the background, train 3, train_all 5, train_aug 3")


def test_masks_that_are_there_are_not_made_again_unless_their_objects_changed(official, prepare):
    assert prepare(official.root, "--sources", official.base).status == 0
    before = stamps(official.root)
    (official.root / "image_labels.txt").unlink()
    (official.root / f"SegmentationClassAug/{TRAIN[1]}.png").unlink()
    content = annotations("val")
    content["annotations"][0]["category_id"] = 1
    write_json(official.base / "annotations/instances_val2014.json", content)
    assert prepare(official.root, "--sources", official.base).status == 0
    made = {path.name for path, stamp in stamps(official.root).items() if before.get(path) != stamp}
    assert {name for name in made if name.endswith(".png")} == {f"{TRAIN[1]}.png", f"{VAL[0]}.png"}
    assert 1 in Layout(official.root).mask(VAL[0])


def test_a_part_of_coco_is_taken_when_it_is_said_to_be_one(official, prepare):
    (official.base / f"train2014/{TRAIN[0]}.jpg").unlink()
    refused(prepare(official.root, "--sources", official.base), "train2014: lacks 1 of its 5 images, such as", TRAIN[0])
    assert prepare(official.root, "--sources", official.base, "--no-check_counts").status == 0
    assert Layout(official.root).ids("train") == TRAIN[1:]


def test_lists_of_another_length_are_refused(official, prepare):
    content = annotations("train")
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] != 9]
    write_json(official.base / "annotations/instances_train2014.json", content)
    refused(prepare(official.root, "--sources", official.base), "train has 2 images, not 3")


def test_masks_of_raw_ids_are_refused_with_the_reason(official, prepare):
    """As a widely used converter writes them: 1 to 90."""
    folder = official.root / "SegmentationClassAug"
    raw = {number: category for category, number in CLASSES.items()}
    theirs = np.vectorize(lambda value: raw.get(value, 0))(plain_mask(25))
    save_label_png(folder / f"{TRAIN[1]}.png", theirs)
    line = refused(
        prepare(official.root, "--sources", official.base), "holds the value 90", "shifted from `stop sign` on"
    )
    assert (folder / f"{TRAIN[1]}.png").exists() and line.startswith("error: ")


def test_a_mask_of_someone_elses_is_kept_where_it_is_the_same_and_never_replaced(official, prepare):
    folder = official.root / "SegmentationClassAug"
    save_label_png(folder / f"{TRAIN[0]}.png", plain_mask(9))
    assert prepare(official.root, "--sources", official.base).status == 0
    (official.root / "image_labels.txt").unlink()
    save_label_png(folder / f"{TRAIN[0]}.png", plain_mask(9) * 0)
    refused(prepare(official.root, "--sources", official.base), f"{TRAIN[0]}.png: is not what the annotations give")
    assert not Layout(official.root).mask(TRAIN[0]).any() if (official.root / "image_labels.txt").exists() else True


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_masks_turn_with_images_that_are_turned_as_they_are_read(official, prepare, orientation):
    path = official.base / f"train2014/{TRAIN[0]}.jpg"
    exif = Image.Exif()
    exif[274] = orientation
    with Image.open(path) as image:
        image.load()
    mask = Image.fromarray(plain_mask(9) * 2)
    mask.convert("RGB").save(path, quality=100, subsampling=0, exif=exif)  # an image that shows its own mask
    assert prepare(official.root, "--sources", official.base).status == 0
    layout = Layout(official.root)
    shown = layout.image(TRAIN[0])[0].numpy()
    assert shown.shape == layout.mask(TRAIN[0]).shape == (60, 40)
    assert np.abs(shown.astype(int) - 2 * layout.mask(TRAIN[0])).max() <= 4


def test_an_image_of_another_size_is_refused(official, prepare):
    Image.new("RGB", (41, 61)).save(official.base / f"train2014/{TRAIN[0]}.jpg")
    refused(
        prepare(official.root, "--sources", official.base), f"{TRAIN[0]}.jpg: is 41 x 61, its annotation says 60 x 40"
    )


def test_a_call_that_was_killed_is_finished_by_the_next(official, prepare, monkeypatch):
    made = coco14.masks.save_label_png

    def until_the_third(path, labels, stamp):
        if path.stem == sorted([*LABELS])[2]:
            os._exit(9)
        made(path, labels, stamp)

    monkeypatch.setattr(coco14.masks, "save_label_png", until_the_third)
    refused(prepare(official.root, "--sources", official.base), "a worker process was killed")
    before = stamps(official.root)
    assert len(before) == 2 and not (official.root / "image_labels.txt").exists()
    monkeypatch.undo()
    monkeypatch.setattr("data.sources.shutil.disk_usage", lambda path: SimpleNamespace(free=100 * 10**9))
    assert prepare(official.root, "--sources", official.base, "--no-check_counts").status == 0
    check_set(official.root)
    assert before.items() <= stamps(official.root).items()


def test_without_pycocotools_the_command_that_installs_it_is_named(official, prepare, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    refused(prepare(official.root, "--sources", official.base), "pip install pycocotools")
    assert not official.root.exists()


def test_an_archive_that_leads_elsewhere(archives, prepare, tmp_path, monkeypatch):
    monkeypatch.setattr("data.sources._verify", lambda source, archive: None)
    with zipfile.ZipFile(archives.archives / "val2014.zip", "a") as archive:
        archive.writestr("val2014/../../escaped.jpg", b"x")
    refused(prepare(archives.root, "--sources", archives.archives), "val2014.zip: is unsafe, not the official archive")
    assert not list(tmp_path.rglob("escaped.jpg"))
