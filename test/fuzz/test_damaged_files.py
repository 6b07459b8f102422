"""Every file that a user can damage: read, it gives a right result or a UserError of one line that names the file."""

import io
import json
import math
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from data.image import image_size, read_image
from data.index import INDEX
from data.label_png import read_label_png, save_label_png
from data.layout import Layout, read_class_names
from data.usable import check_image, check_labels, usable_ids
from data.xml_tree import parse_xml
from errors import UserError
from net.backbone import build_backbone
from tool.cam_file import load_cam, save_cam
from tool.checkpoint import load_state, save_state
from tool.config import SECTIONS, override, parse, read_config
from tool.json_file import load_json
from tool.record import weights_input
from tool.run import Run
from tool.settings import TrainAesipe, plain
from tool.stages import BY_NAME
from tool.yaml_file import dump_yaml, parse_yaml, read_yaml
from viz.curves import training_charts
from viz.page import rates
from viz.runs import collect_scores, content, read_log, read_runs, setting_rows, steps_of, usage
from voc12.annotations import read_list
from voc12.matlab import read_sbd

REPOSITORY = Path(__file__).parents[2]
TRICKY = [
    "\0",
    "\ufeff",
    "\u2028",
    "\x85",
    "\x0b",
    "\u202e",
    "\U0001f408",
    "e\u0301",
    "\udcff",
    "\r",
    "\t",
    "\xa0",
    "\x1b[2J",
]
TEXTS = st.lists(st.characters() | st.sampled_from(TRICKY), max_size=30).map("".join)


def read_or_refuse(read, path, *args):
    """read(path, *args), or None where that is refused as it has to be."""
    try:
        return read(path, *args)
    except UserError as error:
        assert str(error).startswith(str(path)) and len(str(error).splitlines()) == 1
        assert str(error).partition(str(path))[2].strip(": ")  # it says what is wrong, too
        return None


@st.composite
def damaged(draw, files):
    """Bytes of one of the files, cut off, with bytes changed, left out or put in; rarely just any bytes."""
    whole = draw(st.sampled_from(files))
    how = draw(st.sampled_from(["change", "cut", "insert", "leave out", "any"]))
    if how == "any":
        return draw(st.binary(max_size=300))
    place, length = draw(st.integers(0, len(whole) - 1)), draw(st.integers(1, 8))
    if how == "cut":
        return whole[:place]
    if how == "leave out":
        return whole[:place] + whole[place + length :]
    data = bytearray(whole)
    for _ in range(length):  # most damage is in the middle of a file, but its head is where all is decided
        data[draw(st.integers(0, len(whole) - 1) | st.integers(0, min(60, len(whole) - 1)))] = draw(st.integers(0, 255))
    return bytes(data) if how == "change" else whole[:place] + bytes(data[place : place + length]) + whole[place:]


# ---- What is no file ----


def read_dataset(root):
    layout = Layout(root)
    layout.ids("train")
    layout.present("a")
    return layout.image_facts("a"), layout.mask_facts("a"), layout.image("a"), layout.mask("a")


READERS = {  # a file's name below a folder, and what reads it
    "classes.txt": read_dataset,
    "image_labels.txt": read_dataset,
    "lists/train.txt": read_dataset,
    "JPEGImages/a.png": read_dataset,
    "SegmentationClass/a.png": read_dataset,
    "config.yaml": lambda root: Run(root).config(),
    "log.jsonl": lambda root: read_runs([root]),
    "eval/cam.json": lambda root: collect_scores(root),
    "ckpt/settings.yaml": lambda root: content(read_runs([root])),
    "ckpt/aesipe.pt": lambda root: Run(root).trained_settings("ckpt/aesipe.pt", "train_aesipe"),
    "a.npz": lambda root: load_cam(root / "a.npz"),
    "a.pt": lambda root: load_state(root / "a.pt"),
    "weights.pth": lambda root: build_backbone("resnet18", str(root / "weights.pth")),
    "start.pth": lambda root: weights_input(TrainAesipe(weights=str(root / "start.pth"))),
    "a.xml": lambda root: parse_xml(root / "a.xml"),
    "a.mat": lambda root: read_sbd(root / "a.mat"),
    "val.txt": lambda root: read_list(root / "val.txt"),
}


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_not_opened(tmp_path, name):
    """To open a pipe would wait for ever, and /dev/zero has no end."""
    for folder in ("JPEGImages", "SegmentationClass", "lists", "eval", "ckpt"):
        (tmp_path / folder).mkdir()
    write_dataset(tmp_path)
    for image in ("JPEGImages/a.png", "SegmentationClass/a.png"):
        Image.new("L", (4, 3)).save(tmp_path / image)
    path = tmp_path / name
    for kind in ("pipe", "folder", "device"):
        path.unlink(missing_ok=True)
        {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}[kind](path)
        with pytest.raises(UserError, match=f"^{path}: cannot be read: is a {kind}, where a file is needed$"):
            READERS[name](tmp_path)
        if kind == "folder":
            path.rmdir()


def test_an_index_that_is_no_file_is_passed_over(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "lists").mkdir()
    write_dataset(tmp_path)
    Image.new("L", (4, 3)).save(tmp_path / "JPEGImages/a.png")
    os.mkfifo(tmp_path / INDEX)
    assert usable_ids(Layout(tmp_path), "train", (check_image,)) == ["a"] and (tmp_path / INDEX).is_file()


# ---- YAML ------------------------------------------------------------------------------------------------------------

NASTY = [
    "2020-13-45",
    "!!int x",
    '!!int ""',
    "!!float x",
    "!!bool x",
    "!!timestamp 1",
    "!!binary x",
    "!!set {a, b}",
    "0x_",
    "=",
    "<<: 1",
    "&a [*a]",
    "&a {x: *a}",
    "? [a]\n: 1",
    "[" * 700,
    "{a: " * 700,
    "9" * 5000,
    "1e999",
    ".nan",
    "-.inf",
    '"\\ud800"',
    '"\\0"',
    '"a\\u2028b"',
    "!!python/object:os.system {}",
    "%YAML 9.9",
    "--- 1\n--- 2",
    "2020-01-01T00:00:00+99:99",
    "\t",
    "@",
    "`",
    "*a",
    "&a",
    "!!omap [a]",
    "!!merge x",
    "~",
    "0",
    "false",
    "''",
]
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
)
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.dates()
    | st.sampled_from(
        [10**30, -(10**400), math.nan, math.inf, "--help", "-h", "--lr", "-1", "", " ", "nan", "1e3", "0x10", b"\xff"]
    )
)
VALUES = (
    SCALARS
    | st.lists(SCALARS, max_size=3)
    | st.lists(st.lists(SCALARS, max_size=2), max_size=2)
    | st.dictionaries(TEXTS, SCALARS, max_size=2)
)
FLAGS = {section: sorted(plain(stage.settings())) for section, stage in BY_NAME.items()}


def parse_every_stage(path):
    """The settings of each script; a bad value is laid to the file."""
    return {section: parse(section, argv=["--config", str(path)]) for section in BY_NAME}


def check_settings(args):
    """They are what the flags promise, and can be kept and used again."""
    for key, value in plain(args).items():
        for part in value if isinstance(value, list) else [value]:
            assert part is None or isinstance(part, (bool, int, str, float))
            assert not isinstance(part, float) or 0 <= part < math.inf, key
            assert isinstance(part, (bool, str, float)) or part is None or 0 <= part < 2**32, key
            assert not isinstance(part, str) or ("\0" not in part and part.encode() is not None), key


@given(
    st.sampled_from(NASTY) | TEXTS,
    st.sampled_from(
        [
            "{}",
            "train_aesipe: {}",
            "train_aesipe: {{lr: {}}}",
            "common: {}",
            "make_cam:\n  scales: [1, {}]",
            "{}: {{}}",
            "report: {{{}: 1}}",
        ]
    ),
)
@settings(max_examples=60)
def test_configs_of_odd_yaml(tmp_path, text, frame):
    path = tmp_path / "a.yaml"
    path.write_text(frame.format(text), encoding="utf-8", errors="surrogatepass")
    config = read_or_refuse(read_config, path)
    if config is not None:
        assert set(config) <= set(SECTIONS)
        for args in (read_or_refuse(parse_every_stage, path) or {}).values():
            check_settings(args)


@pytest.mark.parametrize("text", NASTY, ids=lambda text: text[:12])
def test_nasty_values_are_refused_or_read(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(f"train_aesipe:\n  lr: {text}\n")
    for args in (read_or_refuse(parse_every_stage, path) or {}).values():
        check_settings(args)
    read_or_refuse(read_yaml, path)
    try:
        override({}, [f"train_aesipe.lr={text}"])
    except UserError as error:
        assert str(error).startswith("train_aesipe.lr=") and len(str(error).splitlines()) == 1


@given(damaged([path.read_bytes() for path in CONFIGS]))
@settings(max_examples=40)
def test_damaged_configs(tmp_path, data):
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    if read_or_refuse(read_config, path) is not None:
        for args in (read_or_refuse(parse_every_stage, path) or {}).values():
            check_settings(args)


@given(st.data(), st.sampled_from(sorted(BY_NAME)))
@settings(max_examples=100)
def test_any_value_of_any_flag_is_taken_or_laid_to_its_section(tmp_path, data, section):
    key = data.draw(st.sampled_from(FLAGS[section]))
    value = data.draw(VALUES)
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump({section: {key: value}}))

    def parse_one(path):
        return parse(section, argv=["--config", str(path)])

    args = read_or_refuse(parse_one, path)
    if args is not None:
        check_settings(args)
        defaults = vars(parse(section, argv=[]))
        changed = {name for name, each in vars(args).items() if each != defaults[name]}
        assert changed <= {key}, "the value of a flag has set another one"


@pytest.mark.parametrize(
    "section, values, message",
    [
        ("make_cam", {"list": "a\0b"}, "make_cam.list must be a text that is not empty: "),
        ("make_cam", {"list": "\ud800"}, "make_cam.list must be a text that is not empty: "),
        ("make_cam", {"list": b"a"}, "line 2, column 9: tags (!)"),
        ("make_cam", {"scales": [1, None]}, "make_cam.scales must be a list of"),
        ("make_cam", {"scales": [1, [2]]}, "make_cam.scales must be a list of"),
        ("make_cam", {"scales": [1, "--help"]}, "make_cam.scales must be a list of"),
        ("report", {"images": 2**32}, "must be a whole number from 1 to 10000: 4294967296"),
        ("report", {"failure_images": 10**400}, "must be a whole number from 0 to 4294967295: 1000"),
        ("report", {"a\nb": 1}, "report.a b is unknown"),
        ("report", {"list": ["a\u2028b"]}, "must be a text that is not empty: ["),
    ],
)
def test_values_that_no_command_line_could_say_are_refused(tmp_path, section, values, message):
    path = tmp_path / "a\nb.yaml"
    path.write_text(yaml.safe_dump({section: values}))
    with pytest.raises(UserError) as error:
        parse(section, argv=["--config", str(path)])
    assert message in str(error.value) and "a b.yaml" in str(error.value) and len(str(error.value).splitlines()) == 1


@given(
    st.sampled_from(["common.seed", "report.images", "train_aesipe.lr", "common", "x.y", ".", "common."]),
    st.sampled_from([*NASTY, BOMB, "1", "[1"]) | TEXTS,
)
@settings(max_examples=60)
def test_overrides_are_placed_or_refused(key, text):
    before = {"common": {"seed": 3}, "report": None}
    section, _, name = key.partition(".")
    try:
        config = override(dict(before), [f"{key}={text}"])
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 1000
    else:
        value = parse_yaml(text)
        assert repr(config) == repr({**before, section: {**(before.get(section) or {}), name: value}})


@pytest.mark.parametrize("text", [BOMB, "a: &a [1, *a]"], ids=["lists", "cycle"])
def test_alias_bombs_are_refused_unexpanded(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    for read, path in ((read_config, tmp_path / "config.yaml"), (lambda path: Run(path).config(), tmp_path)):
        with pytest.raises(UserError, match=r"config.yaml: is not valid YAML: line 1, .* aliases \(\*\) are not read"):
            read(path)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(SECTIONS), st.dictionaries(TEXTS, PLAIN, max_size=3), max_size=3))
@settings(max_examples=40)
def test_settings_of_a_run_come_back(tmp_path, config):
    (tmp_path / "config.yaml").write_text(dump_yaml(config))
    assert Run(tmp_path).config() == config


@given(
    damaged([b"train_aesipe:\n  lr: 0.1\n  dataset_root: data\nmake_cam:\n  scales:\n  - 1.0\n"])
    | st.sampled_from([*NASTY, "1: {2: 3}", "a: {2: 3, b: 1}", "[]", "0"]).map(str.encode)
)
@settings(max_examples=60)
def test_damaged_settings_of_a_run(tmp_path, data):
    (tmp_path / "config.yaml").write_bytes(data)

    def read(_):
        return read_runs([tmp_path])

    runs = read_or_refuse(read, tmp_path / "config.yaml")
    if runs is not None:
        assert all(isinstance(values, dict) for values in runs[0].config.values())
        setting_rows(runs)


# ---- Lists, labels and classes ---------------------------------------------------------------------------------------

# What data/collect.py lets through: no line break, no tab, no space at an end, and an ID is no path.
NAMES = (
    st.text(
        st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="/\\\ufeff"),
        min_size=1,
        max_size=12,
    )
    .map(str.strip)
    .filter(lambda name: name not in ("", ".", ".."))
)


def write_dataset(root, classes="background\ncat\n", labels="a\tcat\n", ids="a\n"):
    (root / "lists").mkdir(exist_ok=True)
    for name, text in (("classes.txt", classes), ("image_labels.txt", labels), ("lists/train.txt", ids)):
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        (root / name).write_bytes(data)


@given(
    st.lists(NAMES, min_size=2, max_size=8, unique=True),
    st.lists(NAMES, min_size=1, max_size=6, unique=True),
    st.data(),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\ufeff"]),
)
@settings(max_examples=60)
def test_datasets_come_back(tmp_path, classes, ids, data, end, mark):
    shown = {image_id: data.draw(st.sets(st.sampled_from(classes[1:]))) for image_id in ids}
    write_dataset(
        tmp_path,
        mark + "".join(name + end for name in classes),
        mark + "".join("\t".join([each, *sorted(names), end]) for each, names in shown.items()),
        mark + "".join(image_id + end for image_id in ids),
    )
    (tmp_path / "JPEGImages").mkdir(exist_ok=True)
    layout = Layout(tmp_path)
    assert layout.class_names == classes == read_class_names(tmp_path / "classes.txt")
    assert usable_ids(layout, "train", (check_labels,)) == ids
    for image_id in ids:
        labels = layout.labels(image_id)
        assert {classes[k + 1] for k in labels.nonzero()[:, 0]} == shown[image_id]
        assert labels.shape == (len(classes) - 1,)


@given(
    st.sampled_from(["classes.txt", "image_labels.txt", "lists/train.txt"]),
    damaged([b"background\ncat\ndog\n", b"a cat\nb\tdog\tcat\n", "a\nb\n\u00fc\n".encode()])
    | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.sampled_from(["a\tcat\n", "../a\n", "x" * 300 + "\n", "a\0b\n", "\tcat\n", "a a\n"]).map(str.encode),
)
@settings(max_examples=100)
def test_damaged_lists(tmp_path, name, data):
    write_dataset(tmp_path)
    (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(data)

    def read(_):
        layout = Layout(tmp_path)
        ids = layout.ids("train")
        return layout, ids, [layout.labels(image_id) for image_id in ids if layout.is_labelled(image_id)]

    found = read_or_refuse(read, tmp_path / name) if name != "classes.txt" else None
    if name == "classes.txt":  # one that lost a class is found out by the labels
        try:
            found = read(None)
        except UserError as error:
            assert str(error).startswith(str(tmp_path)) and len(str(error).splitlines()) == 1
            assert "classes.txt" in str(error)
    if found is not None:
        layout, ids, labels = found
        assert len(ids) > 0 and all(image_id.strip() and not {"/", "\0"} & set(image_id) for image_id in ids)
        assert 2 <= layout.n_classes <= 255
        assert all(each.shape == (layout.n_classes - 1,) and set(each.tolist()) <= {0, 1} for each in labels)
        for image_id in ids:
            assert not layout.has_mask(image_id)
            with pytest.raises(UserError):
                layout.mask(image_id)


@given(TEXTS | st.just("x" * 300))
def test_lists_of_odd_names_are_not_found(tmp_path, name):
    write_dataset(tmp_path)
    try:
        Layout(tmp_path).ids(name)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert name == "train" or (tmp_path / "lists" / f"{name}.txt").exists()


# ---- CAM archives ----------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 2**32),
    st.integers(1, 5) | st.just(255),
    st.integers(1, 9),
    st.integers(1, 12),
    st.sampled_from([16, 8]),
)
@settings(max_examples=40)
@example(0, 255, 1, 1, 16)
@example(0, 3, 1, 40, 8)
def test_cams_come_back(tmp_path, seed, count, h, w, bits):
    generator = np.random.default_rng(seed)
    keys = np.sort(generator.choice(255, count, replace=False))
    keys[0] = 0
    cam = generator.random((count, h, w)) * generator.choice([0, 1, 1e-3])
    save_cam(tmp_path / "a.npz", keys, cam, bits)
    read_keys, read = load_cam(tmp_path / "a.npz")
    assert np.array_equal(read_keys, keys) and read_keys.dtype == np.int64
    assert read.shape == cam.shape and read.dtype == np.float32
    assert np.abs(read - cam).max() <= (2**-12 if bits == 16 else 0.5 / 255 + 1e-6)
    assert read.min() >= 0 and read.max() <= 1


def archive(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def reseal(data, changes):
    """The archive with bytes of its members changed and their checksums right: what no zip reader can notice."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for number, name in enumerate(old.namelist()):
            member = bytearray(old.read(name))
            for which, place, value in changes:
                if which == number:
                    member[place % len(member)] = value
            new.writestr(name, bytes(member))
    return file.getvalue()


CAMS = [
    archive(keys=np.array([0, 4], np.uint8), cam=np.random.default_rng(0).random((2, 3, 5)).astype(dtype))
    for dtype in (np.float16, np.float32)
] + [archive(keys=np.array([0], np.uint8), cam=np.full((1, 2, 2), 200, np.uint8))]
CHANGES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 200), st.integers(0, 255)), max_size=4)
ODD = (
    [archive(keys=np.array([0, 1]), cam=np.zeros((2, 3, 3), dtype)) for dtype in ("c8", "U3", "M8[s]", "i8", "?", "S2")]
    + [
        archive(keys=keys, cam=np.zeros((len(keys), 3, 3)))
        for keys in (np.array([0.0, np.nan]), np.array([-1, 3]), np.array([0, 255]), np.array(["a"]), np.zeros(0, int))
    ]
    + [archive(keys=np.array([0]), cam=np.full((1, 2, 2), value)) for value in (np.nan, np.inf, 1e300)]
    + [archive(keys=np.array([0]), cam=np.zeros(shape)) for shape in ((1, 0, 3), (1, 3), (), (2, 1, 1))]
)


def check_cam(found):
    keys, cam = found
    assert keys.shape == cam.shape[:1] and cam.ndim == 3 and cam.size and np.isfinite(cam).all()
    assert keys.min() >= 0 and keys.max() <= 254 and cam.dtype == np.float32 and keys.dtype == np.int64


@given(damaged(CAMS) | st.builds(reseal, st.sampled_from(CAMS), CHANGES))
@settings(max_examples=150)
def test_damaged_cams(tmp_path, data):
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    found = read_or_refuse(load_cam, path)
    if found is not None:
        check_cam(found)


@pytest.mark.parametrize("data", ODD)
def test_cams_of_other_contents_are_refused(tmp_path, data):
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(UserError, match="a.npz: "):
        load_cam(tmp_path / "a.npz")


def test_cams_that_unpack_to_gigabytes_are_refused_packed(tmp_path):
    """The sizes stand in the zip's directory at the end, 24 bytes into the entry of a member."""
    data = bytearray(archive(keys=np.array([0], np.uint8), cam=np.zeros((1, 9, 9), np.float16)))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 3 << 30)
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(UserError, match=r"a.npz: unpacks to 3.0 GiB, more than 2 GiB"):
        load_cam(tmp_path / "a.npz")


def test_arrays_that_claim_more_than_memory_are_refused(tmp_path):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": (1, 10**8, 10**8)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
        packed.writestr("keys.npy", zipfile.ZipFile(io.BytesIO(CAMS[2])).read("keys.npy"))
        packed.writestr("cam.npy", file.getvalue())
    with pytest.raises(UserError, match="a.npz: is no whole CAM"):
        load_cam(tmp_path / "a.npz")


# ---- Images and labels -----------------------------------------------------------------------------------------------


def encoded(mode, form, **options):
    noise = np.random.default_rng(0).integers(0, 256, (11, 13, 4), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise, "RGBA").convert(mode).save(file, form, **options)
    return file.getvalue()


def with_exif(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return encoded("RGB", "JPEG", exif=exif)


IMAGES = [
    encoded("RGB", "JPEG"),
    encoded("L", "JPEG"),
    encoded("CMYK", "JPEG"),
    encoded("RGB", "JPEG", progressive=True),
    with_exif(6),
    encoded("RGBA", "PNG"),
    encoded("P", "PNG"),
    encoded("1", "PNG"),
    encoded("RGB", "TIFF"),
    encoded("RGB", "TIFF", compression="tiff_lzw"),
    encoded("P", "GIF"),
    encoded("RGB", "BMP"),
    encoded("RGB", "WEBP"),
    encoded("RGB", "PPM"),
]


@pytest.mark.filterwarnings("ignore")  # Pillow's, on what it could mend
@given(damaged(IMAGES), st.booleans())
@settings(max_examples=200)
def test_damaged_images(tmp_path, data, smaller):
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    size = read_or_refuse(image_size, path)
    image = read_or_refuse(read_image, path, (4, 4) if smaller else None)
    if image is not None:
        assert image.dtype == torch.uint8 and image.shape[0] == 3 and min(image.shape) > 0
        assert smaller or tuple(image.shape[1:]) == tuple(size)


@pytest.mark.parametrize("kind", [2, 12, 16])
@pytest.mark.parametrize("read, mode", [(read_image, "RGB"), (read_label_png, "L")])
def test_tiffs_whose_tag_is_of_another_type_are_refused(tmp_path, read, mode, kind):
    """Pillow's errors there are of types that no file should end in: TypeError and OverflowError."""
    data = bytearray(encoded(mode, "TIFF"))
    offsets = data.index(struct.pack("<HH", 273, 4))  # StripOffsets, a long
    data[offsets + 2] = kind
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UserError, match="a.png: cannot be decoded as"):
        read(tmp_path / "a.png")


LABELS = [encoded(mode, "PNG") for mode in ("P", "L", "1", "RGB")]


@given(damaged(LABELS))
@settings(max_examples=100)
def test_damaged_labels(tmp_path, data):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    labels = read_or_refuse(read_label_png, path)
    if labels is not None:
        assert labels.dtype == np.uint8 and labels.ndim == 2 and labels.size


@given(
    st.integers(0, 2**32),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 256),
    st.sampled_from([np.uint8, np.int64, np.int32]),
)
def test_labels_come_back(tmp_path, seed, h, w, top, dtype):
    labels = np.random.default_rng(seed).integers(0, top, (h, w)).astype(dtype)
    save_label_png(tmp_path / "a.png", labels)
    read = read_label_png(tmp_path / "a.png")
    assert read.dtype == np.uint8 and np.array_equal(read, labels)


# ---- Checkpoints and what a run says of itself -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    path = tmp_path_factory.mktemp("states") / "a.pt"
    save_state(path, {"model": {"w": torch.arange(6.0).view(2, 3)}, "step": 3})
    return [path.read_bytes()]


@given(st.data())
@settings(max_examples=60)
def test_damaged_checkpoints(tmp_path, states, data):
    path = tmp_path / "a.pt"
    path.write_bytes(data.draw(damaged(states)))
    read_or_refuse(load_state, path)


LINES = [
    {"stage": "aesipe", "step": step, "loss": 1 / step, "lr": 0.1, "images_per_second": 2.0} for step in (10, 20)
] + [
    {"stage": "aesipe", "step": 20, "val": {"cam": 0.5}},
    {
        "stage": "make_cam",
        "finished": True,
        "did": 3,
        "of": 3,
        "seconds": 2.5,
        "peak_memory_mb": 9.0,
        "peak_gpu_memory_mb": None,
        "device": "cpu",
        "processes": 1,
    },
]
LOG = "".join(json.dumps(line) + "\n" for line in LINES).encode()
JSON_VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from([[1], {"a": "b"}, 10**400])
)


def draw_log(path):
    """All that a report makes of a log."""
    log = read_log(path)
    for row in usage(log):
        assert math.isfinite(row["seconds"]) and math.isfinite(row["did"])
    assert all(math.isfinite(row[2]) for row in rates(log))
    for key in ("loss", "val", "lr"):
        steps = [record["step"] for record in steps_of(log, "aesipe", key)]
        assert steps == sorted(set(steps))
    return log


@given(damaged([LOG]))
@settings(max_examples=60)
def test_damaged_logs_lose_their_damaged_lines_alone(tmp_path, data):
    path = tmp_path / "log.jsonl"
    path.write_bytes(data)
    log = draw_log(path)
    for line in LINES:  # a line that stands there whole between line breaks is read
        if f"\n{json.dumps(line)}\n".encode() in b"\n" + data + b"\n":
            assert line in log


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(
                [
                    "stage",
                    "step",
                    "loss",
                    "lr",
                    "images_per_second",
                    "val",
                    "did",
                    "seconds",
                    "peak_memory_mb",
                    "finished",
                    "more",
                ]
            ),
            JSON_VALUES,
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=60)
def test_logs_of_odd_values_are_drawn(tmp_path, changes):
    path = tmp_path / "log.jsonl"
    lines = [dict(line) for line in LINES]
    for number, key, value in changes:
        lines[number][key] = value
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "[" * 5000 + "\n" + json.dumps(LINES[0])[:-4])
    log = draw_log(path)
    assert [line for line in LINES if line in lines] == [line for line in LINES if line in log]


def test_a_log_of_odd_values_is_drawn(tmp_path):
    odd = ["0.5", None, [1], {"a": 1}, math.nan, math.inf, -math.inf, 10**400, True, "\ud800"]
    lines = [{**LINES[0], "step": 1 + number, "loss": value, "more": value} for number, value in enumerate(odd)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + LOG.decode())
    charts = training_charts(read_runs([tmp_path]))
    assert len(charts) == 3 and all(chart.svg.startswith("<svg") for chart in charts)


SCORES = {"miou": 0.5, "accuracy": 0.6, "iou": {"background": 0.5, "cat": None}, "confusion": [[1, 0, 2], [0, 3, 0]]}
RESULTS = {
    "cam.json": {"list": "train", "maps": {"cam": [{"background_weight": 1.0, "crf": False, **SCORES}]}},
    "seg.json": {"list": "train", **SCORES},
    "deeplab_val.json": {"list": "val", "plain": SCORES, "crf": SCORES},
}


@given(st.sampled_from(sorted(RESULTS)), st.data())
@settings(max_examples=60)
def test_damaged_scores(tmp_path, name, data):
    (tmp_path / "eval").mkdir(exist_ok=True)
    whole = json.dumps(RESULTS[name]).encode()
    (tmp_path / "eval" / name).write_bytes(
        data.draw(
            damaged([whole])
            | st.sampled_from([b"[]", b"3", b'"a"', b"[" * 5000, b'{"maps": []}', b'{"maps": {"cam": 3}}'])
            | st.just(whole.replace(b"0.5", b"NaN"))
            | st.just(whole.replace(b"[0, 3, 0]", b"[1]"))
            | st.just(whole)
        )
    )

    def read(_):
        return collect_scores(tmp_path)

    path = tmp_path / "eval" / name
    read_or_refuse(load_json, path)
    rows = read_or_refuse(read, path)
    path.unlink()
    for *_, result in rows or ():
        assert 0 <= result["miou"] <= 1
