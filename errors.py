"""The one exception that users meet: its message says what is wrong, where, and how to fix it, by `nearest` if that is
a name."""

import shlex
import sys
from pathlib import Path

CONFIGS = Path(__file__).resolve().parent / "configs"


class UserError(Exception):
    """Bad input. Scripts print the message as one line and exit with status 2 (`tool.config.run_main`)."""

    def __str__(self):
        lines = [line.strip() for line in super().__str__().splitlines() if line.strip()]
        # Raised in a DataLoader's worker, it arrives wrapped in that process's traceback, whose last line it is.
        if lines and lines[-1].startswith("errors.UserError: "):
            return lines[-1].removeprefix("errors.UserError: ")
        return " ".join(lines)  # what names a file or quotes its words may hold line breaks


class OtherProcessFailed(UserError):
    """This process stops only because another of its group did, whose message tells why."""


def missing_package(what, *packages):
    """The UserError for packages that are not installed, with the one command that installs them for this Python.

    what: asks for them. packages: as pip calls them.
    """
    return UserError(f"{what} needs a package that is not installed: {pip_install(*packages)}")


def pip_install(*words):
    """The command that installs packages for this Python: a bare `pip` may be another's."""
    return f"{shlex.quote(sys.executable)} -m pip install {' '.join(words)}"


def nearest(word, known):
    """`: did you mean NAME?` of the known name that is most like a word, in any case; empty if none is like it."""
    found = _closest(word, known)
    return f": did you mean {found}?" if found else ""


def nearest_config(path):
    """As `nearest`, of the project's config files."""
    found = _closest(Path(path).stem, (each.stem for each in CONFIGS.glob("*.yaml")))
    return f": did you mean configs/{found}.yaml?" if found else ""


def _closest(word, known):
    """The one of the known names that is most like the word, whatever their case; None if none is like it."""
    from difflib import get_close_matches  # only where something is wrong

    names = {str(name).casefold(): str(name) for name in known}
    found = get_close_matches(str(word).casefold(), names, 1)
    return names[found[0]] if found else None
