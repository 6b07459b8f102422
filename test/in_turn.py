"""Runs lines of Python's words in turn within one process, which imports PyTorch once.

    python test/in_turn.py '[["predict.py", "--help"], ["-m", "data.check", "FOLDER"]]' [MODULE ...]

Ends with the status of the first that fails, or with 1 at the first that has imported one of the MODULEs.
"""

import json
import os
import runpy
import sys


def run_line(words):
    """The status with which `python WORDS` would end."""
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def main():
    lines, unwanted = json.loads(sys.argv[1]), {*sys.argv[2:]}
    sys.path[0] = os.getcwd()
    for words in lines:
        status = run_line(words)
        if status or unwanted & sys.modules.keys():
            print(f"{words}: status {status}, imported {sorted(unwanted & sys.modules.keys())}", file=sys.stderr)
            sys.exit(status or 1)


if __name__ == "__main__":
    main()
