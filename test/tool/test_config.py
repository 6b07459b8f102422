import argparse
import importlib
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from errors import UserError
from tool.config import (COMMON, SECTIONS, make_parser, natural, override, parse, positive, rate, read_config, settings,
                         used_settings)

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
MODULES = {"dataset": "prepare_dataset", "deeplab_train": "deeplab.train", "deeplab_test": "deeplab.test"}


def parser_of(section):
    return importlib.import_module(MODULES.get(section, section)).get_parser()


@pytest.fixture
def parser():
    parser = make_parser("a stage")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--backbone", default="resnet101", choices=("resnet101", "resnet18"))
    parser.add_argument("--lr", type=rate, default=0.01)
    parser.add_argument("--epochs", type=positive, default=5)
    parser.add_argument("--scales", type=rate, nargs="+", default=(1.0, 0.5))
    parser.add_argument("--ae", action=argparse.BooleanOptionalAction, default=True)
    return parser


@pytest.fixture
def write(tmp_path):
    def write(config):
        path = tmp_path / "config.yaml"
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
        return ["--config", str(path)]

    return write


def run_script(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=REPOSITORY, capture_output=True, text=True)


def test_flags_over_section_over_common_over_defaults(parser, write):
    config = {"common": {"backbone": "resnet18", "weights": "a", "session_name": "one"},
              "report": {"weights": "b", "session_name": "two", "lr": 0.5}}
    args = parse(parser, "report", [*write(config), "--session_name", "three"])
    assert (args.epochs, args.backbone, args.weights, args.session_name, args.lr) == (5, "resnet18", "b", "three", 0.5)
    assert args.run == Path("runs/three")


def test_other_sections_are_not_read(parser, write):
    args = parse(parser, "report", write({"train_aesipe": {"lr": 7, "something": "else"}, "report": None}))
    assert args.lr == 0.01


def test_common_keys_that_a_script_lacks_are_passed_over(parser, write):
    args = parse(parser, "report", write({"common": {"batch_norm": "train", "weights": "none"}}))
    assert args.weights == "none" and not hasattr(args, "batch_norm")


@pytest.mark.parametrize("config, message", [
    ({"report": {"learning_rate": 1}}, r"config\.yaml: report\.learning_rate is unknown: .*\blr\b"),
    ({"report": {"config": "x"}}, r"report\.config is unknown"),
    ({"reports": {"lr": 1}}, r"section 'reports' is unknown: .*\breport\b"),
    ({"common": {"lr": 1}}, r"common\.lr is unknown"),
    ({"report": [1]}, r"section report must hold keys and values"),
    ({"report": {"ae": "false"}}, r"report\.ae must be true or false, not 'false'"),
    ({"report": {"ae": 0}}, r"report\.ae must be true or false"),
    ({"report": {"lr": [1, 2]}}, r"report\.lr takes one value, not a list"),
    ({"report": {"lr": {"a": 1}}}, r"report\.lr takes a value, not a section"),
    ("report: [", "is not valid YAML"),
    ("- report", "must hold sections"),
])
def test_what_is_wrong_in_the_file_is_named(parser, write, config, message):
    with pytest.raises(UserError, match=message) as error:
        parse(parser, "report", write(config))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key, value", [("lr", "fast"), ("lr", -1), ("lr", float("inf")), ("epochs", 0),
                                        ("epochs", 2.5), ("epochs", True), ("scales", [1, "x"]), ("scales", []),
                                        ("backbone", "vgg"), ("num_workers", -1)])
def test_values_of_another_type_are_refused(parser, write, key, value):
    with pytest.raises(UserError, match=f"section report: argument --{key}: "):
        parse(parser, "report", write({"report": {key: value}}))


def test_booleans_and_lists(parser, write):
    path = write("report:\n  ae: false\n  scales: [2, 0.25]\n")
    args = parse(parser, "report", path)
    assert args.ae is False and args.scales == [2.0, 0.25]
    args = parse(parser, "report", [*path, "--ae", "--scales", "3"])
    assert args.ae is True and args.scales == [3.0]
    assert parse(parser, "report", [*write({"report": {"ae": True, "scales": 4}}), "--no-ae"]).ae is False


def test_values_that_look_like_flags_or_numbers_stay_text(parser, write):
    args = parse(parser, "report", write("report:\n  session_name: --x\n  run_root: 2024\n  lr: 1e-3\n"))
    assert (args.session_name, args.run_root, args.lr) == ("--x", "2024", 0.001)


def test_null_leaves_the_default(parser, write):
    assert parse(parser, "report", write("report: {lr: null, scales: }\n")).scales == (1.0, 0.5)


def test_run_stands_for_the_runs_folder(parser, write):
    path = write({"common": {"weights": "{run}/ckpt/a.pt", "run_root": "/r", "session_name": "s"}})
    assert parse(parser, "report", path).weights == "/r/s/ckpt/a.pt"
    assert parse(parser, "report", [*path, "--session_name", "t"]).weights == "/r/t/ckpt/a.pt"


def test_flags_are_not_abbreviated(parser):
    with pytest.raises(UserError, match="--epoch"):
        parse(parser, "report", ["--epoch", "3"])
    with pytest.raises(UserError, match="--conf"):
        parse(parser, "report", ["--conf", "missing.yaml"])


def test_used_settings_give_the_call_again(parser, write):
    args = parse(parser, "report", ["--no-ae", "--scales", "0.5", "2", "--lr", "0.125", "--weights", "{run}/a.pt"])
    used = used_settings(args)
    assert "config" not in used and used["num_workers"] == args.num_workers
    again = parse(parser, "report", write({"report": used}))
    assert used_settings(again) == used and again.run == args.run


def test_settings_leave_out_where_a_stage_runs(parser):
    args = parse(parser, "report", ["--run_root", "elsewhere", "--num_workers", "1"])
    assert settings(args, leave_out=("lr",)) == {"weights": "imagenet", "backbone": "resnet101", "epochs": 5,
                                                 "scales": [1.0, 0.5], "ae": True}


@pytest.mark.parametrize("kind, good, bad", [(natural, ["0", "7"], ["-1", "1.5", "x"]), (positive, ["1"], ["0", "-2"]),
                                             (rate, ["0", "1e-3"], ["-0.1", "nan", "inf"])])
def test_kinds_of_numbers(kind, good, bad):
    assert [kind(text) for text in good] == [float(text) for text in good]
    for text in bad:
        with pytest.raises((argparse.ArgumentTypeError, ValueError)):
            kind(text)


@pytest.mark.parametrize("path, section", [(path, section) for path in CONFIGS for section in SECTIONS
                                           if section != "common"], ids=lambda value: getattr(value, "stem", value))
def test_every_setting_of_the_shipped_configs_is_accepted(path, section):
    args = parse(parser_of(section), section, ["--config", str(path)])
    for key, value in (read_config(path).get(section) or {}).items():
        if key != "weights":  # {run} is replaced there
            assert getattr(args, key) == value


def test_common_keys_are_flags_of_some_script():
    flags = {action.dest for section in SECTIONS if section != "common" for action in parser_of(section)._actions}
    assert set(COMMON) <= flags


UNKNOWN = [({"dataset": {"sizes": 1}}, "dataset.sizes is unknown"),
           ({"datasets": {}}, "section 'datasets' is unknown"),
           ({"common": {"size": 1}}, "common.size is unknown")]


@pytest.mark.parametrize("config, message", UNKNOWN)
def test_unknown_settings_end_a_script_with_one_line(write, monkeypatch, capsys, config, message):
    monkeypatch.setattr(sys, "argv", ["prepare_dataset.py", *write(config)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(REPOSITORY / "prepare_dataset.py"), run_name="__main__")
    said = capsys.readouterr()
    assert stop.value.code == 2 and said.out == ""
    assert len(said.err.splitlines()) == 1 and said.err.startswith("error: ") and message in said.err


def test_unknown_settings_end_a_process_with_status_2(write):
    done = run_script("prepare_dataset.py", *write(UNKNOWN[0][0]))
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and UNKNOWN[0][1] in done.stderr


@pytest.mark.parametrize("assignment", ["seed=1", "common.seed", "commen.seed=1", "report.scales=[1", "report.=1"])
def test_overrides_that_cannot_be_placed_are_refused(assignment):
    with pytest.raises(UserError, match=assignment.partition("=")[0]):
        override({"common": {"seed": 1}}, [assignment])
