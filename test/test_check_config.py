import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]


def check(folder, text, *overrides):
    (folder / "in.yaml").write_text(text)
    return subprocess.run([sys.executable, "check_config.py", folder / "in.yaml", folder / "out.yaml", *overrides],
                          cwd=REPOSITORY, capture_output=True, text=True)


def test_writes_the_file_with_the_overrides(tmp_path):
    done = check(tmp_path, "common: {seed: 1, backbone: resnet18}\nreport:\n", "common.seed=7",
                 "report.scales=[1.0, 2]", "train_aesipe.ae=false", "report.list=a=b")
    assert done.returncode == 0 and done.stderr == ""
    assert yaml.safe_load((tmp_path / "out.yaml").read_text()) == {
        "common": {"seed": 7, "backbone": "resnet18"}, "report": {"scales": [1.0, 2], "list": "a=b"},
        "train_aesipe": {"ae": False}}


@pytest.mark.parametrize("assignment, message", [
    ("deeplab_test.scale=1", "in.yaml: deeplab_test.scale is unknown"),  # of the last stage: hours before it runs
    ("train_irn.lr=fast", "in.yaml: section train_irn: argument --lr"),
    ("common.sead=1", "in.yaml: common.sead is unknown"),
])
def test_refuses_settings_of_any_stage_before_the_first_runs(tmp_path, assignment, message):
    done = check(tmp_path, "common: {seed: 1}\n", assignment)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and message in done.stderr
