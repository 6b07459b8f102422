"""docs/configuration.md, which tool/configuration.py makes."""

import re
from dataclasses import fields

from scripts import REPOSITORY

from tool.configuration import markdown
from tool.settings import CORES, MakeCam, TrainAesipe
from tool.stages import BY_NAME

PAGE = REPOSITORY / "docs/configuration.md"


def rows(text):
    """[cells] of each row of the tables in a text, without their heads."""
    lines = re.findall(r"^\| (.*) \|$", text, re.M)
    return [re.split(r" (?<!\\)\| ", line) for line in lines if not line.startswith(("setting |", "---"))]


def test_the_page_is_what_its_generator_prints():
    assert PAGE.read_text() == f"{markdown()}\n", "python -m tool.configuration > docs/configuration.md"


def test_the_page_does_not_depend_on_the_machine():
    assert str(CORES) not in {row[1].strip("`") for row in rows(markdown()) if row[0] == "`num_workers`"}


def test_every_setting_of_every_stage_is_on_the_page():
    shared, *sections = re.split(r"^## ", markdown(), flags=re.M)[1:]
    own = {section.partition(":")[0]: {row[0] for row in rows(section)} for section in sections}
    for name, stage in BY_NAME.items():
        of_all = {row[0] for row in rows(shared) if row[5] == "all" or name in row[5].split(", ")}
        shown = [f"`{(item.metadata['flags'] or ('--' + item.name,))[0][2:]}`" for item in fields(stage.settings)]
        outside = {"`runs`": "`RUN`, not a key", "`open`": "`--open`, not a key"}
        shown = [outside.get(each, each) for each in shown]
        missing = [each for each in shown if not any(cell.startswith(each) for cell in of_all | own.get(name, set()))]
        assert missing == [], name


def test_training_and_exports_take_at_most_eight_loading_processes_by_themselves():
    for kind in (TrainAesipe, MakeCam):
        assert "at most 8" in kind.__dataclass_fields__["num_workers"].metadata["help"]
        assert kind().num_workers <= 8
