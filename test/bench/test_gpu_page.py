"""docs/gpu.md: its commands, but for those not run, which test_docs parses, and its tables."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from scripts import REPOSITORY
from test_docs import commands_to_run

from bench.report import peak_rate
from bench.stages import VOC_IMAGES

PAGE = (REPOSITORY / "docs/gpu.md").read_text()
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


def text_blocks():
    return [block.strip() for block in re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


def call(*command, **variables):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=1800)


def tables(text):
    """[rows of cells] of each table of a Markdown text, without the line below the head."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [[[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()] for table in found]


def table(head):
    """The body of the page's table whose head begins so."""
    return next(rows[2:] for rows in tables(PAGE) if " | ".join(rows[0]).startswith(head))


def test_the_commands_to_run_end_well():
    commands = [shlex.split(command) for command in commands_to_run("docs/gpu.md")]
    assert commands
    for words in commands:
        done = call(*(sys.executable if word == "python" else word for word in words))
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_the_commands_of_text_blocks_are_understood(tmp_path):
    pip, docker, built = (shlex.split(block) for block in text_blocks())
    assert pip[:4] == ["python", "-m", "pip", "install"]
    flags = call(sys.executable, "-m", "pip", "install", "--help").stdout
    assert all(word in flags for word in pip if word.startswith("--"))
    assert f"`{pip[-1]}`" in [row[-1] for row in table("wheel | GPUs")] and docker[:2] == ["docker", "run"]
    inside = docker[docker.index("IMAGE") + 1 :]
    assert inside[:2] == ["bash", "run_pipeline.sh"]
    assert built[:2] == ["docker", "run"] and 'ENTRYPOINT ["bash", "run_pipeline.sh"]' in DOCKERFILE
    for config, *overrides in (inside[2:], built[built.index("aesipe") + 1 :]):
        done = call(sys.executable, "check_config.py", config, str(tmp_path / "config.yaml"), *overrides)
        assert done.returncode == 0, done.stderr


def test_the_wheels_of_the_page_are_those_that_the_project_takes():
    """A newer PyTorch, which pyproject.toml would then allow, is published for other versions of CUDA."""
    assert '"torch>=2.8,<2.12"' in (REPOSITORY / "pyproject.toml").read_text()
    assert "PyTorch 2.11 is" in PAGE and "torch==2.11.*" in PAGE


def test_expected_times_are_the_arithmetic_that_the_page_says():
    cards = ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "NVIDIA GeForce RTX 3090", "Tesla T4")
    rows = table("stage | images")
    assert [row[0] for row in rows] == [name for name in VOC_IMAGES if name != "make_ir_labels"]
    for name, images, gflop, *minutes in rows:
        assert int(images.replace(",", "")) == VOC_IMAGES[name]
        precision, share = ("float16", 0.2) if name.endswith("train") or name.startswith("train") else ("float32", 0.4)
        for card, shown in zip(cards, minutes):
            expected = VOC_IMAGES[name] * float(gflop.replace(",", "")) * 1e9 / (peak_rate(card, precision) * share)
            assert float(shown) == pytest.approx(expected / 60, abs=0.051), (name, card)


@pytest.mark.slow
def test_the_memory_tables_are_what_the_command_prints():
    """But for a twentieth: another version of PyTorch may hold a little more or less."""
    shown = {row[0]: row[1:] for row in table("training | batch")}
    fitting = {row[0]: row[1:] for row in table("training | 8 GB")}
    done = call(sys.executable, "-m", "bench", "--memory", "configs/voc12_resnet101.yaml")
    assert done.returncode == 0, done.stderr
    needs, cards = (rows[2:] for rows in tables(done.stdout))
    for name, *cells in needs:
        assert close(shown[name], cells), name
    for name, *cells in cards:
        assert [cell.split()[0] for cell in fitting[name]] == [cell.split()[0] for cell in cells]


def close(shown, printed):
    return [float(cell) for cell in shown] == pytest.approx([float(cell) for cell in printed], rel=0.05, abs=0.02)


@pytest.mark.slow
def test_the_forecast_of_the_page_is_made():
    [command] = re.findall(r"^(python -m bench --memory .*)$", PAGE, re.MULTILINE)
    done = call(sys.executable, *shlex.split(command)[1:])
    assert done.returncode == 0 and "| deeplab_train |" in done.stdout, done.stderr
