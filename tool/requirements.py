"""Does this Python have what a requirements file asks for? Says so in a word, with exit status 0 if it has.

Run as `python -m tool.requirements FILE`: run by its path, this folder's modules would hide the library's own. It is
run at every start, so it imports nothing that takes time. `packaging` comes with matplotlib, which the project needs.
"""

import sys


def unmet(path):
    """The requirement lines of the file, and of those that it names by -r, which are not installed."""
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    from packaging.requirements import Requirement

    missing = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
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


def main():
    try:
        complete = not unmet(sys.argv[1])
    except ImportError:  # a Python without packaging, or older than importlib.metadata, lacks something
        complete = False
    print("complete" if complete else "incomplete")
    sys.exit(not complete)


if __name__ == "__main__":
    main()
