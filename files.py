"""Whole files or none, which all packages may import: writing them, and telling one that was cut short."""

import errno
import os
from contextlib import contextmanager
from pathlib import Path

from errors import UserError

PNG_END = b"IEND\xaeB`\x82"


@contextmanager
def writing(path):
    """Turns what the system says against writing a file into a UserError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UserError(f"{path}: cannot be written: {error.strerror or error}"
                        + ": make room and run this again" * full) from error


@contextmanager
def atomic(path):
    """Yields a temporary path beside `path`, renamed to it at the end; removed if anything fails.

    The data reach the disk before the name does: after a power cut too there is the old file or the whole new one.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush_to_disk(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def save_lines(path, lines):
    """Write a text file, a line each."""
    with atomic(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def ends_with(path, end):
    """Whether a file's last bytes are these. Raises OSError for one that is shorter or cannot be read."""
    with open(path, "rb") as file:
        file.seek(-len(end), os.SEEK_END)
        return file.read() == end


def _flush_to_disk(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder):
    """Remove the temporary files that killed processes of this machine left in a folder."""
    for path in Path(folder).glob(".*.tmp"):
        number = path.name.split(".")[-2]
        if number.isdigit() and not _is_alive(int(number)):
            path.unlink(missing_ok=True)


def _is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
