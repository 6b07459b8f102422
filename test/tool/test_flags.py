"""--help: every flag in its group, with its default, its unit and its range."""

import re
from dataclasses import fields
from functools import cache

import pytest

from tool.config import Parser
from tool.flags import GROUPS, METHOD, add_flags, group_of
from tool.settings import types
from tool.stages import BY_NAME
from tool.values import base, choices, words

# What the numbers of settings count, or are.
UNITS = (
    "processes|images|steps|pixels|passes|parts|learning rate|factors?|share|exponent|probability|number|bits|port|page"
)
SETTINGS = [(section, item) for section, stage in BY_NAME.items() for item in fields(stage.settings)]


@cache
def helps(section):
    """{name of a setting: (title of its group, its help)} as argparse has them."""
    parser = Parser(prog=section)
    add_flags(parser, section)
    return {
        action.dest: (group.title, action.help) for group in parser._action_groups for action in group._group_actions
    }


@pytest.mark.parametrize("section, item", SETTINGS, ids=lambda value: getattr(value, "name", value))
def test_a_flag_says_group_default_unit_and_range(section, item):
    title, text = helps(section)[item.name]
    assert title == group_of(section, item.name) and text.count("default: ") == 1, text
    inner = words(types(BY_NAME[section].settings)[item.name])[1]
    if base(inner) in (int, float) and not choices(inner):
        assert re.search(r"number (from|above) [\d.]+", text), text
        assert re.search(rf"\b({UNITS})\b", item.metadata["help"]), text


def test_the_groups():
    assert list(GROUPS) == ["data and results", METHOD, "training", "machine"]
    named = [name for names in GROUPS.values() for name in names.split()]
    assert len(named) == len({*named}) and {*named} - {"port"} <= {item.name for _, item in SETTINGS}
    assert helps("train_aesipe")["lr"][0] == "training" and helps("train_aesipe")["ae"][0] == "method"
    assert {helps("dataset")[name][0] for name in ("kind", "seed", "train")} == {"data and results"}


@pytest.mark.parametrize(
    "section, name, text",
    [
        ("train_aesipe", "momentum", "SGD momentum, the share of the last step that is kept (a number from 0 to 1; "
         "default: 0.9)"),
        ("make_cam", "ae", "affinity enhancement: run --sequence after the first IS-CAM; default: as trained"),
        ("make_cam", "scales", "factors of the image's size (a list, each a number above 0, at most 8; "
         "default: 1.0 0.5 1.5 2.0)"),
        ("deeplab_test", "flip", "the mirror image too (default: on)"),
        ("dataset", "voc_root", "voc12: the extracted VOCdevkit/VOC2012 (default: none)"),
        ("predict", "out", "folder to write into; default: predict in the run's folder"),
        ("eval_cam", "maps", "which of make_cam.py's exports (a list, each one of ae_is_cam, is_cam, cam; "
         "default: ae_is_cam)"),
        ("report", "figure", "draw the paper's figures 1 and 3 for these images (default: none)"),
    ],
)  # fmt: skip
def test_the_words(section, name, text):
    assert helps(section)[name][1] == text
