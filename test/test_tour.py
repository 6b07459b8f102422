"""docs/tour.ipynb is committed without outputs, what it imports is there, and it runs from first to last cell."""

import ast
import importlib
import json

import pytest
from scripts import REPOSITORY

NOTEBOOK = REPOSITORY / "docs/tour.ipynb"
FIND = 'RUN = ROOT / "runs/demo"'


def cells(kind):
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


def test_it_is_committed_without_what_a_run_of_it_leaves():
    assert len(cells("code")) > 15 and NOTEBOOK.stat().st_size < 300_000
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells("code"))


def test_what_it_imports_is_there():
    text = "\n".join("".join(cell["source"]) for cell in cells("code"))
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    assert {"net", "module", "infer"} & {node.module.split(".")[0] for node in found}
    for node in found:
        module = importlib.import_module(node.module)
        assert [name.name for name in node.names if not hasattr(module, name.name)] == [], node.module


def executed(run):
    """The text that the notebook prints on a run, and how many pictures it shows."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace(FIND, f"RUN = Path({str(run)!r})")
    assert f"RUN = Path({str(run)!r})" in notebook.cells[1].source
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    return text, sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.slow
def test_it_runs_on_a_run_that_is_there(finished):
    text, pictures = executed(finished.run)
    assert "trained on 60 images" not in text and pictures >= 12
    assert [line.split(" mIoU")[0].strip() for line in text.splitlines() if " mIoU " in line] == [
        "cam",
        "is_cam",
        "ae_is_cam",
        "ae_is_cam + CRF",
        "pseudo label",
    ]


@pytest.mark.slow
def test_without_a_run_it_trains_one(tmp_path):
    text, pictures = executed(tmp_path / "nothing")
    assert "far too short" in text and "shows" in text and pictures >= 12
    assert list(tmp_path.iterdir()) == []
