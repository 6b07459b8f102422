"""docs/coming_from.md: what it says is here is here."""

import re

import numpy as np
from scripts import REPOSITORY

from tool.cam_file import load_cam, save_cam
from tool.stages import STAGES

PAGE = (REPOSITORY / "docs/coming_from.md").read_text()


def column_here(heading):
    """What stands in backticks in the column "here" of the table under a heading."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]
    head, _, *rows = ([cell.strip() for cell in line.split("|")] for line in re.findall(r"^\|.*\|$", section, re.M))
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row[head.index("here")])]


def test_the_scripts_are_those_of_the_stages_in_order():
    driver, *scripts = column_here("Commands")
    assert driver.startswith("bash run_pipeline.sh ") and (REPOSITORY / driver.split()[-1]).is_file()
    assert scripts == [stage.script for stage in STAGES if stage.name not in ("dataset", "report")]


def test_the_files_are_what_the_stages_leave_in_a_run():
    left = {name for stage in STAGES for name in stage.written(stage.settings())} | {"is_cam", "cam", "lists"}
    for name in column_here("Files"):
        assert name.split("/ID.")[0].rstrip("/") in left or name.split("/")[0] in left | {
            "image_labels.txt",
            "ID class [class ...]",
        }, name


def test_maps_are_stored_as_the_page_says(tmp_path):
    save_cam(tmp_path / "a.npz", [0, 3], np.zeros((2, 4, 5), np.float32))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert {name: (str(file[name].dtype), file[name].shape) for name in file.files} == {
            "keys": ("uint8", (2,)),
            "cam": ("float16", (2, 4, 5)),
        }
    keys, cam = load_cam(tmp_path / "a.npz", 21, (4, 5))
    assert keys.tolist() == [0, 3] and cam.shape == (2, 4, 5)
