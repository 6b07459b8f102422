"""Settings of a stage: flags of its script over its section of a YAML file over the defaults of `tool.settings`.

A config file has one section a stage, whose keys are the flags of the stage's script, and a section `common` for the
flags that several scripts share.
"""

import argparse
import os
import sys
import time
from dataclasses import fields
from itertools import pairwise

import packages  # noqa: F401 - before what needs them
from conventions import VERSION
from errors import OtherProcessFailed, UserError, nearest, nearest_config
from tool.failure import explain
from tool.flags import add_flags
from tool.settings import RANGE, types
from tool.signals import handle_on_own_stack
from tool.stages import BY_NAME
from tool.values import brief, read
from tool.yaml_file import parse_yaml, read_yaml

SECTIONS = ("common", *BY_NAME)
COMMON = (
    "dataset_root",
    "dataset_format",
    "run_root",
    "session_name",
    "backbone",
    "weights",
    "num_workers",
    "device",
    "seed",
    "precision",
    "batch_norm",
    "deterministic",
    "compile",
    "skip_bad",
    "tracker",
    "refine",
)
# What others call a setting, where the name that is most like it is another one or none.
USUAL = {"list": "train_list", "learning_rate": "lr"}


class Parser(argparse.ArgumentParser):
    """Wrong flags and values are bad input like any other: one line, not a page of usage."""

    def __init__(self, **more):
        super().__init__(allow_abbrev=False, **more)
        self.add_argument("--version", action="version", version=f"AE-SIPE {VERSION}")

    def parse_args(self, args=None, namespace=None):
        words = sys.argv[1:] if args is None else args
        found, unknown = self.parse_known_args(words, namespace)
        if unknown:
            for flag, value in pairwise(words):
                action = self._option_string_actions.get(flag)
                if value == unknown[0] and value[:1] != "-" and isinstance(action, argparse.BooleanOptionalAction):
                    raise UserError(f"{flag} {value}: takes no value: write {' or '.join(action.option_strings)}")
            flags = [flag for action in self._actions for flag in action.option_strings]
            first = unknown[0].partition("=")[0]
            raise UserError(f"unrecognized arguments: {' '.join(unknown)}{_meant(first, flags)} (see --help)")
        return found

    def error(self, message):
        raise UserError(f"{message} (see --help)")


def parse(section, description=None, argv=None):
    """The settings of a stage, of the class that `tool.stages` names: argv over the YAML section over `common` over
    the defaults.

    description: for --help. Raises UserError for an unknown key and for a value out of its range.
    """
    kind = BY_NAME[section].settings
    parser = Parser(description=description)
    parser.add_argument("--config", help="YAML file; this script's section and `common` are read")
    add_flags(parser, section)
    given = vars(parser.parse_args(argv))
    path = given.pop("config")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    settings = kind(**{**(_file_values(path, section, kind) if path else {}), **given})
    if problem := settings.problem():
        raise UserError(f"{path}: section {section}: {problem}" if path else problem)
    return settings


def _file_values(path, section, kind):
    """{name: value} of what the config file says of a stage; null stands for the default."""
    names, config = _keys(kind), read_config(path)
    shared = {key: value for key, value in (config.get("common") or {}).items() if key in names}
    own, values = config.get(section) or {}, {}
    for key, value in {**shared, **own}.items():
        _check_known(f"{path}: {section}.{brief(key)}", key, sorted(names))
        if value is not None:
            try:
                values[names[key]] = read(types(kind)[names[key]], value)
            except ValueError as error:
                item, said = kind.__dataclass_fields__[names[key]], str(error)
                if item.metadata["metavar"] == RANGE and ": write [" not in said:
                    said += f": write [{', '.join(RANGE)}], such as {list(item.default)}"
                raise UserError(f"{path}: {section if key in own else 'common'}.{key} {said}") from error
    return values


def _keys(kind):
    """{key of a config's section: its setting}, by the first of their names: a flag may be called otherwise."""
    return {
        (item.metadata["flags"] or (item.name,))[0].lstrip("-"): item.name
        for item in fields(kind)
        if item.metadata["in_config"]
    }


def _places(key):
    """Where a config has a key, in words: `: common has it`; empty if nowhere."""
    sections = ["common"] if key in COMMON else [name for name in BY_NAME if key in _keys(BY_NAME[name].settings)]
    return f": {', '.join(sections)} {'has' if len(sections) == 1 else 'have'} it" if sections else ""


def read_config(path):
    """The YAML file as a dict of sections. Raises UserError if it is no such thing or has an unknown section."""
    if not os.path.exists(path):
        raise UserError(f"{path}: cannot be read: there is no such file{nearest_config(path)}")
    config = read_yaml(path)
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise UserError(f"{path}: must hold sections of keys and values, one section a stage")
    for section, values in config.items():
        _check_known(f"{path}: section {brief(repr(section))}", section, SECTIONS, "sections")
        if not isinstance(values, (dict, type(None))):
            raise UserError(f"{path}: section {section} must hold keys and values")
        if section == "common":
            for key in values or ():
                _check_known(f"{path}: common.{brief(key)}", key, COMMON)
    return config


def _meant(name, known):
    """As `errors.nearest`, but first what the name is usually called. known: keys, or flags with their dashes."""
    usual = USUAL.get(str(name).lstrip("-"))
    found = next((each for each in known if str(each).lstrip("-") == usual), None)
    return f": did you mean {found}?" if found else nearest(name, known)


def _check_known(what, name, known, all_of_them="keys"):
    if name not in known:
        hint = (known is COMMON and _places(name)) or _meant(name, known) or _places(name)
        raise UserError(f"{what} is unknown{hint}: {all_of_them} are {', '.join(known)}")


def override(config, assignments):
    """The config with `section.key=value` strings applied, the values in YAML."""
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        section, dot, name = key.partition(".")
        if not (equals and dot and name):
            hint = "" if dot else _places(key)
            raise UserError(f"{brief(assignment)}: overrides are written section.key=value{hint}")
        if not value.strip():  # as of $FOLDER, which is not set
            raise UserError(f"{brief(assignment)}: has no value: null stands for the default")
        _check_known(f"{brief(assignment)}: section {brief(repr(section))}", section, SECTIONS, "sections")
        try:
            config[section] = {**(config.get(section) or {}), name: parse_yaml(value)}
        except ValueError as error:
            raise UserError(
                f"{brief(assignment)}: {brief(repr(value))} is not a YAML value: {str(error).removeprefix('line 1: ')}"
            ) from error
    return config


def run_main(main):
    """Run a script's main: bad input ends with one line and status 2, as does what the machine or another process
    makes impossible (`tool.failure.explain`); Ctrl-C with status 130."""
    handle_on_own_stack()
    try:
        main()
    except BrokenPipeError:  # who reads our output has enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
    except (UserError, RuntimeError, MemoryError, OSError) as error:
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
        print("stopped; what is finished stays, run it again to continue", file=sys.stderr)
        sys.exit(130)
