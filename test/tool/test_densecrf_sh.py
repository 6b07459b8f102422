"""pydensecrf2 on Python 3.13: translated by Cython 3, then installed; the interpreter here only notes its calls."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tool" / "densecrf.sh"
# Version 3.13 without the package; `pip download` leaves the archive, cython fails where there are no sources.
FAKE = """#!/usr/bin/env bash
echo "$@" >> {log}
case "$*" in
    *version_info*) exit {new} ;;
    *"import pydensecrf"*) exit {there} ;;
    "-m pip download"*) cp {archive} "${{@: -2:1}}" ;;
    "-m cython"*) ls "${{@: -1}}" > /dev/null ;;
esac
"""


@pytest.fixture
def run(tmp_path):
    archive, log, fake = tmp_path / "pydensecrf2-1.1.tar.gz", tmp_path / "log", tmp_path / "python"
    with tarfile.open(archive, "w:gz") as file:
        for name in ("densecrf.pyx", "eigen.pyx"):
            file.addfile(tarfile.TarInfo(f"pydensecrf2-1.1/pydensecrf/{name}"), io.BytesIO())

    def run(new, there):
        fake.write_text(FAKE.format(log=log, archive=archive, new=int(not new), there=int(not there)))
        fake.chmod(0o755)
        done = subprocess.run(
            ["bash", SCRIPT, fake],
            capture_output=True,
            text=True,
            env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )
        assert done.returncode == 0, done.stderr
        assert not list(tmp_path.glob("tmp.*"))  # its folder is gone
        return log.read_text().splitlines()

    return run


def test_sources_are_translated_before_they_are_installed(run):
    *_, cython, download, translate, install = run(new=True, there=False)
    assert cython.startswith("-m pip install --target") and download.endswith("pydensecrf2==1.1")
    assert "--cplus" in translate and translate.count(".pyx") == 2
    assert install.startswith("-m pip install --no-deps") and install.endswith("/pydensecrf2-1.1")


def test_nothing_is_done_where_nothing_is_to_do(run):
    assert len(run(new=False, there=False)) == 1
    assert len(run(new=True, there=True)) == 3  # with the first call's line


def test_this_python_needs_nothing():
    done = subprocess.run(["bash", SCRIPT, sys.executable], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
