"""README and docs/: links lead somewhere, the index is whole, functions and files that are named exist; the error lines
that troubleshooting.md quotes are the product's."""

import ast
import re

import pytest
from scripts import REPOSITORY, run

TROUBLESHOOTING = (REPOSITORY / "docs/troubleshooting.md").read_text()
README = (REPOSITORY / "README.md").read_text()
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES += tuple(sorted(f"docs/{path.name}" for path in REPOSITORY.glob("docs/*.md")))
FOLDERS = "bench|coco14|configs|data|deeplab|docs|infer|module|net|paper|test|tool|viz|voc12"
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
    """All of them in one text of the source, in order; one that a value ends may continue in another text."""
    words = [part.strip() for part in PLACEHOLDER.split(line)]
    pattern = ".*".join(re.escape(part) for part in words)
    assert sum(map(len, words)) >= 6, "too few fixed words to find the line by"
    assert any(re.search(pattern, text, re.S) for text in said), line


def anchors(path):
    """GitHub's anchors of the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_between_documents_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", (REPOSITORY / page).read_text()):
        name, _, anchor = target.partition("#")
        path = (REPOSITORY / page).parent / name if name else REPOSITORY / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_the_index_and_the_readme_lead_to_every_document():
    there = {path.name for path in REPOSITORY.glob("docs/*.md")} - {"README.md"}
    assert there == {*re.findall(r"\]\((\w+\.md)\)", (REPOSITORY / "docs/README.md").read_text())}
    assert there | {"README.md"} == {*re.findall(r"\]\(docs/(\w+\.md)(?:#[^)]*)?\)", README)}


def test_the_readme_is_one_page_with_a_picture():
    assert len(README.splitlines()) <= 120
    assert len(re.findall(r"!\[[^\]]{20,}\]\(docs/\w+\.png\)", README)) == 1, "with a text for those who do not see it"


def test_the_config_for_own_data_is_shown_as_it_is():
    shown = re.search(r"^```yaml\n(.*?)^```$", (REPOSITORY / "docs/own_data.md").read_text(), re.M | re.S)[1]
    assert shown == (REPOSITORY / "configs/own_data.yaml").read_text()


def defined(path):
    """The names of a file's functions, classes and methods, these as CLASS.METHOD."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, kinds):
            yield node.name
            yield from (f"{node.name}.{each.name}" for each in getattr(node, "body", ()) if isinstance(each, kinds))


def test_functions_and_files_that_documents_name_exist():
    found = 0
    for page in PAGES:
        text = (REPOSITORY / page).read_text()
        for name, function in re.findall(r"`([\w/]+\.py):([\w.]+)`", text):
            assert function in defined(REPOSITORY / name), f"{page}: {name}:{function}"
            found += 1
        for name in re.findall(rf"`((?:{FOLDERS})/[\w/]+\.(?:py|yaml|sh|md|html))`", text):
            made = page == "docs/extending.md" and f"`{name}`:\n" in text  # by following a recipe
            assert made or (REPOSITORY / name).exists(), f"{page}: {name}"
    assert found > 30
