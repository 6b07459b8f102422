"""Careless and hostile calls of the driver: one line, at once, and nothing is begun. Most use a Python of a few lines
of shell, which answers as the real one does and says what it is asked to run."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scripts import REPOSITORY, run

STUB = """#!/usr/bin/env bash
case "$*" in
    *tool.requirements*) echo complete ;;
    *tool.stages*) exec python3 -m tool.stages ;;
    -c*nearest*) exec python3 "$@" ;;
    *tool.hint*) exec "$REAL" "$@" ;;
    *tool.lock*) exit "${LOCKED:-0}" ;;
    check_config.py*) echo "checks $2 for $RUN_STAGES" >&2; shift 3; echo "$FOLDER" ;;
    *viz.summary*) shift 2; echo "sums up $*" ;;
    *) echo "$*" >>"$FOLDER.calls"; echo "runs $1 $2 ${RANK:-} ${WORLD_SIZE:-} ${LOCAL_RANK:-}"; exit "${STATUS:-0}" ;;
esac
"""


@pytest.fixture
def drive(tmp_path):
    """drive(words, cwd, variables): the finished driver, whose stages do nothing."""
    stub = tmp_path / "python"
    stub.write_text(STUB)
    stub.chmod(0o755)

    def drive(*words, cwd=REPOSITORY, **variables):
        unset = {"RANK", "WORLD_SIZE", "GPUS", "NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "CDPATH"}
        environment = {key: value for key, value in os.environ.items() if key not in unset}
        environment |= {"PYTHON": str(stub), "FOLDER": str(tmp_path / "run"), "REAL": sys.executable}
        environment |= variables
        return subprocess.run(
            ["bash", str(Path(os.path.relpath(REPOSITORY, cwd)) / "run_pipeline.sh"), *words],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return drive


def refused(done, message):
    assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ") and message in done.stderr


@pytest.mark.parametrize(
    "words, message",
    [
        (["--from", "report", "--to", "dataset"], "--from report comes after --to dataset"),
        (["--from=report", "--to=dataset"], "--from report comes after --to dataset"),
        (["--from="], "stage '' is unknown"),
        (["--from", ""], "stage '' is unknown"),
        (["--to=cam"], "stage 'cam' is unknown: stages are"),
        (["--from", "make_cams"], "stage 'make_cams' is unknown: did you mean make_cam?: stages are dataset"),
        (["--from", "--to", "report"], "stage '--to' is unknown"),
        (["--from", "dataset make_cam"], "is unknown"),
        ([""], "an argument is empty"),
        (["configs/demo.yaml", ""], "an argument is empty"),
        (["configs/demo.yaml", "configs/own_data.yaml"], "cannot both be the config"),
        (["configs/demo.yaml", "make_cam.scales=[1,", "2]"], "quote values that hold spaces"),
        (["configs/demo.yaml", "common.seed", "=", "1"], "cannot both be the config"),
        (["--from", "nonsense"], "'nonsense' is unknown: stages are dataset train_aesipe"),
        (["--form", "make_cam"], "--form is unknown: did you mean --from?: see --help"),
        (["--from"], "--from needs a stage"),
        (["--gpus=2"], "--gpus=2 is unknown"),
        (["--dataset_root", "x"], "error: --dataset_root is a setting: write common.dataset_root=VALUE"),
        (["--skip_bad"], "error: --skip_bad is a setting: write common.skip_bad=true"),
        (["--overwrite"], "error: --overwrite is a setting of the stage dataset: write dataset.overwrite=true"),
        (["--lr=0.1"], "of the stages train_aesipe, train_irn, deeplab_train: write STAGE.lr=VALUE"),
        (
            ["--image", "x"],
            "--image is unknown: flags belong to the stages' scripts: write a config as its path alone, and a "
            "setting as section.key=value, such as common.dataset_root=VALUE: see --help",
        ),
        (["--config", "x"], "--config is unknown: flags belong to the stages' scripts: write a config as its path"),
        (["--common.seed=1"], "is unknown"),
        (["-"], "- is unknown"),
        (["--"], "-- is unknown"),
        (["configs/none.yaml", "--to", "dataset"], "configs/none.yaml: cannot be read"),
        (["configs/dmo.yaml"], f" in {REPOSITORY}: did you mean configs/demo.yaml?"),
        (["own_small.yaml"], f" in {REPOSITORY}: did you mean configs/own_small.yaml?"),
        (["none.yaml"], "none.yaml: cannot be read: there is no such file in "),
        (["none/a=b.yaml"], "none/a=b.yaml: cannot be read"),
        (["/dev/null/x"], "/dev/null/x: cannot be read"),
    ],
)
def test_words_that_mean_nothing_are_refused(drive, words, message):
    refused(drive(*words), message)


@pytest.mark.parametrize(
    "variables, message",
    [
        *(
            ({"GPUS": text}, f"GPUS={text} must be a whole number from 1")
            for text in (
                "0",
                "abc",
                "-1",
                "1.5",
                "010",
                " 2",
                "2 ",
                "0x2",
                "99999999999999999999",
                "1025",
                "GPUS",
                "a[$(touch x)]",
            )
        ),
        ({"NNODES": "two"}, "NNODES=two must be"),
        ({"NNODES": "0"}, "NNODES=0 must be"),
        ({"NNODES": "2"}, "NNODES=2 needs NODE_RANK"),
        ({"NNODES": "2", "NODE_RANK": "0"}, "NNODES=2 needs MASTER_ADDR"),
        ({"NNODES": "2", "NODE_RANK": "2", "MASTER_ADDR": "a"}, "NODE_RANK=2 must be a whole number from 0 to 1"),
        ({"NNODES": "2", "NODE_RANK": "-1", "MASTER_ADDR": "a"}, "NODE_RANK=-1 must be"),
        ({"NNODES": "2", "NODE_RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "x"}, "MASTER_PORT=x must be"),
        ({"MASTER_PORT": "65536"}, "MASTER_PORT=65536 must be"),
        ({"NODE_RANK": "1"}, "NODE_RANK=1 must be"),
        ({"TMPDIR": "/none"}, "/none: no file can be made there"),
        ({"TMPDIR": "/dev/null"}, "/dev/null: no file can"),
        ({"PYTHON": "no-such-python"}, "PYTHON=no-such-python is no Python"),
        ({"PYTHON": "/"}, "PYTHON=/ is no Python"),
        ({"PYTHON": "true"}, "PYTHON=true is no Python"),
        ({"PYTHON": "echo"}, "PYTHON=echo is no Python"),
        ({"PYTHON": f"{sys.executable} -u"}, "-u is no Python"),
        ({"PYTHON": "cat"}, "PYTHON=cat is no Python"),
    ],
)
def test_variables_that_make_no_sense_are_refused_before_anything_starts(drive, variables, message):
    began = time.monotonic()
    refused(drive("configs/demo.yaml", **variables), message)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "prepare, message",
    [
        (lambda run: run.write_text(""), "cannot be made (File exists)"),
        (lambda run: run.symlink_to(run), "cannot be made"),
        (lambda run: run.symlink_to("/dev/null"), "cannot be made"),
        (lambda run: (run / ".lock").mkdir(parents=True), ".lock: is no file"),
        (lambda run: (run.mkdir(), os.mkfifo(run / ".lock")), ".lock: is no file"),
        (lambda run: (run.mkdir(), (run / ".lock").symlink_to(run / "none/lock")), ".lock: cannot be written"),
    ],
)
def test_run_folders_that_cannot_be_used_are_refused(drive, tmp_path, prepare, message):
    prepare(tmp_path / "run")
    done = drive("configs/demo.yaml")
    assert done.stderr.startswith("checks ")
    done.stderr = done.stderr.partition("\n")[2]
    refused(done, message)


def test_a_run_that_another_driver_holds_is_left_alone(drive, tmp_path):
    done = drive("configs/demo.yaml", LOCKED="2")
    assert done.returncode == 2 and done.stdout == "" and not (tmp_path / "run.calls").exists()


def test_the_driver_says_where_it_is(drive):
    done = drive("configs/demo.yaml")
    stages = [line for line in done.stdout.splitlines() if line.startswith("== ")]
    assert (
        len(stages) == 11
        and stages[0] == "== 1/11 dataset (0 min so far)"
        and stages[-1].startswith("== 11/11 report ")
    )
    assert done.returncode == 0 and "setup:" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("sums up /")
    assert re.search(r" dataset=\d+ train_aesipe make_cam ", done.stdout.splitlines()[-1])  # with its seconds


def test_the_driver_sums_up_what_it_came_to_and_names_the_line_that_goes_on(drive, tmp_path):
    done = drive("configs/demo.yaml", "--from", "make_cam", "--to=eval_cam", "common.session_name=a b", GPUS="2")
    *_, summary, line = done.stdout.splitlines()
    assert summary == f"sums up {tmp_path}/run dataset train_aesipe make_cam eval_cam" and done.returncode == 0
    assert line.startswith("next: GPUS=2 bash ") and line.endswith(
        r"run_pipeline.sh configs/demo.yaml --from make_ir_labels common.session_name=a\ b "
    )
    (tmp_path / "run.calls").unlink()
    done = drive("configs/demo.yaml", NNODES="2", NODE_RANK="1", MASTER_ADDR="a")
    assert done.returncode == 0 and "sums up" not in done.stdout  # the first machine does
    calls = (tmp_path / "run.calls").read_text().splitlines()
    several = [call for call in calls if "--nnodes=2 --node_rank=1" in call]
    assert several == calls  # what one process does, the first machine does alone
    assert several and all("--rdzv_conf=timeout=604800 " in call for call in several)  # torchrun's own is 15 minutes


def test_the_python_that_is_given_is_used(tmp_path):
    """Else every run installs the requirements anew, or fails where there is no network."""

    def check(path):
        done = run(sys.executable, "-m", "tool.requirements", path)
        assert done.stderr == ""
        return done.returncode

    assert check("requirements.txt") == 0 and check("requirements-test.txt") == 0
    (tmp_path / "a.txt").write_text("no-such-package-at-all>=1\n")
    (tmp_path / "b.txt").write_text("torch>=1  # or newer\n-r a.txt\n")
    (tmp_path / "c.txt").write_text("torch<1\n")
    assert [check(tmp_path / name) for name in ("a.txt", "b.txt", "c.txt")] == [1, 1, 1]


def test_a_config_is_looked_for_where_the_user_stands_then_in_the_repository(drive, tmp_path):
    (tmp_path / "mine.yaml").write_text("")
    for word, found in (
        ("mine.yaml", f"{tmp_path}/mine.yaml"),
        ("configs/demo.yaml", "configs/demo.yaml"),
        (str(tmp_path / "mine.yaml"), f"{tmp_path}/mine.yaml"),
    ):
        done = drive(word, "--to=dataset", cwd=tmp_path)
        assert done.returncode == 0 and done.stderr == f"checks {found} for dataset\n"
    refused(drive("other.yaml", cwd=tmp_path), f"other.yaml: cannot be read: there is no such file in {tmp_path} or ")
    (tmp_path / "a=b").mkdir()
    shutil.copy(tmp_path / "mine.yaml", tmp_path / "a=b/a b.yaml")
    done = drive("./a=b/a b.yaml", "--to=dataset", cwd=tmp_path)
    assert done.stderr == f"checks {tmp_path}/./a=b/a b.yaml for dataset\n"


def test_the_python_is_looked_for_where_the_user_stands(drive, tmp_path):
    assert drive("--to=dataset", cwd=tmp_path, PYTHON="./python").returncode == 0


def test_cdpath_does_not_lead_the_driver_astray(drive, tmp_path):
    """Found: `cd` prints where it goes, and goes to another folder of the same name."""
    (tmp_path / "other" / REPOSITORY.name).mkdir(parents=True)
    done = drive("--to=dataset", cwd=REPOSITORY.parent, CDPATH=str(tmp_path / "other"))
    assert done.returncode == 0 and done.stdout.startswith("== 1/11 dataset")


def test_a_stage_does_not_wait_for_processes_of_which_the_environment_speaks(drive):
    """Found: RANK and WORLD_SIZE, left by a cluster, let the first training stage wait for an hour."""
    done = drive("--to=dataset", RANK="0", WORLD_SIZE="2", LOCAL_RANK="1")
    assert done.returncode == 0 and "runs prepare_dataset.py --config   \n" in done.stdout


def test_the_way_to_go_on_holds_all_that_was_given(drive, tmp_path):
    """Found: without --to and GPUS the next call ran other stages, and on one process."""
    done = drive(
        "configs/demo.yaml", "--from=make_cam", "--to", "train_irn", "report.figure=[a b]", GPUS="2", STATUS="3"
    )
    line = done.stderr.splitlines()[-1]
    assert (
        done.returncode == 3
        and "checks configs/demo.yaml for make_cam eval_cam make_ir_labels train_irn" in done.stderr
    )
    assert line.startswith("stage make_cam failed: fix it and continue with: GPUS=2 bash ")
    assert r"run_pipeline.sh configs/demo.yaml --from make_cam --to train_irn report.figure=\[a\ b\]" in line


@pytest.mark.parametrize("script", ["run_pipeline.sh", "run_tests.sh"])
def test_another_shell_is_told_so_and_the_scripts_can_be_executed(script):
    assert os.access(REPOSITORY / script, os.X_OK)
    if shutil.which("dash"):
        done = run("dash", script, "a", "b")
        refused(done, f"error: {script} needs bash: bash {script} a b\n")


def test_the_later_of_two_stages_counts_and_help_says_so(drive):
    done = drive("configs/demo.yaml", "--from", "report", "--to=report", "--from=eval_seg", "--to", "eval_seg")
    assert done.returncode == 0 and "checks configs/demo.yaml for eval_seg\n" in done.stderr
    usage = drive("--help", cwd="/").stdout
    assert "--from STAGE" in usage and "train_aesipe make_cam" in usage and "the later one counts" in usage
    assert "start at the\nrepository" in usage and "set -e" not in usage


def test_a_config_that_is_wrong_is_refused_with_the_real_python(drive):
    words = ("configs/demo.yaml", "--to", "dataset", "commen.seed=1")
    refused(drive(*words, PYTHON=sys.executable), "section 'commen' is unknown")


def test_a_folder_that_python_must_not_import_from_does_not_lead_to_an_installation(drive, tmp_path):
    """Found: with PYTHONSAFEPATH set, every interpreter seemed to lack the requirements."""
    (tmp_path / "safe").mkdir()
    done = drive("configs/demo.yaml", "--to=dataset", PYTHON=sys.executable, PYTHONSAFEPATH="1", TMPDIR="/none")
    refused(done, "/none: no file can be made there")


@pytest.mark.parametrize("command", [["tool.requirements", "requirements.txt"], ["tool.lock", "9", "{lock}"]])
def test_what_every_start_runs_imports_nothing_large(tmp_path, command):
    command = [word.format(lock=tmp_path / ".lock") for word in command]
    done = subprocess.run(
        [
            "bash",
            "-c",
            'exec 9<>"$0"; exec "$@"',
            tmp_path / ".lock",
            sys.executable,
            "-X",
            "importtime",
            "-m",
            *command,
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0 and "pathlib" in imported
    assert not {name for name in imported if name.split(".")[0] in ("torch", "numpy", "yaml", "pip", "PIL")}


def test_a_driver_that_changes_while_it_runs_ends_as_it_began(tmp_path):
    for name in ("tool", "configs", "errors.py", "conventions.py"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    shutil.copy(REPOSITORY / "run_pipeline.sh", tmp_path)
    stub = tmp_path / "python"
    stub.write_text(STUB.replace('echo "runs', 'echo "& (" | cat - "$0" >run_pipeline.sh; echo "runs'))
    stub.chmod(0o755)
    environment = os.environ | {"PYTHON": str(stub), "FOLDER": str(tmp_path / "run")}
    words = ["bash", str(tmp_path / "run_pipeline.sh"), "configs/demo.yaml", "--to", "make_cam"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (tmp_path / "run_pipeline.sh").read_text().startswith("& (")
    assert done.returncode == 0 and "sums up" in done.stdout and "next: " in done.stdout, done.stderr
