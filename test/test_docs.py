"""The commands of README.md, CONTRIBUTING.md and docs/, taken from their text: a fenced `bash` block is run line by
line in a copy of the project, or, under a comment <!-- not run: reason -->, parsed by the scripts that it names."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import HEAVY, REPOSITORY, SMALL, in_turn
from test_own_data import CLASSES, IMAGES, save_image

from data.layout import Layout
from reproduce import parse_arguments
from tool.config import COMMON, SECTIONS
from tool.settings import types
from tool.stages import BY_NAME, STAGES

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("docs/*.md")),
)
BLOCK = re.compile(r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```bash\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPTS = sorted({stage.script for stage in BY_NAME.values()} | {"check_config.py", "reproduce.py"})
# What is added to a command so that it ends in a minute; all else of it is as it is printed.
ADDED = {
    "bash run_pipeline.sh configs/demo.yaml": SMALL,
    "bash run_tests.sh": ("--version",),
    "bash run_pipeline.sh configs/own_data.yaml": ("common.num_workers=0",),
    "python deeplab/test.py": ("--num_workers", "0"),
}


def blocks(document):
    """[(reason or None, its commands without comments)]."""
    found = []
    for block in BLOCK.finditer((REPOSITORY / document).read_text()):
        lines = block["text"].replace("\\\n", " ").splitlines()
        commands = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
        found.append((block["reason"], [command for command in commands if command]))
    return found


def all_commands(run):
    return [
        (document, command)
        for document in DOCUMENTS
        for reason, commands in blocks(document)
        if (reason is None) == run and "test_extending" not in (reason or "")  # which runs its own
        for command in commands
    ]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("docs") / "project")


def make_project(root):
    """A copy of the project as a new user has it, and the files of that user."""
    for name in subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True).stdout.split(
        "\0"
    ):
        if name and not name.startswith("test/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, root / name)
    for name in CLASSES:
        (root / "data/own/images_by_class" / name).mkdir(parents=True)
    for seed, (name, folder, size, kind) in enumerate(IMAGES):
        save_image(root / "data/own/images_by_class" / folder / name, size, kind, seed)
    (root / "holiday").mkdir()
    save_image(root / "a.jpg", (60, 80), "RGB", 0)
    save_image(root / "holiday/b.jpg", (80, 60), "RGB", 1)
    (root / "data/own/lists").mkdir()  # of images without labels; without others the dataset stage writes none
    return root


def shell(project, command):
    start = next((start for start in ADDED if command.startswith(start)), None)
    command += "".join(f" {shlex.quote(word)}" for word in ADDED.get(start, ()))
    bin_folder = project / "bin"  # where `python` is this test's
    bin_folder.mkdir(exist_ok=True)
    if not (bin_folder / "python").exists():
        (bin_folder / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        (bin_folder / "python").chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "GPUS", "NNODES")}
    environment = kept | {
        "PATH": f"{bin_folder}:{kept['PATH']}",
        "PYTHON": sys.executable,
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=project,
        env=environment,
        timeout=900,
        capture_output=True,
        text=True,
    )


def lines_of(command):
    """What a command runs, as lines of words that follow `python`."""
    words = [*shlex.split(command), *next((ADDED[start] for start in ADDED if command.startswith(start)), ())]
    if words[:2] != ["bash", "run_pipeline.sh"]:
        assert words[0] == "python"
        return [words[1:]]
    return [
        ["check_config.py", words[2], "settings.yaml", *words[3:]],
        *([stage.script, "--config", "settings.yaml"] for stage in STAGES),
    ]


def commands_to_run(document):
    return [command for reason, commands in blocks(document) if reason is None for command in commands]


# In this order, since the later ones use what the earlier ones made.
RUN_HERE = ("README.md", "docs/quickstart.md", "docs/using.md", "docs/stages.md", "docs/own_data.md")
RUN_ELSEWHERE = {"docs/gpu.md", "CONTRIBUTING.md"}  # by test/bench/test_gpu_page.py and test_project.py
MADE = (
    "runs/demo/report/index.html",
    "runs/demo/predict/a_deeplab.png",
    "runs/demo/predict/b_deeplab.png",
    "runs/demo/predict/a_ae_is_cam.png",
    "runs/demo/eval/deeplab_train.json",
    "pseudo/VOCdevkit/VOC2012",
    "runs/trial/report/index.html",
    "runs/trial/deeplab/new/new.png",
    "out.tgz",
)
GRAPH = "python export.py --run runs/demo --what aesipe --out aesipe.pt2"  # a minute; test_export.py has smaller ones


def commands_in_turn():
    """Those of RUN_HERE, each once: up to the demo, from the trial on the user's images, and from where the user has
    added an image and a list of it."""
    commands = list(dict.fromkeys(each for document in RUN_HERE for each in commands_to_run(document)))
    trial, new = (
        next(index for index, command in enumerate(commands) if words in command)
        for words in ("run_pipeline.sh configs/own_data.yaml", "--list new")
    )
    return commands[:trial], commands[trial:new], commands[new:]


def add_an_image(project):
    (project / "data/own/lists/new.txt").write_text("new\n")
    shutil.copy(project / "a.jpg", project / "data/own/JPEGImages/new.jpg")


def test_the_commands_do_what_they_say(project):
    """In one process each part: every start of PyTorch takes seconds."""
    demo, trial, new = commands_in_turn()
    for commands in (demo, trial, new):
        if commands is new:
            add_an_image(project)
        lines = [line for each in commands if each not in (GRAPH, "bash run_tests.sh") for line in lines_of(each)]
        done = in_turn(lines, folder=project)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert [name for name in MADE if not (project / name).exists()] == []
    assert "new" not in Layout(project / "data/own").ids("train")
    done = shell(project, "bash run_tests.sh")
    assert done.returncode == 0 and "pytest" in done.stdout, done.stderr


@pytest.mark.slow
def test_the_commands_do_what_they_say_as_a_user_calls_them(tmp_path):
    project, (demo, trial, new) = make_project(tmp_path / "project"), commands_in_turn()
    assert GRAPH in trial
    for commands in (demo, trial, new):
        if commands is new:
            add_an_image(project)
        for command in commands:
            done = shell(project, command)
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            assert "Traceback" not in done.stderr
    assert [name for name in (*MADE, "aesipe.pt2") if not (project / name).exists()] == []


def test_no_other_document_has_commands_to_run():
    assert {document for document in DOCUMENTS if commands_to_run(document)} == {*RUN_HERE} | RUN_ELSEWHERE


def of_a_script(words):
    """The words of a command without `srun bash -c`, `export` and variables before it."""
    if words[0] == "srun":
        words = shlex.split(words[-1])
    while words and "=" in words[0]:
        words = words[1:]
    return [] if words[:1] == ["export"] else words


def module_file(name):
    """The file that `python -m NAME` runs."""
    path = name.replace(".", "/")
    return f"{path}.py" if (REPOSITORY / f"{path}.py").is_file() else f"{path}/__main__.py"


def assert_flags_exist(script, name, words):
    told = script(name, "--help")
    assert told.status == 0, told.err
    for flag in [word for word in words if word.startswith("--")]:
        assert re.search(rf"(?<!\S){re.escape(flag)}\b", told.out.replace("[", " ")), f"{flag} of {name}"


@pytest.mark.parametrize("document, command", all_commands(run=False))
def test_commands_that_are_not_run_are_understood(script, monkeypatch, tmp_path, document, command):
    monkeypatch.chdir(REPOSITORY)
    assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0
    words = of_a_script(shlex.split(command))
    if not words:
        return
    if words[:2] == ["bash", "run_pipeline.sh"]:
        config, *assignments = words[2:] or ["configs/voc12_resnet101.yaml"]
        while assignments[:1] and assignments[0] in ("--from", "--to"):
            assert assignments[1] in BY_NAME
            assignments = assignments[2:]
        done = script("check_config.py", config, tmp_path / "config.yaml", *assignments)
        assert done.status == 0, done.err
    elif words[0] == "bash":
        assert (REPOSITORY / words[1]).is_file()
    else:
        assert words[0] == "python"
        name = module_file(words[2]) if words[1] == "-m" else words[1]
        assert_flags_exist(script, name, words)
        if name == "reproduce.py":
            parse_arguments(words[2:])


def test_every_block_says_what_it_is():
    """A block in no language would escape the tests above; so would a reason that belongs to no block."""
    for document in DOCUMENTS:
        text = (REPOSITORY / document).read_text()
        fences = re.findall(r"^```(.*)$", text, re.MULTILINE)
        assert set(fences[0::2]) <= {"bash", "text", "yaml", "python"} and set(fences[1::2]) <= {""}, document
        assert text.count("<!-- not run") == sum(reason is not None for reason, _ in blocks(document)), document
    assert len(all_commands(run=True)) >= 12 and len(all_commands(run=False)) >= 12


def test_commands_within_sentences_name_scripts_and_flags_that_there_are(script):
    for document in DOCUMENTS:
        for command in re.findall(r"`((?:\w+=\S+ )*(?:python|bash) [^`\n]+)`", (REPOSITORY / document).read_text()):
            words = of_a_script(command.split())
            name = words[2].replace(".", "/") if words[1] == "-m" else words[1]
            assert any((REPOSITORY / each).exists() for each in (name, f"{name}.py")), f"{document}: {command}"
            if name in SCRIPTS:
                assert_flags_exist(script, name, words)


def test_settings_in_sentences_exist():
    """What stands in backticks as section.key or section.key=value."""
    found = 0
    for document in DOCUMENTS:
        for section, key in re.findall(r"`(\w+)\.(\w+)[=`]", (REPOSITORY / document).read_text()):
            if section in SECTIONS and key not in ("py", "yaml", "md", "csv"):
                assert key in (COMMON if section == "common" else types(BY_NAME[section].settings)), (
                    f"{document}: {key}"
                )
                found += 1
    assert found > 50


def test_help_waits_for_no_heavy_import():
    done = in_turn([(script, "--help") for script in SCRIPTS], *(name for name in HEAVY if name != "numpy"))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    told = dict(re.findall(r"^usage: (\S+) (.*?)(?=^usage: |\Z)", done.stdout, re.M | re.S))
    assert "check_config.py CONFIG OUT" in done.stdout
    assert told.keys() == {Path(script).name for script in SCRIPTS} - {"check_config.py"}
    assert all("--config" in text and "--session_name" in text for name, text in told.items() if name != "reproduce.py")
