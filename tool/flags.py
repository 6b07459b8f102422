"""The flags of a script, made from its settings, in the groups in which --help shows them."""

import argparse
from dataclasses import fields
from typing import Literal, get_args, get_origin

from tool.settings import types
from tool.stages import BY_NAME
from tool.values import base, choices, describe, parts, read, without_none, words

METHOD = "method"  # the group of all that stands in no other
GROUPS = {  # title -> the names of its settings
    "data and results": """dataset_root dataset_format run_root session_name run_folder skip_bad list train_list
        val_list labels folder image out runs images figure per_class failure_images palette submission competition
        what format""",
    METHOD: "",
    "training": """batch_size crop_size lr lr_new momentum weight_decay max_epochs max_iters long_side scale seed
        frozen_stages batch_norm val_every val_images""",
    "machine": "num_workers device precision deterministic compile accumulate save_every resume tracker open port",
}


def group_of(section, name):
    """The group of a setting. The stage dataset has no method and trains nothing: what it makes are data."""
    title = next((title for title, names in GROUPS.items() if name in names.split()), METHOD)
    return next(iter(GROUPS)) if section == "dataset" and title != "machine" else title


def add_flags(parser, section):
    """Add the flags of a stage's settings to a parser. One that is not given leaves nothing in the result."""
    kind = BY_NAME[section].settings
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    for item in fields(kind):
        _add_flag(groups[group_of(section, item.name)], item, types(kind)[item.name])


def _add_flag(group, item, kind):
    meta, (number, inner) = item.metadata, words(kind)
    flags = (f"--{item.name}",) if meta["flags"] is None else meta["flags"]
    more = {"help": _help(item, kind), "default": argparse.SUPPRESS}
    more |= {"dest": item.name} if flags else {}
    if inner is bool:
        group.add_argument(*flags, action=argparse.BooleanOptionalAction, **more)
        return
    metavar = meta["metavar"]
    if metavar is None and number is None and get_origin(inner) is Literal:
        metavar = f"{{{','.join(map(str, get_args(inner)))}}}"
    if number in ("+", "*") and flags:
        more["action"] = "extend"  # a flag that is given twice names what both name
    group.add_argument(
        *flags or (item.name,), type=word_reader(inner, number is not None), nargs=number, metavar=metavar, **more
    )


def _help(item, kind):
    """What a setting means, its range where the flag does not show it, and its default."""
    text, (number, inner), value = item.metadata["help"], words(kind), item.default
    is_shown = inner is bool or (number is None and get_origin(inner) is Literal)
    is_text = base(inner) is str and not choices(inner)
    said = [] if is_shown or is_text else [describe(without_none(kind))]
    if isinstance(value, bool):
        value = "on" if value else "off"
    elif isinstance(value, tuple):
        value = " ".join(map(str, value))
    if value not in (None, ""):
        said.append(f"default: {value}")
    elif "default: " not in text:
        said.append("default: none")
    return f"{text} ({'; '.join(said)})" if said else text


def word_reader(kind, is_list=False):
    """A type of `tool.values` as argparse takes it, which shows the text of no other error than its own.

    is_list: whether the flag takes several of them.
    """

    def convert(word):
        try:
            return read(kind, word)
        except ValueError as error:
            listed = parts(word) if is_list else []
            raise argparse.ArgumentTypeError(f"{error}{': write ' * bool(listed)}{' '.join(listed)}") from error

    return convert
