import re
import runpy
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import pytest
import yaml

from errors import UserError
from tool import stages
from tool.config import COMMON, SECTIONS, override, parse, read_config
from tool.settings import RANGE, Rates, Settings, plain, setting
from tool.stages import BY_NAME, Stage
from tool.values import Natural, Positive, Rate, Scale, read

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))


@dataclass(frozen=True, kw_only=True)
class Tried(Settings):
    weights: str = setting("imagenet", "")
    backbone: Literal["resnet101", "resnet18"] = setting("resnet101", "")
    lr: Rate = setting(0.01, "")
    epochs: Positive = setting(5, "")
    scales: Rates = setting((1.0, 0.5), "")
    span: tuple[Rate, Rate] = setting((1.0, 2.0), "", metavar=RANGE)
    ae: bool = setting(True, "")


@pytest.fixture(autouse=True)
def report_is_tried(monkeypatch):
    """The section `report` has the settings of `Tried` in tests that do not name another."""
    monkeypatch.setattr("tool.settings.Tried", Tried, raising=False)
    monkeypatch.setitem(BY_NAME, "report", Stage("report", "tried.py", ""))


def parsed(argv):
    return parse("report", argv=argv)


@pytest.fixture
def write(tmp_path):
    def write(config):
        path = tmp_path / "config.yaml"
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
        return ["--config", str(path)]

    return write


def run_script(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=REPOSITORY, capture_output=True, text=True)


def test_flags_over_section_over_common_over_defaults(write):
    config = {
        "common": {"backbone": "resnet18", "weights": "a", "session_name": "one"},
        "report": {"weights": "b", "session_name": "two", "lr": 0.5},
    }
    args = parsed([*write(config), "--session_name", "three"])
    assert (args.epochs, args.backbone, args.weights, args.session_name, args.lr) == (5, "resnet18", "b", "three", 0.5)
    assert args.run.path == Path("runs/three")


def test_other_sections_are_not_read(write):
    args = parsed(write({"train_aesipe": {"lr": 7, "something": "else"}, "report": None}))
    assert args.lr == 0.01


def test_common_keys_that_a_script_lacks_are_passed_over(write):
    args = parsed(write({"common": {"batch_norm": "train", "weights": "none"}}))
    assert args.weights == "none" and not hasattr(args, "batch_norm")


@pytest.mark.parametrize(
    "config, message",
    [
        ({"report": {"learning_rate": 1}}, r"config\.yaml: report\.learning_rate is unknown: .*\blr\b"),
        ({"report": {"config": "x"}}, r"report\.config is unknown"),
        ({"reports": {"lr": 1}}, r"section 'reports' is unknown: .*\breport\b"),
        ({"common": {"lr": 1}}, r"common\.lr is unknown"),
        ({"common": {"num_workers": "x"}}, r"config\.yaml: common\.num_workers must be"),
        ({"common": {"num_workers": "x"}, "report": {"lr": 1}}, r"yaml: common\.num_workers must be"),
        ({"common": {"num_workers": 1}, "report": {"num_workers": "x"}}, r"report\.num_workers must be"),
        ({"report": [1]}, r"section report must hold keys and values"),
        ({"report": {"ae": "false"}}, r"report\.ae must be true or false: false"),
        ({"report": {"ae": 0}}, r"report\.ae must be true or false"),
        ({"report": {"lr": [1, 2]}}, r"report\.lr must be a number from 0 up: \[1, 2\]"),
        ({"report": {"lr": {"a": 1}}}, r"report\.lr must be a number from 0 up"),
        ("report: [", "is not valid YAML"),
        ("- report", "must hold sections"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(write, config, message):
    with pytest.raises(UserError, match=message) as error:
        parsed(write(config))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "key, value",
    [
        ("lr", "fast"),
        ("lr", -1),
        ("lr", float("inf")),
        ("epochs", 0),
        ("epochs", 2.5),
        ("epochs", True),
        ("scales", [1, "x"]),
        ("scales", []),
        ("backbone", "vgg"),
        ("num_workers", -1),
    ],
)
def test_values_of_another_type_are_refused(write, key, value):
    with pytest.raises(UserError, match=f"config.yaml: report.{key} must be "):
        parsed(write({"report": {key: value}}))


def test_a_range_of_one_value_is_answered_with_how_two_are_written(write):
    for value in (320, "wide", [1, 2, 3]):
        with pytest.raises(UserError, match=r"must be 2 values, .*: write \[LOW, HIGH\], such as \[320, 640\]$"):
            parse("train_aesipe", argv=write({"train_aesipe": {"long_side": value}}))
    with pytest.raises(UserError, match=r": write \[1, 2\]$"):
        parse("train_aesipe", argv=write({"train_aesipe": {"long_side": "1 2"}}))


def test_booleans_and_lists(write):
    path = write("report:\n  ae: false\n  scales: [2, 0.25]\n")
    args = parsed(path)
    assert args.ae is False and args.scales == (2.0, 0.25)
    args = parsed([*path, "--ae", "--scales", "3"])
    assert args.ae is True and args.scales == (3.0,)
    assert parsed([*write({"report": {"ae": True, "scales": 4}}), "--no-ae"]).ae is False


def test_values_that_look_like_flags_or_numbers_stay_text(write):
    args = parsed(write("report:\n  session_name: --x\n  run_root: 2024\n  lr: 1e-3\n"))
    assert (args.session_name, args.run_root, args.lr) == ("--x", "2024", 0.001)


def test_text_that_lost_its_form_as_a_number_is_refused(write):
    """Found: a session named 1.10 became the folder 1.1."""
    with pytest.raises(UserError, match="report.session_name must be text: 1.1 was read as a number: put quotes"):
        parsed(write("report:\n  session_name: 1.10\n"))
    assert parsed(write("report:\n  session_name: '1.10'\n")).session_name == "1.10"


@pytest.mark.parametrize("key", ["dataset_root", "run_root"])
def test_a_home_folder_that_no_shell_has_filled_in_is_refused(write, key):
    with pytest.raises(UserError, match=f"{key} ~/x: ~ is no home folder here: write the whole path"):
        parsed(write(f"report: {{{key}: ~/x}}"))


def test_a_list_may_be_given_in_two_flags(write):
    """Found: of two --image the first was passed over without a word."""
    assert parsed([*write("report: {scales: [3]}"), "--scales", "1", "--scales", "2", "0.5"]).scales == (1.0, 2.0, 0.5)


@pytest.mark.parametrize(
    "key, text, listed",
    [
        ("scales", "1.0, 0.5", "1.0, 0.5"),
        ("scales", "1.0 0.5", "1.0, 0.5"),
        ("scales", "[1,0.5]", "1, 0.5"),
        ("span", "1,2", "1, 2"),
    ],
)
def test_a_list_in_quotes_is_told_how_it_is_written(write, key, text, listed):
    with pytest.raises(UserError) as error:
        parsed(write({"report": {key: text}}))
    assert f"report.{key} must be " in str(error.value) and str(error.value).endswith(f"['{text}']: write [{listed}]")


@pytest.mark.parametrize("text", ["1.0, 0.5", "1.0 0.5", "[1.0,0.5]"])
def test_a_list_in_one_word_is_told_that_it_is_several(text):
    with pytest.raises(UserError) as error:
        parsed(["--scales", text])
    assert str(error.value).endswith(f"{text}: write 1.0 0.5 (see --help)")


def test_null_leaves_the_default(write):
    assert parsed(write("report: {lr: null, scales: }\n")).scales == (1.0, 0.5)


def test_run_stands_for_the_runs_folder(write):
    path = write({"common": {"weights": "{run}/ckpt/a.pt", "run_root": "/r", "session_name": "s"}})
    kept = parse("train_irn", argv=path)
    assert (kept.weights, kept.initial_weights) == ("{run}/ckpt/a.pt", "/r/s/ckpt/a.pt")
    assert parse("train_irn", argv=[*path, "--session_name", "t"]).weights_file == Path("/r/t/ckpt/a.pt")
    assert parse("train_irn", argv=[*path, "--weights", "none"]).weights_file is None


def test_flags_are_not_abbreviated():
    with pytest.raises(UserError, match="--epoch"):
        parsed(["--epoch", "3"])
    with pytest.raises(UserError, match="--conf"):
        parsed(["--conf", "missing.yaml"])


@pytest.mark.parametrize("words", [["--ae", "false"], ["--lr", "1", "--no-ae", "false", "--scales", "1"]])
def test_a_switch_with_a_value_is_told_how_it_is_written(words, monkeypatch):
    with pytest.raises(UserError, match=r"^--(no-)?ae false: takes no value: write --ae or --no-ae$"):
        parsed(words)
    monkeypatch.setattr(sys, "argv", ["report.py", *words])
    with pytest.raises(UserError, match="write --ae or --no-ae$"):
        parsed(None)


def test_plain_settings_give_the_call_again(write):
    settings = parsed(["--no-ae", "--scales", "0.5", "2", "--lr", "0.125", "--weights", "{run}/a.pt"])
    used = plain(settings)
    assert "config" not in used and used["num_workers"] == settings.num_workers
    assert parsed(write({"report": used})) == settings


@pytest.mark.parametrize(
    "kind, good, bad",
    [
        (Natural, ["0", "7"], ["-1", "1.5", "x", str(2**32)]),
        (Positive, ["1"], ["0", "-2"]),
        (Rate, ["0", "1e-3"], ["-0.1", "nan", "inf", "x"]),
        (Scale, ["8", "1e-9"], ["0", "8.1", "nan"]),
    ],
)
def test_kinds_of_numbers(kind, good, bad):
    assert [read(kind, text) for text in good] == [float(text) for text in good]
    for text in bad:
        with pytest.raises(ValueError, match=re.escape(text)):
            read(kind, text)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_setting_of_the_shipped_configs_is_accepted(path, monkeypatch):
    monkeypatch.undo()
    for section in (name for name in SECTIONS if name != "common"):
        settings = parse(section, argv=["--config", str(path)])
        for key, value in (read_config(path).get(section) or {}).items():
            assert plain(settings)[key] == value


@pytest.mark.parametrize(
    ("best", "base", "changed"),
    [
        ("voc12_resnet101_best", "voc12_resnet101", {"train_irn": {"displacement"}}),
        (
            "photos_best",
            "photos_mobilenet_v2",
            {
                "train_aesipe": {"long_side", "lr", "lr_new", "max_epochs"},
                "make_cam": {"scales"},
                "deeplab_train": {"lr", "max_iters"},
            },
        ),
    ],
)
def test_a_recipe_differs_from_the_papers_settings_where_it_says_so(best, base, changed, monkeypatch):
    monkeypatch.undo()
    for stage in stages.STAGES:
        ours, papers = (
            plain(parse(stage.name, argv=["--config", str(REPOSITORY / "configs" / f"{name}.yaml")]))
            for name in (best, base)
        )
        differing = {key for key in ours if ours[key] != papers[key]} - {"session_name"}
        assert differing == changed.get(stage.name, set()), stage.name


def test_common_keys_are_settings_of_some_stage():
    assert set(COMMON) <= {item.name for stage in (*stages.STAGES, *stages.TOOLS) for item in fields(stage.settings)}


def test_no_help_text_swallows_what_the_setting_says_of_itself():
    items = [item for stage in (*stages.STAGES, *stages.TOOLS) for item in fields(stage.settings)]
    assert not [item.name for item in items if re.search(r"\b(decides|metavar|flags)=", item.metadata["help"])]
    for item in items:
        if item.metadata["flags"] == ():  # is called by its metavar, and `plain`, so any record, lacks it
            assert item.metadata["metavar"] and not item.metadata["decides"], item.name


UNKNOWN = [
    ({"dataset": {"sizes": 1}}, "dataset.sizes is unknown"),
    ({"datasets": {}}, "section 'datasets' is unknown"),
    ({"common": {"size": 1}}, "common.size is unknown"),
]


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
