"""docs/: the error lines that troubleshooting.md quotes are the product's, links lead somewhere, the index is whole."""

import ast
import re

import pytest
from scripts import REPOSITORY, run

TROUBLESHOOTING = (REPOSITORY / "docs/troubleshooting.md").read_text()
PLACEHOLDER = re.compile(r"\b(?:PATH|NAME|REASON|KEY|VALUE|ID|URL|STAGE|N)\b|\.\.\.")


def quoted():
    """The error lines of the tables: what stands in backticks in the first column of a row."""
    cells = [row.split(" | ")[0] for row in re.findall(r"^\| (`.*)$", TROUBLESHOOTING, re.M)]
    return [line for cell in cells for line in re.findall(r"`([^`]+)`", cell)]


def texts(path):
    """The texts of a source file, those with values in them with a zero byte in each value's place."""
    if path.suffix == ".sh":
        return [re.sub(r"\$\{[^}]*\}|\$\w+|\$\(.*?\)", "\0", path.read_text())]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


@pytest.fixture(scope="module")
def said():
    names = run("git", "ls-files", "*.py", "*.sh").stdout.splitlines()
    return [text for name in names if not name.startswith("test/") for text in texts(REPOSITORY / name)]


def test_there_are_lines_to_look_for():
    assert len(quoted()) > 40 and len({*quoted()}) == len(quoted())


@pytest.mark.parametrize("line", quoted())
def test_the_fixed_words_of_each_line_are_the_products(said, line):
    """All of them in one text of the source, in order; one that a value ends may go on in another text."""
    words = [part.strip() for part in PLACEHOLDER.split(line)]
    pattern = ".*".join(re.escape(part) for part in words)
    assert sum(map(len, words)) >= 6, "too few fixed words to find the line by"
    assert any(re.search(pattern, text, re.S) for text in said), line


def anchors(name):
    """GitHub's anchors of the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", (REPOSITORY / name).read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted(path.name for path in REPOSITORY.glob("docs/*.md")))
def test_links_between_documents_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", (REPOSITORY / "docs" / page).read_text()):
        name, _, anchor = target.partition("#")
        path = (REPOSITORY / "docs" / (name or page)).resolve()
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.relative_to(REPOSITORY)), target


def test_the_index_names_every_document():
    index = (REPOSITORY / "docs/README.md").read_text()
    there = {path.name for path in REPOSITORY.glob("docs/*.md")} - {"README.md"}
    assert there == {*re.findall(r"\]\((\w+\.md)\)", index)}
