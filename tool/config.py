"""Settings of a stage: flags of its script over its section of a YAML file over the defaults of its parser.

A config file has one section a stage, whose keys are the flags of the stage's script, and a section `common` for the
flags that several scripts share.
"""

import argparse
import os
import sys
import time
from datetime import date
from pathlib import Path

from errors import OtherProcessFailed, UserError
from tool.failure import explain
from tool.io import brief
from tool.yaml_file import parse_yaml, read_yaml

SECTIONS = ("common", "dataset", "train_aesipe", "make_cam", "eval_cam", "make_ir_labels", "train_irn",
            "make_seg_labels", "eval_seg", "deeplab_train", "deeplab_test", "report", "predict", "export")
COMMON = ("dataset_root", "run_root", "session_name", "backbone", "weights", "num_workers", "seed", "precision",
          "batch_norm", "deterministic", "compile", "skip_bad")

MAX_INT = 2**32 - 1  # the largest seed that every generator takes


class Parser(argparse.ArgumentParser):
    """Wrong flags and values are bad input like any other: one line, not a page of usage."""

    def error(self, message):
        raise UserError(f"{message} (see --help)")


def make_parser(description):
    """A parser with the flags that every script has."""
    parser = Parser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False)
    parser.add_argument("--config", help="YAML file; this script's section and `common` are read")
    parser.add_argument("--dataset_root", default="data/VOC2012", help="dataset in VOC layout (README)")
    parser.add_argument("--run_root", default="runs", help="folder of all runs")
    parser.add_argument("--session_name", default="aesipe", help="the run's folder below run_root")
    parser.add_argument("--num_workers", type=natural, default=default_workers(), help="worker processes")
    return parser


def add_data_flag(parser):
    """The flag of scripts that read the dataset's images (`data.usable.usable_ids`)."""
    parser.add_argument("--skip_bad", action=argparse.BooleanOptionalAction, default=False,
                        help="go on without images that cannot be used, listing them, instead of stopping at once")


def add_run_flags(parser):
    """Flags of scripts that use a finished run, which may have come from another machine without its dataset."""
    parser.add_argument("--run", help="the run's folder, in place of --run_root and --session_name")
    parser.set_defaults(dataset_root=None)  # None: as the run was made


def add_network_flags(parser, trainable=True):
    """Flags of scripts that build a network; of a trainable encoder or one that stays as it is."""
    parser.add_argument("--backbone", default="resnet101", choices=("resnet101", "resnet50", "resnet18",
                                                                    "mobilenet_v2"))
    parser.add_argument("--weights", default="imagenet",
                        help="imagenet (downloaded), none, or a file; {run} stands for the run's folder")
    if trainable:
        parser.add_argument("--frozen_stages", type=natural, default=2, choices=range(5),
                            help="the stem and as many stages get no gradient; 0 trains all")
        parser.add_argument("--batch_norm", default="frozen", choices=("frozen", "train"),
                            help="running statistics fixed, or usual batch norm (synchronised over GPUs)")


def add_training_flags(parser, batch_size, crop_size, lr, max_epochs=None):
    """Flags of scripts that train; without max_epochs, a script that counts steps."""
    parser.add_argument("--batch_size", type=positive, default=batch_size, help="over all processes together")
    if max_epochs is not None:
        parser.add_argument("--max_epochs", type=positive, default=max_epochs)
    parser.add_argument("--crop_size", type=positive, default=crop_size, help="pixels")
    parser.add_argument("--lr", type=rate, default=lr, help="learning rate of pre-trained layers, per step")
    parser.add_argument("--momentum", type=rate, default=0.9)
    parser.add_argument("--weight_decay", type=rate, default=1e-4)
    parser.add_argument("--seed", type=natural, default=0)
    add_precision_flag(parser, default="auto")
    parser.add_argument("--deterministic", action=argparse.BooleanOptionalAction, default=False,
                        help="the same bits in every run on the same machine, slower on a GPU")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=False,
                        help="torch.compile the encoder: a minute at the start, faster steps on a GPU")
    parser.add_argument("--save_every", type=positive, default=200, help="steps between saved states")
    parser.add_argument("--resume", default="auto", choices=("auto", "never"),
                        help="auto: go on from this run's newest whole state, and skip what is trained; never: anew")


def add_precision_flag(parser, default="float32"):
    """float32 by default for exports: in 16 bits, and even in TF32, more than 0.1 % of the CAMs' labels change."""
    parser.add_argument("--precision", default=default, choices=("auto", "float32", "tf32", "bfloat16", "float16"),
                        help="of the networks; auto: bfloat16 where the GPU has it, else float16; float32 on the CPU")


def parse(parser, section, argv=None):
    """Read the settings: argv over the YAML section over `common` over the parser's defaults.

    Values of the file pass through the parser's own types and choices. Raises UserError for an unknown key.
    """
    argv = sys.argv[1:] if argv is None else argv
    finder = Parser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    path = finder.parse_known_args(argv)[0].config
    flags = {action.dest: action for action in parser._actions
             if action.option_strings and action.dest not in ("help", "config")}
    file_argv = []
    if path:
        config = read_config(path)
        shared = {key: value for key, value in (config.get("common") or {}).items() if key in flags}
        for key, value in {**shared, **(config.get(section) or {})}.items():
            if key not in flags:
                raise UserError(f"{path}: {section}.{brief(key)} is unknown: keys are {', '.join(sorted(flags))}")
            file_argv += _as_flags(path, section, flags[key], value)
    try:
        args = parser.parse_args(file_argv)  # alone first, so that a bad value is laid to where it stands
    except UserError as error:
        raise UserError(f"{path}: section {section}: {error}") from error
    args = parser.parse_args(argv, args)  # not as one line: a list of the file would take argv's first words
    args.run = Path(getattr(args, "run", None) or Path(args.run_root) / args.session_name)
    if hasattr(args, "weights"):
        args.weights = args.weights.replace("{run}", str(args.run))
    return args


def read_config(path):
    """The YAML file as a dict of sections. Raises UserError if it is no such thing or has an unknown section."""
    config = read_yaml(path)
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise UserError(f"{path}: must hold sections of keys and values, one section a stage")
    for section, values in config.items():
        if section not in SECTIONS:
            raise UserError(f"{path}: section {brief(repr(section))} is unknown: sections are "
                            f"{', '.join(SECTIONS)}")
        if not isinstance(values, (dict, type(None))):
            raise UserError(f"{path}: section {section} must hold keys and values")
        if section == "common":
            unknown = next((key for key in values or {} if key not in COMMON), None)
            if unknown is not None:
                raise UserError(f"{path}: common.{brief(unknown)} is unknown: keys are {', '.join(COMMON)}")
    return config


def used_settings(args):
    """Every flag's value as plain values: as section of a config file they give this call again."""
    return {key: list(value) if isinstance(value, tuple) else value
            for key, value in sorted(vars(args).items()) if key not in ("config", "run", "runs")}


def settings(args, leave_out=()):
    """The settings that decide what a stage computes, as plain values: not where it runs or how it is watched."""
    bookkeeping = {"run_root", "session_name", "dataset_root", "num_workers", "save_every", "resume", "deterministic",
                   "compile", "skip_bad", "val_list", "val_every", "val_images", *leave_out}
    return {key: value for key, value in used_settings(args).items() if key not in bookkeeping}


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


def default_workers():
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def natural(text):
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative: {text}")
    if value > MAX_INT:
        raise argparse.ArgumentTypeError(f"must be at most {MAX_INT}: {brief(text)}")
    return value


def positive(text):
    value = natural(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1: {text}")
    return value


def radius(text):
    value = natural(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"must be at least 2, or there is no pair: {text}")
    return value


def rate(text):
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number from 0 up: {text}")
    return value


def _as_flags(path, section, action, value):
    name = f"--{action.dest}"
    if value is None:
        return []
    if isinstance(action, argparse.BooleanOptionalAction):
        if not isinstance(value, bool):
            raise UserError(f"{path}: {section}.{action.dest} must be true or false, not "
                            f"{brief(repr(value))}")
        return [name if value else f"--no-{action.dest}"]
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
            raise UserError(f"{brief(assignment)}: section {brief(repr(section))} is unknown: sections are "
                            f"{', '.join(SECTIONS)}")
        try:
            config[section] = {**(config.get(section) or {}), name: parse_yaml(value)}
        except ValueError as error:
            raise UserError(f"{brief(assignment)}: {brief(repr(value))} is not a YAML value: "
                            f"{str(error).removeprefix('line 1: ')}") from error
    return config
