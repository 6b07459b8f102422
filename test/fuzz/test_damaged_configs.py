"""Config files, overrides, and the settings that a run keeps."""

import math
from pathlib import Path

import pytest
import yaml
from damaging import NASTY, TEXTS, damaged, read_or_refuse
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import UserError
from tool.config import SECTIONS, override, parse, read_config
from tool.run import Run
from tool.settings import plain
from tool.stages import BY_NAME
from tool.yaml_file import dump_yaml, parse_yaml, read_yaml
from viz.runs import read_runs, setting_rows

REPOSITORY = Path(__file__).parents[2]


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
        ("make_cam", {"scales": [1, None]}, "make_cam.scales must be a list, each a number"),
        ("make_cam", {"scales": [1, [2]]}, "make_cam.scales must be a list, each a number"),
        ("make_cam", {"scales": [1, "--help"]}, "make_cam.scales must be a list, each a number"),
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
