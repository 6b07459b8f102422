"""Archives whose content nobody vouches for, unpacked member by member."""

import gzip
import re
import tarfile
import zlib
from contextlib import nullcontext
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from errors import UserError
from files import atomic

LARGEST = 64 << 20  # bytes; the largest image, mask or annotation of VOC and SBD is a hundredth of it
TOTAL = 16 << 30  # bytes of all members; VOC unpacks to 2, SBD to 1.6 GB
AT_ONCE = 8 << 10  # bytes of a read
MOST = 200_000  # members, of which tarfile remembers all; VOC and SBD have some 40,000 each

# What tarfile raises about damaged and hostile archives; the last for headers of headers of headers.
DECODING = (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, ArithmeticError, LookupError, RecursionError)


def extract(archive, root, wanted):
    """Write the members of a tar archive whose names fit `wanted` below root; members that are there are kept.

    archive: .tar or .tgz. wanted: regular expression of whole names, such as `VOCdevkit/VOC2012/JPEGImages/\\w+\\.jpg`.
    Each file is written to a temporary name and renamed, so that a call that was killed is finished by the next.
    Raises UserError if the archive is cut short, holds none of the wanted members, or tries to write elsewhere.
    """
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            f"{archive}: cannot be unpacked safely by this Python: use 3.10.12, 3.11.4 or newer, or unpack it by hand"
        )
    archive, pattern, found, total = Path(archive), re.compile(wanted), 0, 0
    try:
        with (
            open(archive, "rb") as file,
            _unpacked(file) as stream,
            tarfile.open(fileobj=Cautious(archive, stream), mode="r:") as members,
            tqdm(
                total=archive.stat().st_size,
                unit="B",
                unit_scale=True,
                desc=f"extracting {archive.name}",
                dynamic_ncols=True,
            ) as progress,
        ):
            for member in members:  # in the order of the file: going back in a .tgz means unpacking it anew
                if member.size < 0:
                    raise _unsafe(archive, f"{member.name} is {member.size} bytes")
                total += member.size
                if total > TOTAL or len(members.members) > MOST:
                    raise _unsafe(archive, f"it unpacks to more than {TOTAL} bytes or {MOST} files")
                _check_path(archive, member)
                name = str(PurePosixPath(member.name))  # without a leading ./
                if pattern.fullmatch(name):
                    _write(archive, members, member, Path(root) / name)
                    found += 1
                progress.update(file.tell() - progress.n)
    except DECODING as error:
        raise UserError(
            f"{archive}: cannot be read to its end ({' '.join(str(error).split())[:200]}): it is cut short "
            "or damaged: delete it and fetch it again"
        ) from error
    if not found:
        raise UserError(f"{archive}: holds none of the files {wanted.split('(')[0]}...: is it the official archive?")


class Cautious:
    """What tarfile reads from. It takes a header's word for the header's own size, and would read gigabytes at once
    and search them in quadratic time."""

    def __init__(self, archive, stream):
        self.archive, self.stream, self.tell = archive, stream, stream.tell

    def read(self, size):
        if not 0 <= size <= AT_ONCE:
            raise _unsafe(self.archive, f"a header claims {size} bytes")
        return self.stream.read(size)

    def seek(self, position):
        if position > TOTAL:
            raise _unsafe(self.archive, f"it unpacks to more than {TOTAL} bytes or {MOST} files")
        return self.stream.seek(position)


def _unpacked(file):
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if compressed else nullcontext(file)


def _unsafe(archive, reason):
    return UserError(f"{archive}: is unsafe, not the official archive, and was not unpacked further: {reason}")


def _check_path(archive, member):
    """One member that points out of the folder makes the whole archive suspect."""
    try:  # below a folder that does not exist: links that the user made below root are the user's affair
        tarfile.data_filter(member, "/no-such-folder")
    except tarfile.FilterError as error:
        raise _unsafe(archive, error) from error
    if PurePosixPath(member.name).is_absolute():  # the filter would only cut the slash off
        raise _unsafe(archive, f"{member.name} is an absolute path")


def _write(archive, members, member, path):
    if not member.isreg() or member.size > LARGEST:
        raise _unsafe(archive, f"{member.name} is " + (f"{member.size} bytes" if member.isreg() else "no plain file"))
    # A link under the file's name is replaced, never written through.
    if path.is_file() and not path.is_symlink() and path.stat().st_size == member.size:
        return
    content = members.extractfile(member)
    content = b"".join(iter(partial(content.read, AT_ONCE), b""))
    with atomic(path) as temporary:
        temporary.write_bytes(content)
