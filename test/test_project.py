"""What surrounds the code: the version, the citation, the lock file, the container, the workflow and the templates."""

import json
import re
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from scripts import REPOSITORY, in_turn, run
from test_docs import SCRIPTS, commands_to_run

from conventions import VERSION


def text(name):
    return (REPOSITORY / name).read_text()


def test_the_version_is_the_same_everywhere():
    assert re.search(r'^version = "(.+)"$', text("pyproject.toml"), re.M)[1] == VERSION
    assert yaml.safe_load(text("CITATION.cff"))["version"] == VERSION
    assert re.search(r"^## (\S+)", text("CHANGELOG.md"), re.M)[1] == VERSION


def test_every_script_says_the_version():
    words = [*((script, "--version") for script in SCRIPTS), ("-m", "data.check", "--version")]
    done = in_turn(words, "torch")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"AE-SIPE {VERSION}"] * len(words)
    assert run("bash", "run_pipeline.sh", "--version").stdout == f"AE-SIPE {VERSION}\n"


def test_the_paper_is_what_is_to_be_cited():
    citation = yaml.safe_load(text("CITATION.cff"))
    paper = citation["preferred-citation"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert [author["family-names"] for author in paper["authors"]] == ["Im", "An", "Lee"]
    assert (paper["volume"], paper["issue"], paper["year"]) == (29, 1, 2024)
    assert f"*{paper['title']}*" in text("README.md")


def requirements(name):
    return [Requirement(line) for line in text(name).splitlines() if line and not line.startswith(("#", "-r"))]


def test_the_lock_file_holds_what_is_asked_for_each_with_a_hash():
    lines = [line for line in text("requirements-lock.txt").splitlines() if not line.startswith("#")]
    pinned = dict(re.fullmatch(r"([a-z0-9-]+)==(\S+) --hash=sha256:[0-9a-f]{64}", line).groups() for line in lines)
    assert list(pinned) == sorted(pinned)
    for wanted in [*requirements("requirements.txt"), *requirements("requirements-test.txt")]:
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), wanted


def steps(name="Dockerfile"):
    """[(instruction, its text)] of a Dockerfile."""
    lines = [line for line in text(name).splitlines() if not line.startswith("#")]
    return [tuple(step.split(None, 1)) for step in "\n".join(lines).replace("\\\n", " ").splitlines() if step]


def is_left_out(path, patterns):
    """Whether .dockerignore keeps a file out: the last pattern that it or a folder above it meets counts."""
    out = False
    for pattern in patterns:
        wanted = pattern.lstrip("!").removeprefix("**/")
        names = [str(each) for each in (Path(path), *Path(path).parents)]
        if pattern.startswith("**/"):
            names = path.split("/")
        if any(fnmatch(name, wanted) and name.count("/") == wanted.count("/") for name in names):
            out = not pattern.startswith("!")
    return out


def tracked():
    return run("git", "ls-files", "-co", "--exclude-standard").stdout.splitlines()


def test_the_container_has_all_of_the_project_but_its_tests(tmp_path):
    patterns = text(".dockerignore").split()
    left_out = [name for name in tracked() if is_left_out(name, patterns)]
    assert {name.split("/")[0] for name in left_out} == {"test", ".github"}
    for name in (
        ".git/HEAD",
        ".venv/bin/python",
        "tool/__pycache__/a.pyc",
        "runs/demo/log.jsonl",
        "data/toy_2/classes.txt",
    ):
        assert is_left_out(name, patterns), name
    for name in {*tracked()} - {*left_out}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    by_name = dict(steps())
    words = json.loads(by_name["ENTRYPOINT"]) + json.loads(by_name["CMD"])
    assert words[:2] == ["bash", "run_pipeline.sh"] and words[3:] == [
        "common.dataset_root=/data/toy",
        "common.run_root=/data/runs",
    ]
    done = run(sys.executable, "check_config.py", words[2], tmp_path / "settings.yaml", *words[3:], folder=tmp_path)
    assert done.returncode == 0 and done.stdout == "/data/runs/demo\n", done.stderr
    done = run("bash", "run_pipeline.sh", "--help", folder=tmp_path)
    assert done.returncode == 0 and "stages: dataset train_aesipe" in done.stdout


def test_the_container_is_built_by_the_rules():
    """Those that hadolint checks, as far as they apply here."""
    names = [name for name, _ in steps()]
    assert {*names} <= {"FROM", "RUN", "WORKDIR", "COPY", "ARG", "USER", "ENV", "VOLUME", "ENTRYPOINT", "CMD"}
    by_name = dict(steps())
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", by_name["FROM"]) and by_name["WORKDIR"].startswith("/")
    assert by_name["USER"] not in ("root", "0") and names.index("USER") > max(
        number for number, name in enumerate(names) if name == "RUN"
    )
    assert by_name["VOLUME"] == "/data"
    for command in [words for name, words in steps() if name == "RUN"]:
        assert run("bash", "-n", "-c", command).returncode == 0, command
        for part in re.split(r"&&|;", command):
            if "apt-get install" in part:
                assert (
                    "--yes" in part and "--no-install-recommends" in part and "rm -rf /var/lib/apt/lists/*" in command
                )
            if "pip install" in part:
                assert "--no-cache-dir" in part
    copied = [name for step, words in steps() if step == "COPY" for name in words.split()[:-1]]
    named = re.findall(r"-r (\S+\.txt)", "".join(words for _, words in steps()))
    assert all((REPOSITORY / name).exists() for name in copied) and {*named} <= {*copied}
    wheel = re.search(r"TORCH_INDEX=(https\S+)", text("Dockerfile"))[1]
    assert f"`{wheel}`" in text("docs/gpu.md")


def test_the_calls_in_the_containers_head_are_understood(tmp_path):
    comment = re.sub(r"^# ?", "", text("Dockerfile").split("FROM")[0], flags=re.M).replace("\\\n", " ")
    calls = [line.split("#")[0].split() for line in comment.splitlines() if line.strip().startswith("docker run")]
    assert len(calls) == 2
    config, *assignments = calls[1][calls[1].index("aesipe") + 1 :]
    done = run(sys.executable, "check_config.py", config, tmp_path / "settings.yaml", *assignments)
    assert done.returncode == 0 and done.stdout.startswith("/data/runs/"), done.stderr


def test_the_workflow_runs_what_there_is_for_every_python():
    workflow = yaml.safe_load(text(".github/workflows/tests.yml"))
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert 'requires-python = ">=3.10"' in text("pyproject.toml")
    torch = workflow["env"]["TORCH"].split()
    assert {*torch} <= {str(wanted) for wanted in text("requirements.txt").splitlines()}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] and job["runs-on"] == "ubuntu-latest"
        commands = [step["run"] for step in job["steps"] if "run" in step]
        assert commands[-1].startswith("bash run_tests.sh")
        for command in commands:
            assert run("bash", "-n", "-c", command).returncode == 0
            assert all((REPOSITORY / name).exists() for name in re.findall(r"\S+\.(?:txt|sh)", command))


@pytest.mark.parametrize(
    "path", sorted(REPOSITORY.glob(".github/ISSUE_TEMPLATE/[!c]*.yml")), ids=lambda path: path.stem
)
def test_the_forms_of_issues_are_whole(path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= form.keys()
    asked = [item for item in form["body"] if item["type"] != "markdown"]
    assert len({item["id"] for item in asked}) == len(asked) > 0
    for item in form["body"]:
        assert item["type"] in ("markdown", "textarea", "input", "dropdown")
        assert item["attributes"]["value" if item["type"] == "markdown" else "label"].strip()
        assert item["type"] != "dropdown" or len({*item["attributes"]["options"]}) > 1
    for name in re.findall(r"[\w/]+\.(?:md|py|sh)\b", path.read_text()):
        assert (REPOSITORY / name).exists() or name == "report.md", name


def test_the_commands_of_contributing_are_understood():
    """Those that are run print what the documents hold; those in text and those that run tests are parsed."""
    page = text("CONTRIBUTING.md")
    stages, settings = commands_to_run("CONTRIBUTING.md")
    done = in_turn([stages.split()[1:], settings.split()[1:]])
    assert done.returncode == 0, done.stderr
    table, introduction, rest = done.stdout.partition("# Configuration")
    assert table.strip() in text("docs/stages.md") and introduction + rest == text("docs/configuration.md")
    for command in re.findall(r"^bash run_tests\.sh(.*)$", page, re.M):
        words = command.partition("#")[0].split()
        assert all((REPOSITORY / word).exists() for word in words if "/" in word)
        assert {word for word in words if word.startswith("-")} <= {"-n", "-m", "--lint"}
    pip = re.search(r"^python -m pip install (.*)$", page, re.M)[1].split()
    assert pip[:2] == ["--require-hashes", "-r"] and (REPOSITORY / pip[2]).exists()
    assert f"python -m pip install {' '.join(pip)}" in text(pip[2])
    for name in re.findall(r"\]\(([^)]+)\)", page):
        assert (REPOSITORY / name).exists(), name
