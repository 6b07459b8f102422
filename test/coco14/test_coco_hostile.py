"""Annotations and archives of whom nobody knows: one line that names the file, status 2, in little time and memory."""

import json
import resource
import stat
import struct
import zipfile

import pytest
from coco_miniature import TRAIN, annotations, box, write_json
from test_coco_prepare import refused

import data.coco_json
import data.extract
from data.coco_json import ObjectEntry, read_instances
from data.extract import extract
from data.object_masks import LONGEST_OUTLINE, object_mask
from errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own


def first_object(**fields):
    def change(content):
        content["annotations"][0].update(fields)

    return change


def first_image(**fields):
    def change(content):
        content["images"][0].update(fields)

    return change


SIZE = [40, 60]
HOSTILE = {
    "a huge polygon": (first_object(segmentation=[box(0, 0, 1e9, 1e9)]), "far outside the image of 60 x 40"),
    "a polygon far left": (first_object(segmentation=[box(-9e15, 0, 5, 5)]), "far outside the image"),
    "an outline without end": (
        first_object(segmentation=[[0.0, 0.0, 60.0, 40.0] * (LONGEST_OUTLINE // 60)]),
        "outline is longer than 1048576 pixels",
    ),
    "an odd number": (first_object(segmentation=[box(0, 0, 5, 5)[:-1]]), "a polygon has 7 numbers"),
    "numbers and lists": (first_object(segmentation=[[1, 2, 3, 4, 5, 6], 3]), "polygons are lists of numbers"),
    "words": (first_object(segmentation=[["a"] * 6]), "Expected `float`, got `str`"),
    "a word": (first_object(segmentation="poly"), "Expected `object | array`"),
    "runs longer than the image": (
        first_object(segmentation={"counts": [0, 10**12], "size": SIZE}),
        "its run lengths are 1000000000000 pixels together",
    ),
    "runs shorter than the image": (first_object(segmentation={"counts": [9], "size": SIZE}), "are 9 pixels together"),
    "negative runs": (first_object(segmentation={"counts": [2500, -100], "size": SIZE}), "or some negative"),
    "runs of another image": (
        first_object(segmentation={"counts": [3600], "size": [60, 60]}),
        "run lengths of 60 x 60",
    ),
    "packed runs longer than the image": (
        first_object(segmentation={"counts": "ooooooooooo4", "size": SIZE}),
        "pixels together",
    ),
    "packed runs without end": (first_object(segmentation={"counts": "o" * 99, "size": SIZE}), "none of their letters"),
    "packed runs cut short": (first_object(segmentation={"counts": "oo", "size": SIZE}), "are cut short"),
    "other letters": (first_object(segmentation={"counts": "\u20ac", "size": SIZE}), "none of their letters"),
    "a negative size": (first_image(width=-60), "image 9 has the size -60 x 40"),
    "no size": (first_image(height=0), "has the size 60 x 0"),
    "a size beyond all": (first_image(width=10**9, height=10**9), "at most 50000000 pixels"),
    "a broken size": (first_image(width=60.5), "has the size 60.5 x 40"),
    "another image's name": (
        first_image(file_name="../../escaped.jpg"),
        "'../../escaped.jpg' has the name of no image",
    ),
    "a name twice": (first_image(file_name=f"{TRAIN[1]}.jpg"), "two of its images are"),
    "an ID twice": (first_image(id=25), "two of its image entries have the ID 25"),
    "an unknown image": (first_object(image_id=10**9), "annotation 7: its image 1000000000 is not among the images"),
    "an unknown category": (first_object(category_id=12), "annotation 7: its category 12 is not among the categories"),
    "a list as an ID": (first_object(image_id=[9]), "Expected `int | float | str`"),
    "another category": (
        lambda content: content["categories"].append({"id": 12, "name": "street sign"}),
        "category 12 is 'street sign', in COCO 2014 there is none",
    ),
    "shifted categories": (lambda content: content["categories"][0].update(name="bicycle"), "category 1 is 'bicycle'"),
    "no annotations": (lambda content: content.pop("annotations"), "missing required field `annotations`"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_annotations(official, prepare, kind):
    change, message = HOSTILE[kind]
    content = annotations("train")
    change(content)
    write_json(official.base / "annotations/instances_train2014.json", content)
    refused(prepare(official.root, "--sources", official.base), message)
    assert not (official.root / "image_labels.txt").exists() and not (official.root / "lists").exists()
    assert not [path for path in official.root.rglob("*") if path.name.endswith(".tmp")]


TEXTS = {
    "nothing": (b"", "truncated"),
    "cut short": (json.dumps(annotations("train")).encode()[:-99], "truncated"),
    "no JSON": (b"instances", "malformed"),
    "a list": (b"[]", "Expected `object`, got `array`"),
    "a number that is none": (b'{"images": [], "categories": [], "annotations": [{"image_id": NaN}]}', "malformed"),
    "nesting in what nobody reads": (b'{"info": ' + b"[" * 2_000_000, "nested too deeply"),
    "nesting in an outline": (
        b'{"images": [], "categories": [], "annotations": [{"image_id": 1, "segmentation": ' + b"[" * 2_000_000,
        "nested too deeply",
    ),
    "no text": (b"\xff\xfe" + "{}".encode("utf-16-le"), "malformed"),
    "other letters": (b'{"images": [{"id": 1, "file_name": "\xff\xff"}]}', "can't decode"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_texts_that_are_no_annotations(tmp_path, kind):
    content, message = TEXTS[kind]
    path = tmp_path / "instances.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_instances(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_file_of_two_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "instances.json"
    with open(path, "wb") as file:
        file.truncate(2 << 30)  # of zeros that are nowhere on the disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="it is larger than"):
        read_instances(path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10 < 100


def test_a_bom_and_numbers_as_text_are_read(tmp_path):
    content = annotations("train")
    for image in content["images"]:
        image["id"] = str(image["id"])
        image["width"] = float(image["width"])
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(content), encoding="utf-8")
    write_json(tmp_path / "b.json", annotations("train"))
    one, two = read_instances(tmp_path / "a.json"), read_instances(tmp_path / "b.json")
    assert one == two and [len(each) for each in one.objects.values()] == [2, 3, 2, 0, 1]


def test_an_outline_that_is_just_long_enough_takes_little_memory():
    side = 7000
    points = [0.0, 0.0, float(side), float(side)] * (LONGEST_OUTLINE // side // 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    object_mask(ObjectEntry("a", 1, False, json.dumps([points]).encode()), (side, side))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10 < 600


# Archives

WANTED = r"train2014/\w+\.jpg"
NAME = "train2014/a.jpg"


def make_zip(path, *members, kind=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def a_link():
    info = zipfile.ZipInfo(NAME)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "name", ["../escaped.jpg", "train2014/../../escaped.jpg", "/tmp/escaped.jpg", "train2014\\..\\escaped.jpg"]
)
def test_names_that_lead_elsewhere_make_all_of_it_suspect(tmp_path, name):
    make_zip(tmp_path / "a.zip", (NAME, b"x"), (name, b"y"))
    with pytest.raises(UserError, match=r"a\.zip: is unsafe, .* would be written elsewhere"):
        extract(tmp_path / "a.zip", tmp_path / "out", WANTED)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "member, kind, message",
    [
        ((a_link(), b"/etc/passwd"), zipfile.ZIP_STORED, "is no plain file"),
        ((NAME, bytes(65 << 20)), zipfile.ZIP_DEFLATED, "train2014/a.jpg is 68157440 bytes"),
        ((NAME, b"x" * 999), zipfile.ZIP_BZIP2, "packed in another way"),
        ((NAME, b"x" * 999), zipfile.ZIP_LZMA, "packed in another way"),
    ],
)
def test_members_that_are_not_taken(tmp_path, member, kind, message):
    path = make_zip(tmp_path / "a.zip", member, kind=kind)
    with pytest.raises(UserError, match=f"is unsafe, .*{message}"):
        extract(path, tmp_path / "out", WANTED)
    assert not [each for each in tmp_path.rglob("*") if each.name.startswith("a.jpg")]


@pytest.mark.parametrize("bound, value", [("TOTAL", 3500), ("MOST", 3), ("LARGEST_DIRECTORY", 100)])
def test_bounds_on_all_of_it(tmp_path, monkeypatch, bound, value):
    names = ("train2014/a.jpg", "other", "train2014/b.jpg", "train2014/c.jpg")
    path = make_zip(tmp_path / "a.zip", *((name, bytes(1000)) for name in names))
    extract(path, tmp_path / "whole", WANTED)
    assert {each.name for each in (tmp_path / "whole/train2014").iterdir()} == {"a.jpg", "b.jpg", "c.jpg"}
    monkeypatch.setattr(data.extract, bound, value)
    with pytest.raises(UserError, match=r"a\.zip: is unsafe"):
        extract(path, tmp_path / "part", WANTED)
    assert not (tmp_path / "part").exists()


def test_a_table_of_members_that_claims_gigabytes(tmp_path):
    path = tmp_path / "a.zip"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 3 << 30, 0, 0)
    with open(path, "wb") as file:
        file.truncate(3 << 30)
        file.seek(0, 2)
        file.write(end)
    with pytest.raises(UserError, match="its table of members claims 3221225472 bytes"):
        extract(path, tmp_path / "out", WANTED)


def lies_about_its_size(content):
    """The table says 5 bytes, the stream continues to a megabyte."""
    start = content.rindex(b"PK\1\2")
    return content[: start + 24] + struct.pack("<L", 5) + content[start + 28 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content.replace(b"PK\3\4", b"PK\0\0"),
        lambda content: content[:60] + b"\xff" * 20 + content[80:],
        lies_about_its_size,
    ],
)
def test_damaged_archives(tmp_path, damage):
    path = make_zip(tmp_path / "a.zip", (NAME, bytes(1 << 20)), kind=zipfile.ZIP_STORED)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"a\.zip: cannot be read to its end \(.*fetch it again"):
        extract(path, tmp_path / "out", WANTED)
    assert not list(tmp_path.rglob("*.jpg*"))


def test_another_archive(tmp_path):
    path = make_zip(tmp_path / "a.zip", ("holiday/a.jpg", b"x"))
    with pytest.raises(UserError, match="holds none of the files train2014"):
        extract(path, tmp_path / "out", WANTED)
