"""One's own data in COCO's format, as annotation tools export it; nothing of the user's is ever changed."""

import json

import numpy as np
import pytest
from PIL import Image

from data.collect import collect
from data.collect_coco import CocoSource
from data.label_png import save_label_png
from data.layout import Layout
from errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]


def save(path, seed=0, size=(8, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def export(
    path, objects, names=("images/a.jpg", "images/b.jpg", "images/c.jpg"), classes=("cat", "traffic light"), **more
):
    """A JSON. objects: (image, category, segmentation or None, crowd), by number from 0; images have IDs 7, 57 ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [{"id": 7 + 50 * n, "file_name": name, "width": 9, "height": 8} for n, name in enumerate(names)],
        "categories": [{"id": 10 - 3 * n, "name": name} for n, name in enumerate(classes)],
        "annotations": [
            {
                "id": number,
                "image_id": 7 + 50 * image,
                "category_id": 10 - 3 * category,
                "iscrowd": crowd,
                "bbox": [1, 1, 4, 4],
                **({} if segmentation is None else {"segmentation": segmentation}),
            }
            for number, (image, category, segmentation, crowd) in enumerate(objects)
        ],
        **more,
    }
    path.write_text(json.dumps(content))
    return path


def take(root, path, overlap="later", crowd="background", **more):
    collect(root, "coco", coco=CocoSource(str(path), overlap, crowd, map), **more)
    return Layout(root)


def stamps(root):
    return {path: path.lstat().st_mtime_ns for path in root.rglob("*") if not path.is_dir()}


@pytest.fixture
def images(tmp_path):
    for number, name in enumerate("abc"):
        save(tmp_path / f"images/{name}.jpg", number)
    return tmp_path


OUTLINED = [(0, 0, [SQUARE], 0), (0, 1, [[3, 3, 8, 3, 8, 8, 3, 8]], 0), (1, 1, {"counts": [9, 63], "size": [8, 9]}, 0)]


def test_outlines_become_labels_and_masks(images):
    layout = take(images, export(images / "instances.json", OUTLINED))
    # By the categories' IDs, which are 10 and 7 here.
    assert layout.class_names == ["background", "traffic light", "cat"]
    assert [layout.labels(name).tolist() for name in "abc"] == [[1, 1], [1, 0], [0, 0]]
    assert layout.ids("val") == ["a"] and layout.ids("train") == layout.ids("train_aug") == ["b", "c"]
    mask = np.zeros((8, 9), int)
    mask[1:5, 1:5] = 2
    mask[3:8, 3:8] = 1
    assert np.array_equal(layout.mask("a"), mask)
    assert layout.mask("b").sum() == 63 and layout.mask("b")[0, 0] == 0 and not layout.mask("c").any()
    before = stamps(images)
    take(images, images / "instances.json")
    assert {path for path, stamp in stamps(images).items() if before[path] != stamp} == {images / "image_labels.txt"}


def test_boxes_alone_are_enough_for_labels(images):
    layout = take(images, export(images / "a.json", [(0, 0, None, 0), (1, 1, [], 0), (1, 1, [[]], 0)]))
    assert [layout.labels(name).tolist() for name in "abc"] == [[0, 1], [1, 0], [0, 0]]
    assert layout.mask_folder is None and len(layout.ids("train")) == 2


def test_an_image_gets_a_mask_only_if_all_of_its_objects_have_an_outline(images):
    layout = take(images, export(images / "a.json", [*OUTLINED, (1, 0, [], 0)]))
    assert [layout.has_mask(name) for name in "abc"] == [True, False, True]
    assert layout.ids("val") == ["a"] and layout.ids("train") == ["c"] and layout.ids("train_aug") == ["b", "c"]


def test_crowds(images, capsys):
    path = export(images / "a.json", [*OUTLINED, (2, 0, {"counts": [0, 72], "size": [8, 9]}, 1)])
    layout = take(images, path)
    assert layout.labels("c").tolist() == [0, 0] and not layout.mask("c").any()
    assert "1 objects are marked as crowds and give no label" in capsys.readouterr().out
    (images / "image_labels.txt").unlink()
    assert (take(images, path, crowd="ignore").mask("c") == 255).all()
    (images / "image_labels.txt").unlink()
    layout = take(images, path, crowd="object")
    assert layout.labels("c").tolist() == [0, 1] and (layout.mask("c") == 2).all()


def test_the_smallest_object_can_win(images):
    objects = [(0, 1, [SQUARE], 0), (0, 0, [[0, 0, 9, 0, 9, 8, 0, 8]], 0)]
    assert (take(images, export(images / "a.json", objects)).mask("a") == 2).all()
    (images / "image_labels.txt").unlink()
    layout = take(images, images / "a.json", overlap="smallest")
    assert (layout.mask("a") == 1).sum() == 16 and (layout.mask("a") == 2).sum() == 56


@pytest.mark.parametrize(
    "where, names",
    [
        ("annotations/instances_default.json", ["a.jpg", "b.jpg", "c.jpg"]),  # CVAT: beside images/
        ("result.json", ["images\\a.jpg", "images\\b.jpg", "images\\c.jpg"]),  # Label Studio on Windows
        ("result.json", ["/data/upload/a.jpg", "../elsewhere/b.jpg", "C:\\photos\\c.jpg"]),
        ("images/_annotations.coco.json", ["a.jpg", "b.jpg", "c.jpg"]),  # Roboflow: among the images
        ("annotations/instances_images.json", ["a.jpg", "b.jpg", "c.jpg"]),  # COCO: beside train2017/
        ("more/annotations/instances_part.json", ["a.jpg", "b.jpg", "c.jpg"]),  # Datumaro: images/PART/
    ],
)
def test_images_are_found_where_tools_put_them(images, where, names):
    if "part" in where:
        (images / "more/images").mkdir(parents=True)
        (images / "images").rename(images / "more/images/part")
    layout = take(images, export(images / where, OUTLINED, names))
    assert sorted(layout.files) == ["a", "b", "c"] and (images / "JPEGImages/a.jpg").is_symlink()
    assert layout.image("a").shape == (3, 8, 9)


def test_images_in_place_are_not_linked_and_json_may_be_anywhere(images, tmp_path_factory):
    (images / "images").rename(images / "JPEGImages")
    layout = take(images, export(tmp_path_factory.mktemp("elsewhere") / "a.json", OUTLINED))
    assert not (images / "JPEGImages/a.jpg").is_symlink() and layout.labels("a").tolist() == [1, 1]


def test_what_some_tools_write_otherwise(images):
    """IDs as text in one place, no size, a bare polygon, a category that no object has, one that is the background."""
    path = images / "a.json"
    content = {
        "images": [{"id": "1", "file_name": "a.jpg"}, {"id": "2", "file_name": "b.jpg"}],
        "categories": [{"id": 0, "name": "pets"}, {"id": 1, "name": "cat"}, {"id": 2, "name": "background"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "segmentation": SQUARE},
            {"image_id": 2, "category_id": "2", "segmentation": [SQUARE], "iscrowd": None},
        ],
    }
    path.write_text(json.dumps(content))
    layout = take(images, path)
    assert layout.class_names == ["background", "cat"] and (layout.mask("a") == 1).sum() == 16
    assert layout.labels("b").tolist() == [0] and not layout.mask("b").any()


def test_a_mask_that_others_made_stays_and_classes_keep_their_order(images):
    save_label_png(images / "SegmentationClass/a.png", np.full((8, 9), 2))
    (images / "classes.txt").write_text("nothing\ntraffic light\ndog\ncat\n")
    layout = take(images, export(images / "a.json", OUTLINED))
    assert (layout.mask("a") == 2).all() and layout.mask("b").sum() == 63
    assert layout.class_names == ["nothing", "traffic light", "dog", "cat"]


def test_an_image_that_is_turned_gets_labels_and_no_mask(images, capsys):
    save(images / "images/b.jpg", size=(9, 8))
    layout = take(images, export(images / "a.json", OUTLINED))
    assert not layout.has_mask("b") and layout.labels("b").tolist() == [1, 0]
    assert "1 images, such as b, have another size than the annotations say" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda root: export(root / "a.json", OUTLINED, ["a.jpg", "b.jpg", "z.jpg"]),
            r"1 of its 3 images, such as 'z.jpg'",
        ),
        (
            lambda root: export(root / "a.json", OUTLINED, ["a" * 5000, "b\0.jpg", ".."]),
            r"3 of its 3 images, such as 'aaa",
        ),
        (lambda root: export(root / "a.json", [(0, 5, None, 0)]), "annotation 0: its category -5 is not among"),
        (
            lambda root: export(root / "a.json", [(9, 0, None, 0)]),
            "its image 457 is not among the images: fix or leave it out",
        ),
        (lambda root: (root / "a.json").write_text('{"images": ['), "cannot be read as COCO's JSON"),
        (lambda root: (root / "a.json").write_text("[" * 10**6), "cannot be read as COCO's JSON"),
        (lambda root: export(root / "a.json", OUTLINED, classes=("c\tat", "dog")), r"'c\\tat': an image or a class"),
        (lambda root: export(root / "a.json", OUTLINED, classes=("", "dog")), "a.json: '': an image or a class"),
        (lambda root: export(root / "a.json", OUTLINED, classes=["background"] * 2), "coco finds 0 classes besides"),
        (lambda root: export(root / "a.json", []), "coco finds 0 classes besides the background"),
        (lambda root: None, "a.json: no such file"),
        (
            lambda root: (
                save(root / "x/a.jpg", 9),
                export(root / "a.json", OUTLINED, ["images/a.jpg", "x/a.jpg", "b.jpg"]),
            ),
            "share a name",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line_and_nothing_is_written(images, change, message):
    change(images)
    before = stamps(images)
    with pytest.raises(UserError, match=message) as error:
        take(images, images / "a.json")
    assert "\n" not in str(error.value) and stamps(images) == before


def test_an_outline_that_cannot_be_drawn_is_named(images):
    export(images / "a.json", [*OUTLINED, (2, 0, [[0, 0, 1e9, 0, 1e9, 1e9]], 0)])
    with pytest.raises(UserError, match=r"a\.json: annotation 3: its segmentation cannot be drawn: .* far outside"):
        take(images, images / "a.json")
    assert not (images / "image_labels.txt").exists() and not (images / "lists").exists()


def test_the_dataset_stage_takes_it(images, script):
    path = export(images / "a.json", OUTLINED)
    call = ("prepare_dataset.py", "--kind", "folder", "--dataset_root", images, "--labels_from", "coco")
    done = script(*call)
    assert done.status == 2 and "name it by --annotations" in done.err
    done = script(*call, "--annotations", path, "--num_workers", 1)
    assert done.status == 0 and "3 classes with the background, train 2, train_aug 2, val 1" in done.out, done.err
