"""docs/configuration.md, made from the settings' classes: `python -m tool.configuration` prints the page."""

from collections import Counter
from dataclasses import fields

from tool.config import COMMON
from tool.settings import types
from tool.stages import BY_NAME
from tool.values import describe, without_none

INTRODUCTION = """# Configuration

Every setting of every stage: a key of the stage's section in a config file, and a flag `--KEY` of its script. A flag on
the command line overrides the stage's section, which overrides `common`, which overrides the default.

```yaml
common:
  backbone: mobilenet_v2      # for all stages that have this key, IRN's too, unless their own section sets it
train_aesipe:
  lr: 0.03                    # for this stage alone
```

On the driver's command line: `section.key=value`, as in `train_aesipe.lr=0.03`; `section.key=null` stands for the
default. Of a flag that is on or off, `--KEY` and `--no-KEY` are the two values. A key that does not exist, and a value
outside its range, is refused before the first stage starts.

**decides** says whether another value makes another result. A run refuses to mix results of different values of such a
setting; the others may change at any time. Evaluations and the report are made again instead. The stage dataset and
the tools predict, app and export keep no record, so there the column has no effect. `-` as a default means that it is
not given.
A setting marked `not a key` is given on the command line only, not in a config file.

This page is generated: `python -m tool.configuration` prints it. Do not edit it by hand."""


def markdown():
    """The page: first the settings that stages share, then a table a stage of those that are its own."""
    rows = {name: _rows(stage.settings) for name, stage in BY_NAME.items()}
    count = Counter(row for each in rows.values() for row in each)
    shared = {row: [name for name in rows if row in rows[name]] for row in count if count[row] > 1}
    parts = [
        INTRODUCTION,
        "## Of several stages",
        f"The section `common` takes {', '.join(f'`{key}`' for key in COMMON)}.",
        _table(shared, "stages", {row: _names(names, rows) for row, names in shared.items()}),
    ]
    for name, stage in BY_NAME.items():
        if own := [row for row in rows[name] if count[row] == 1]:
            parts.append(f"## {name}: `{stage.script}`, {stage.does}\n\n{_table(own)}")
    return "\n\n".join(parts)


def _rows(kind):
    """(setting, default, range, meaning, whether it decides) of each field of a settings class, as they are shown."""
    rows = []
    for item in fields(kind):
        meta, name = item.metadata, item.name
        flags = (f"--{name}",) if meta["flags"] is None else meta["flags"]
        key = f"`{name}`" + "".join(f", as a flag also `{flag}`" for flag in flags[1:])
        if not meta["in_config"]:
            key = f"`{' '.join(flags) or meta['metavar']}`, not a key"
        decides = "yes" if meta["decides"] else "no"
        allowed = describe(without_none(types(kind)[name])).replace("a text that is not empty", "text")
        rows.append((key, _default(item), allowed.removeprefix("a "), meta["help"], decides))
    return rows


def _default(item):
    """A default as YAML has it."""
    if item.name == "num_workers":  # which depends on the machine
        return "by cores"
    value = item.default
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return "-" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _names(names, rows):
    return "all" if len(names) == len(rows) else ", ".join(names)


def _table(rows, last=None, cells=None):
    head = ["setting", "default", "range", "meaning", "decides", *([last] if last else [])]
    lines = [head, ["---"] * len(head), *([*row, *([cells[row]] if last else [])] for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    print(markdown())
