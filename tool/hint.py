"""How the driver takes what is a flag of a stage's script: `python -m tool.hint FLAG`; nothing if there is none."""

import sys
from dataclasses import fields

from tool.config import COMMON
from tool.settings import types
from tool.stages import STAGES
from tool.values import words


def as_setting(flag):
    """`FLAG is a setting of STAGE: write STAGE.KEY=VALUE`; empty for what no stage takes in a config."""
    found = {}  # stage -> its key and value
    for stage in STAGES:
        for item in (item for item in fields(stage.settings) if item.metadata["in_config"]):
            names = item.metadata["flags"] or (f"--{item.name}",)
            switch = words(types(stage.settings)[item.name])[1] is bool
            if flag in names:
                found[stage.name] = names[0].lstrip("-"), "true" if switch else "VALUE"
            elif switch and flag == f"--no-{item.name}":
                found[stage.name] = item.name, "false"
    if not found:
        return ""
    key, value = next(iter(found.values()))
    if key in COMMON:
        return f"{flag} is a setting: write common.{key}={value}"
    if len(found) > 1:
        return f"{flag} is a setting of the stages {', '.join(found)}: write STAGE.{key}={value}"
    return f"{flag} is a setting of the stage {next(iter(found))}: write {next(iter(found))}.{key}={value}"


if __name__ == "__main__":
    print(as_setting(sys.argv[1].partition("=")[0]))
