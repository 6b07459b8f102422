"""What surrounds the code: the version, the citation, the lock file, the container, the workflow and the templates."""

import re

import yaml
from scripts import REPOSITORY, in_turn, run
from test_docs import SCRIPTS

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
