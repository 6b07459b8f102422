"""Settings of a stage: flags of its script over its section of a YAML file over the defaults of `tool.settings`.

A config file has one section a stage, whose keys are the flags of the stage's script, and a section `common` for the
flags that several scripts share.
"""

import argparse
import os
import sys
import time
from dataclasses import fields
from datetime import date

from errors import OtherProcessFailed, UserError
from tool.failure import explain
from tool.settings import brief
from tool.stages import BY_NAME
from tool.yaml_file import parse_yaml, read_yaml

SECTIONS = ("common", *BY_NAME)
COMMON = (
    "dataset_root",
    "run_root",
    "session_name",
    "backbone",
    "weights",
    "num_workers",
    "seed",
    "precision",
    "batch_norm",
    "deterministic",
    "compile",
    "skip_bad",
    "tracker",
)


class Parser(argparse.ArgumentParser):
    """Wrong flags and values are bad input like any other: one line, not a page of usage."""

    def error(self, message):
        raise UserError(f"{message} (see --help)")


def make_parser(kind, description=None):
    """A parser with the flags of a settings class, and --config."""
    parser = Parser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False)
    parser.add_argument("--config", help="YAML file; this script's section and `common` are read")
    add_flags(parser, kind)
    return parser


def add_flags(parser, kind, names=None):
    """Add the flags of a settings class, or of those of its settings that are named, to a parser."""
    for item in fields(kind):
        if names is None or item.name in names:
            _add_flag(parser, item)


def _add_flag(parser, item):
    meta = item.metadata
    names = (f"--{item.name}",) if meta["flags"] is None else meta["flags"]
    more = {"default": item.default, "help": meta["help"], **({"dest": item.name} if names else {})}
    if meta["kind"] is bool:
        parser.add_argument(*names, action=argparse.BooleanOptionalAction, **more)
        return
    if meta["metavar"]:
        more["metavar"] = meta["metavar"]
    parser.add_argument(
        *names or (item.name,), type=word_reader(meta["kind"]), choices=meta["choices"], nargs=meta["many"], **more
    )


def word_reader(kind):
    """A kind of `tool.settings` as argparse takes it, which shows the text of no other error than its own."""

    def read(word):
        try:
            return kind(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def parse(section, description=None, argv=None):
    """The settings of a stage, of the class that `tool.stages` names: argv over the YAML section over `common` over
    the defaults.

    description: for --help. Values of the file pass through the same types and choices. Raises UserError for an
    unknown key and for a value out of its range.
    """
    argv = sys.argv[1:] if argv is None else argv
    kind = BY_NAME[section].settings
    parser = make_parser(kind, description)
    finder = Parser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    path = finder.parse_known_args(argv)[0].config
    words = _file_words(path, section, parser) if path else []
    try:
        args = parser.parse_args(words)  # alone first, so that a bad value is laid to where it stands
    except UserError as error:
        raise UserError(f"{path}: section {section}: {error}") from error
    args = vars(parser.parse_args(argv, args))  # not as one line: a list of the file would take argv's first words
    del args["config"]
    settings = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in args.items()})
    if problem := settings.problem():
        raise UserError(f"{path}: section {section}: {problem}" if path else problem)
    return settings


def _file_words(path, section, parser):
    """What the config file says of a stage, as words of a command line."""
    # By the first of their names: a flag may be called otherwise than its setting. Those without a name are not here.
    flags = {
        action.option_strings[0].removeprefix("--"): action
        for action in parser._actions
        if action.option_strings and action.dest not in ("help", "config")
    }
    config = read_config(path)
    shared = {key: value for key, value in (config.get("common") or {}).items() if key in flags}
    words = []
    for key, value in {**shared, **(config.get(section) or {})}.items():
        if key not in flags:
            raise UserError(f"{path}: {section}.{brief(key)} is unknown: keys are {', '.join(sorted(flags))}")
        words += _as_flags(path, section, flags[key], value)
    return words


def read_config(path):
    """The YAML file as a dict of sections. Raises UserError if it is no such thing or has an unknown section."""
    config = read_yaml(path)
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise UserError(f"{path}: must hold sections of keys and values, one section a stage")
    for section, values in config.items():
        if section not in SECTIONS:
            raise UserError(f"{path}: section {brief(repr(section))} is unknown: sections are {', '.join(SECTIONS)}")
        if not isinstance(values, (dict, type(None))):
            raise UserError(f"{path}: section {section} must hold keys and values")
        if section == "common":
            unknown = next((key for key in values or {} if key not in COMMON), None)
            if unknown is not None:
                raise UserError(f"{path}: common.{brief(unknown)} is unknown: keys are {', '.join(COMMON)}")
    return config


def run_main(main):
    """Run a script's main: bad input ends with one line and status 2, as does what the machine or another process
    makes impossible (`tool.failure.explain`); Ctrl-C with status 130."""
    try:
        main()
    except (UserError, RuntimeError, MemoryError) as error:
        explained = explain(error)
        if explained is None:
            raise
        if isinstance(explained, OtherProcessFailed):
            time.sleep(5)  # torchrun is to see first the one that failed by itself
        print(f"error: {explained}", file=sys.stderr)
        # torchrun's other processes may wait in a collective: leaving without clean-up lets it end them at once.
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(2) if "RANK" in os.environ else sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; what is finished stays, run it again to go on", file=sys.stderr)
        sys.exit(130)


def _as_flags(path, section, action, value):
    name = action.option_strings[0]
    if value is None:
        return []
    if isinstance(action, argparse.BooleanOptionalAction):
        if not isinstance(value, bool):
            raise UserError(f"{path}: {section}.{action.dest} must be true or false, not {brief(repr(value))}")
        return [name if value else f"--no-{name[2:]}"]
    if isinstance(value, list):
        if action.nargs is None:
            raise UserError(f"{path}: {section}.{action.dest} takes one value, not a list")
    elif isinstance(value, dict):
        raise UserError(f"{path}: {section}.{action.dest} takes a value, not a section")
    words = [_word(path, section, action, part) for part in (value if isinstance(value, list) else [value])]
    return [name, *words] if action.nargs else [f"{name}={words[0]}"]


def _word(path, section, action, value):
    """A single value of a file as the word that it would be on the command line."""
    text = str(value)
    if not isinstance(value, (str, int, float, date)) or "\0" in text or text != text.encode(errors="ignore").decode():
        raise UserError(f"{path}: {section}.{action.dest}: {brief(repr(value))} is neither text nor a number")
    if action.nargs and isinstance(value, str) and value.startswith("-"):
        raise UserError(f"{path}: {section}.{action.dest}: {brief(repr(value))} would be taken for a flag")
    return text


def override(config, assignments):
    """The config with `section.key=value` strings applied, the values in YAML."""
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        section, dot, name = key.partition(".")
        if not (equals and dot and name):
            raise UserError(f"{brief(assignment)}: overrides are written section.key=value")
        if not value.strip():  # as of $FOLDER, which is not set
            raise UserError(f"{brief(assignment)}: has no value: null stands for the default")
        if section not in SECTIONS:
            raise UserError(
                f"{brief(assignment)}: section {brief(repr(section))} is unknown: sections are {', '.join(SECTIONS)}"
            )
        try:
            config[section] = {**(config.get(section) or {}), name: parse_yaml(value)}
        except ValueError as error:
            raise UserError(
                f"{brief(assignment)}: {brief(repr(value))} is not a YAML value: {str(error).removeprefix('line 1: ')}"
            ) from error
    return config
