"""Archives whose content nobody vouches for: of their members only plain files of expected names are written."""

import re
import tarfile
from pathlib import Path

from tqdm import tqdm

from errors import UserError
from files import atomic

LARGEST = 64 << 20  # bytes; the largest image, mask or annotation of VOC and SBD has a hundredth of it
LARGEST_HEADER = 8 << 10  # bytes of a long name or of further facts about a member: tarfile reads them in one go
TOTAL = 16 << 30  # bytes of all members; VOC unpacks to 2, SBD to 1.6 GB
MOST = 200_000  # members, of which tarfile remembers all; VOC and SBD have some 40,000 each


class UnsafeError(Exception):
    """What is wrong with a hostile archive."""


class Header(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, *arguments):
        header = super().frombuf(*arguments)
        if header.size > LARGEST_HEADER and not header.isreg():
            raise UnsafeError(f"a header claims {header.size} bytes")
        return header


def extract(archive, root, wanted):
    """Write the members of a tar archive whose names fit `wanted` below root; members that are there are kept.

    archive: .tar or .tgz. wanted: regular expression of whole names, such as `VOCdevkit/VOC2012/JPEGImages/\\w+\\.jpg`,
    that no name fits which leads elsewhere. Each file is written to a temporary name and renamed, so that a call that
    was killed is finished by the next, and a link under its name is replaced, never written through.
    Raises UserError if the archive is cut short, or unsafe, or holds none of the wanted members.
    """
    if not hasattr(tarfile, "data_filter"):
        raise UserError(f"{archive}: cannot be unpacked safely by this Python: use 3.10.12, 3.11.4 or newer")
    archive, found = Path(archive), False
    try:
        with (
            open(archive, "rb") as file,
            tarfile.open(fileobj=file, tarinfo=Header) as members,
            tqdm(
                desc=f"extracting {archive.name}",
                total=archive.stat().st_size,
                unit="B",
                unit_scale=True,
                dynamic_ncols=True,
            ) as progress,
        ):
            for member in _within_bounds(members):
                name = member.name.removeprefix("./")
                if re.fullmatch(wanted, name):
                    _write(members, member, Path(root) / name)
                    found = True
                progress.update(file.tell() - progress.n)
    except UserError:
        raise
    except (UnsafeError, tarfile.FilterError) as error:
        raise UserError(
            f"{archive}: is unsafe, not the official archive, and was not unpacked further: {error}"
        ) from error
    except Exception as error:  # damaged archives raise anything from EOFError to RecursionError
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{archive}: cannot be read to its end ({reason}): it is cut short or damaged: delete it and fetch it again"
        ) from error
    if not found:
        raise UserError(f"{archive}: holds none of the files {wanted.split('(')[0]}...: is it the official archive?")


def _within_bounds(members):
    """The members that are no bombs and lead nowhere else, in order: going back in a .tgz means unpacking it anew."""
    total = 0
    for member in members:
        total += member.size
        if member.size < 0 or total > TOTAL or len(members.members) > MOST:
            raise UnsafeError(f"it unpacks to more than {TOTAL} bytes or {MOST} files")
        tarfile.data_filter(member, "/no-such-folder")  # one that leads elsewhere makes all of them suspect
        yield member


def _write(members, member, path):
    if not member.isreg() or member.size > LARGEST:
        raise UnsafeError(f"{member.name} is " + (f"{member.size} bytes" if member.isreg() else "no plain file"))
    if path.is_file() and not path.is_symlink() and path.stat().st_size == member.size:
        return
    content = members.extractfile(member).read()
    with atomic(path) as temporary:
        temporary.write_bytes(content)
