"""The order of the house: who imports whom, one place for dependencies, the table of stages in docs/stages.md."""

import ast
import re
import sys

import pytest
from scripts import REPOSITORY, run

from tool.stages import SCORES, STAGES, TOOLS, markdown
from viz.runs import MAP_NAMES

PACKAGES = ("bench", "coco14", "data", "deeplab", "infer", "module", "net", "paper", "pets", "tool", "viz", "voc12")
BOTTOM = ("conventions", "errors", "files", "packages", "progress")  # modules beside the scripts that all may import
FILES = [*REPOSITORY.glob("*.py"), *(path for name in PACKAGES for path in (REPOSITORY / name).glob("*.py"))]
SCRIPTS = {path.stem for path in REPOSITORY.glob("*.py")} - {*BOTTOM} | {"deeplab.train", "deeplab.test"}


def imported(path):
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_script_is_imported(path):
    assert not SCRIPTS & {*imported(path)}


def test_bars_are_made_in_one_place():
    assert [str(path.relative_to(REPOSITORY)) for path in FILES if "tqdm" in imported(path)] == ["progress.py"]


def test_every_stage_has_its_script_and_settings():
    for stage in (*STAGES, *TOOLS):
        assert (REPOSITORY / stage.script).is_file() and stage.settings().problem() is None
        assert stage.script.removesuffix(".py").replace("/", ".") in SCRIPTS


def test_the_page_of_stages_has_their_table_and_names_what_each_leaves():
    page = (REPOSITORY / "docs/stages.md").read_text()
    assert markdown() in page
    files = page.partition("## The files of a run")[2]
    left = {name for stage in (*STAGES, *TOOLS) for name in stage.written(stage.settings())}
    left |= {*MAP_NAMES, SCORES, "config.yaml", "log.jsonl", "classes.txt"}
    assert {name for name in left if f"`{name}" not in files} == set()


def test_requirements_are_those_of_pyproject():
    block = re.search(r"^dependencies = \[.*?\n(.*?)^\]", (REPOSITORY / "pyproject.toml").read_text(), re.M | re.S)[1]
    wanted = re.findall(r"\"(.+?)\"", block)
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    assert sorted(line for line in lines if not line.startswith("#")) == sorted(wanted)


@pytest.mark.parametrize("start", [["deeplab/train.py"], ["-m", "deeplab.train"], ["-m", "deeplab.test"]])
def test_stages_in_a_folder_start_by_path_and_by_module(start):
    done = run(sys.executable, *start, "--help")
    assert done.returncode == 0 and "--session_name" in done.stdout
