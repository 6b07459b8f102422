"""What no product file may do, read from the files themselves: run strings, or read pickles."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
RUNS_STRINGS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "runpy.run_path",
    "runpy.run_module",
    "code.interact",
    "pty.spawn",
}
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
LOADS_YAML = {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"}
NEEDS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
SHELL = re.compile(
    r"(^|[;&|(]\s*|\bthen\s+|\bdo\s+)\s*eval\b|\b(ba)?sh\s+-\w*c\b"
    r"|\bsource\s+[\"$]*\$\{?(config|to|from|\d)",
    re.MULTILINE,
)


def product_files(*suffixes):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [
        REPOSITORY / name
        for name in listed
        if name.endswith(suffixes) and not name.startswith("test/") and (REPOSITORY / name).exists()
    ]


def full_name(node, aliases):
    """`a.b.c` of a call's function, with imported names in full; "" where it is no name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([aliases.get(node.id, node.id), *reversed(parts)])


def imported(tree):
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {each.asname: each.name for each in node.names if each.asname}
        elif isinstance(node, ast.ImportFrom):
            aliases |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return aliases


def keyword(call, name):
    """The constant that a keyword has in a call, None if it is none."""
    return next(
        (each.value.value for each in call.keywords if each.arg == name and isinstance(each.value, ast.Constant)), None
    )


def faults(text):
    """What a Python text does that it must not, as (line, what)."""
    tree = ast.parse(text)
    aliases, found = imported(tree), []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            found += [(node.lineno, name) for name in modules if name.split(".")[0] in PICKLES]
        elif isinstance(node, ast.Call):
            name = full_name(node.func, aliases)
            if name in RUNS_STRINGS or name.removeprefix("builtins.") in RUNS_STRINGS:
                found.append((node.lineno, name))
            if name.startswith("os.spawn") or (name.startswith("yaml.") and name.split(".")[1] in LOADS_YAML):
                found.append((node.lineno, name))
            if name in NEEDS and keyword(node, NEEDS[name][0]) is not NEEDS[name][1]:
                found.append((node.lineno, name))
            if any(
                each.arg == "shell" and not (isinstance(each.value, ast.Constant) and each.value.value is False)
                for each in node.keywords
            ):
                found.append((node.lineno, "shell"))
            if keyword(node, "allow_pickle") is True or keyword(node, "weights_only") is False:
                found.append((node.lineno, "pickle"))
            command = node.args[0] if name.startswith("subprocess.") and node.args else None
            if isinstance(command.left if isinstance(command, ast.BinOp) else command, (ast.Constant, ast.JoinedStr)):
                found.append((node.lineno, "a command in one string"))
    return found


def test_no_product_file_runs_strings_or_reads_pickles():
    paths = product_files(".py")
    assert len(paths) > 60
    assert {str(path): faults(path.read_text(encoding="utf-8")) for path in paths} == {str(path): [] for path in paths}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import cloudpickle as c",
        "eval(x)",
        "exec(x)",
        "__import__(x)",
        "import os\nos.system(x)",
        "from os import system\nsystem(x)",
        "import os as o\no.popen(x)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "from subprocess import run\nrun(x, shell=flag)",
        "import subprocess\nsubprocess.run(f'ls {x}')",
        "import subprocess\nsubprocess.getoutput(x)",
        "import torch\ntorch.load(x)",
        "import torch\ntorch.load(x, weights_only=False)",
        "import torch\ntorch.load(x, weights_only=flag)",
        "from torch import load\nload(x)",
        "import numpy as np\nnp.load(x)",
        "import numpy\nnumpy.load(x, allow_pickle=True)",
        "import yaml\nyaml.load(x, yaml.Loader)",
        "import yaml\nyaml.full_load(x)",
        "from yaml import unsafe_load as f\nf(x)",
        "import builtins\nbuiltins.eval(x)",
        "import runpy\nrunpy.run_path(x)",
    ],
)
def test_what_the_walk_finds(text):
    assert faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "model.eval()",
        "import torch\ntorch.load(x, map_location='cpu', weights_only=True)",
        "import torch\ntorch.compile(x)",
        "import numpy as np\nnp.load(x, allow_pickle=False)",
        "import yaml\nyaml.safe_load(x)",
        "import re\nre.compile(x)",
        "import subprocess\nsubprocess.run(['ls', x])",
        "import subprocess\nsubprocess.run([a] + b)",
        "import json\njson.load(x)",
    ],
)
def test_what_the_walk_passes(text):
    assert faults(text) == []


def test_no_shell_script_runs_strings():
    paths = product_files(".sh")
    assert {"run_pipeline.sh", "run_tests.sh", "setup.sh"} <= {path.name for path in paths}
    for path in paths:
        assert not SHELL.search(path.read_text()), path
    for text in ("eval $1", 'x; eval "$a"', 'bash -c "$x"', "sh -c $x", "if a; then eval b; fi", 'source "$config"'):
        assert SHELL.search(text), text
