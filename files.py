"""Whole files or none, which all packages may import: refusing what is no file, writing, telling what was cut short,
and stamps.

A stamp is a digest, 32 hexadecimal digits, of what an output was made from. It is part of the file: of a .npz the
archive's comment, of a .png a text chunk at its end. So the output and what it belongs to appear together, and one look
at a file's end tells whether it is whole and whether it must be made again. Other readers pass over it.
"""

import errno
import os
import shutil
import stat
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from errors import UserError

PNG_END = b"IEND\xaeB`\x82"
_STAMP = 32  # bytes
_PNG_KEY = b"tEXtinputs\0"
_PNG_IEND = b"\0\0\0\0" + PNG_END
_ZIP_END = struct.Struct("<4s16xH")  # signature and length of the comment
_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


# The one call by which finished files get their names: tests put a failing one in its place.
rename = os.replace


def in_threads(look, names, done=None):
    """[look(name)] in order: many short looks at files, which wait for the disk together.

    The first comes before all others: it may read what they share, such as a folder's listing. done: is told, in this
    thread, how many more have been looked at.
    """
    names, many = list(names), 256  # to hand a single look to a thread costs more than the look
    groups = [names[start : start + many] for start in range(1, len(names), many)]
    found = [look(name) for name in names[:1]]
    if done:
        done(len(found))
    with ThreadPoolExecutor(8) as pool:
        for group in pool.map(lambda group: [look(name) for name in group], groups):
            found += group
            if done:
                done(len(group))
    return found


def check_file(path):
    """Raises UserError for what is there but is no file that can be read: to open a pipe may wait for ever, to read a
    device may never end. One that is missing is left to who opens it and knows the remedy."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise UserError(
            f"{path}: cannot be read: is a {_KINDS.get(stat.S_IFMT(mode), 'thing')}, where a file is needed"
        )
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: cannot be read: {os.strerror(errno.EACCES)}: give yourself the right to read it")


@contextmanager
def writing(path):
    """Turns what the system says against writing a file into a UserError."""
    try:
        yield
    except OSError as error:
        full, said = error.errno in (errno.ENOSPC, errno.EDQUOT), error.strerror or error
        above = error.filename if isinstance(error, FileExistsError) and error.filename2 is None else None  # by mkdir
        if above not in (None, str(path)):
            said = f"{above} is a file, not a folder"
        raise UserError(f"{path}: cannot be written: {said}" + ": make room and run this again" * full) from error


@contextmanager
def atomic(path, flush=True):
    """Yields a temporary path beside `path`, of a file or folder, renamed to it at the end; removed if anything fails.

    The data reach the disk before the name does: after a power cut too there is the old file or the whole new one.
    flush: False leaves the power cut to the caller, who writes thousands of files and flushes them together.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if flush:
                _flush_to_disk(temporary)
            rename(temporary, path)
        finally:
            _remove(temporary)


def _flush_to_disk(path):
    descriptor = os.open(path, os.O_RDONLY)  # which opens folders too
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path):
    """Remove a file or a folder that may be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def save_lines(path, lines):
    """Write a text file, a line each."""
    with atomic(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def stamp_zip(path, stamp):
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = stamp.encode()


def stamp_png(path, stamp):
    chunk = _PNG_KEY + stamp.encode()
    with open(path, "r+b") as file:
        file.seek(-len(_PNG_IEND), os.SEEK_END)
        file.write(struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + _PNG_IEND)


def read_stamp(path):
    """The stamp of a .npz or .png file, "" for a whole one without, None for one that is missing or cut short."""
    try:
        check_file(path)
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 128))
            tail = file.read()
    except (OSError, UserError):
        return None
    if path.suffix == ".npz":
        for length in (_STAMP, 0):
            end = tail[len(tail) - _ZIP_END.size - length :][: _ZIP_END.size]
            if len(end) == _ZIP_END.size and _ZIP_END.unpack(end) == (b"PK\5\6", length):
                return tail[len(tail) - length :].decode("ascii", "replace")
        return None
    if not tail.endswith(_PNG_IEND):
        return None
    before = tail[: -len(_PNG_IEND) - 4]  # the end of the last chunk but for its checksum
    stamped = before[-_STAMP - len(_PNG_KEY) : -_STAMP] == _PNG_KEY
    return before[-_STAMP:].decode("ascii", "replace") if stamped else ""


def remove_leftovers(folder):
    """Remove the temporary files that killed processes of this machine left in a folder."""
    for path in Path(folder).glob(".*.tmp"):
        number = path.name.split(".")[-2]
        if number.isdigit() and not _is_alive(int(number)):
            _remove(path)


def _is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # Linux: a killed process whose parent does not ask for its status answers for ever
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True
