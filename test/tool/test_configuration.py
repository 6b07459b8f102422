"""docs/configuration.md, which tool/configuration.py makes."""

import os
import re
from dataclasses import fields
from pathlib import Path

import pytest
from scripts import REPOSITORY

from tool.configuration import markdown
from tool.settings import CORES, DeeplabTrain, MakeCam, TrainAesipe, usable_cores
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
        outside = {"`runs`": "`RUN`, not a key", "`open`": "`--open`, not a key", "`run`": "`--run`, not a key"}
        shown = [outside.get(each, each) for each in shown]
        missing = [each for each in shown if not any(cell.startswith(each) for cell in of_all | own.get(name, set()))]
        assert missing == [], name


def test_training_and_exports_take_at_most_eight_loading_processes_by_themselves():
    for kind in (TrainAesipe, MakeCam):
        assert "at most 8" in kind.__dataclass_fields__["num_workers"].metadata["help"]
        assert kind().num_workers <= 8


@pytest.mark.parametrize(
    "quota, cores", [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)]
)
def test_cores_are_those_that_a_container_may_use(tmp_path, monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr("tool.settings.QUOTA", tmp_path / "cpu.max")
    assert usable_cores() == 8
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores() == cores


def test_deeplab_takes_one_image_a_gpu_where_batch_norm_is_synchronised(monkeypatch):
    """Found: two machines of eight GPUs were refused the paper's batch of 16."""
    settings = DeeplabTrain(batch_size=16, device="cuda")
    assert settings.batch_problem(16) is None and settings.batch_problem(1) is None
    assert "needs two images" in DeeplabTrain(batch_size=16, device="cpu").batch_problem(16)
    assert "needs two images" in DeeplabTrain(batch_size=1, device="cuda").batch_problem(1)
    assert "needs two images" in DeeplabTrain(batch_size=16, accumulate=16, device="cuda").batch_problem(1)
    for driver, refused in ((Path(__file__), False), (Path("/nowhere"), True)):
        monkeypatch.setattr("tool.settings.DRIVER", driver)
        assert bool(DeeplabTrain(batch_size=16).batch_problem(16)) == refused
