"""Runs a stage again and again, killed at its first, second, third ... rename, just before it or just after it.

    python test/renames.py FOLDER SCRIPT CONFIG RUN

FOLDER/before is a run as the stage finds it. For each rename a copy of it is made, the stage is run there by a process
that kills itself at that rename, run again to its end, and compared with an undisturbed run. Prints the number of
kills; ends with status 1 and a line for every file that differs. Not a test itself: pytest's process has used autograd,
after which no forked process can.
"""

import os
import runpy
import shutil
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch
import torch._dynamo  # which torch's optimisers import when they are first used: not in every child anew

import data.loader
import deeplab.model
import files
import infer.evaluate
import infer.maps
import infer.pseudo
import infer.segmentation
import tool.trainer
import viz.watch
from tool.checkpoint import revision

WHERE = ("before", "after")


def run_stage(script, config, folder, kill_at=None, where=None):
    """Run the stage in a child process. Returns (its status, None if it killed itself)."""
    process = os.fork()
    if process == 0:
        os.chdir(ROOT)
        silent = os.open(folder.parent / f"{folder.name}.said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        if kill_at is not None:
            files.rename = counting(kill_at, where)
        sys.argv = [script, "--config", config, "--run_root", str(folder.parent), "--session_name", folder.name]
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as stop:
            os._exit(stop.code or 0)
        os._exit(0)
    status = os.waitpid(process, 0)[1]
    return None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def counting(kill_at, where):
    """`files.rename`, but for a kill of the stage, and of the worker that renames, at one of a process's calls."""
    seen, stage = [], os.getpid()

    def kill():
        for process in (stage, os.getpid()):
            os.kill(process, signal.SIGKILL)

    def rename(source, target):
        seen.append(target)
        if len(seen) == kill_at and where == "before":
            kill()
        os.replace(source, target)
        if len(seen) == kill_at:
            kill()

    return rename


def outputs(folder):
    """{name: content} of what a stage leaves; logs, and what names the folder or the time, left out."""
    left_out = ("log.jsonl", "config.yaml", ".aesipe_index.json")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in left_out and "tensorboard" not in path.parts
    }


def main():
    folder, script, config = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    revision()
    whole, kills, wrong = folder / "whole", 0, []
    shutil.copytree(folder / "before", whole)
    if run_stage(script, config, whole) != 0:
        sys.exit((folder / "whole.said").read_text())
    expected, number = outputs(whole), 0
    while True:
        number += 1
        ended = []
        for where in WHERE:
            parts = folder / f"{where}_{number}"
            shutil.copytree(folder / "before", parts)
            status = run_stage(script, config, parts, number, where)
            ended.append(status is not None)
            kills += status is None
            again = run_stage(script, config, parts)
            found = outputs(parts)
            differing = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
            if again != 0 or differing:
                wrong.append(f"killed {where} rename {number}: status {again}, differing {differing}")
            shutil.rmtree(parts)
        if all(ended):
            break
    print(kills, *wrong, sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
