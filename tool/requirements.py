"""Does this Python have what a requirements file asks for? Exit status 0 if so. Standard library and pip only.

Run as `python -m tool.requirements FILE`: run by its path, this folder's modules would hide the library's own.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def unmet(path):
    """The requirement lines of the file, and of those that it names by -r, which are not installed."""
    from pip._vendor.packaging.requirements import Requirement

    missing = []
    for line in Path(path).read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r"):
            missing += unmet(Path(path).parent / line[2:].strip())
        elif line:
            requirement = Requirement(line)
            try:
                if not requirement.specifier.contains(version(requirement.name), prereleases=True):
                    missing.append(line)
            except PackageNotFoundError:
                missing.append(line)
    return missing


if __name__ == "__main__":
    try:
        sys.exit(1 if unmet(sys.argv[1]) else 0)
    except ImportError:  # a Python without pip cannot be told to be complete
        sys.exit(1)
