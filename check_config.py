"""Check a config file for every stage before the first one starts, and write it with its overrides applied.

    python check_config.py CONFIG OUT [section.key=value ...]

Prints the run's folder.
"""

import sys

import yaml

from errors import UserError
from files import atomic
from tool.config import override, parse, read_config, run_main
from tool.stages import STAGES


def main():
    source, out, *assignments = sys.argv[1:]
    with atomic(out) as temporary:
        temporary.write_text(yaml.safe_dump(override(read_config(source), assignments), sort_keys=False))
    try:
        runs = [parse(stage.name, argv=["--config", out]).run for stage in STAGES]
    except UserError as error:
        raise UserError(str(error).replace(out, source)) from error
    print(runs[0])


if __name__ == "__main__":
    run_main(main)
