"""Archives whose content nobody vouches for, unpacked member by member."""

import re
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from errors import UserError
from files import atomic

LARGEST = 64 << 20  # bytes; the largest image, mask or annotation of VOC and SBD is a hundredth of it


def extract(archive, root, wanted):
    """Write the members of a tar archive whose names fit `wanted` below root; members that are there are kept.

    archive: .tar or .tgz. wanted: regular expression of whole names, such as `VOCdevkit/VOC2012/JPEGImages/\\w+\\.jpg`.
    Each file is written to a temporary name and renamed, so that a call that was killed is finished by the next.
    Raises UserError if the archive is cut short, holds none of the wanted members, or tries to write elsewhere.
    """
    if not hasattr(tarfile, "data_filter"):
        raise UserError(f"{archive}: cannot be unpacked safely by this Python: use 3.10.12, 3.11.4 or newer, or unpack "
                        "it by hand")
    archive, pattern, found = Path(archive), re.compile(wanted), 0
    try:
        with (open(archive, "rb") as file, tarfile.open(fileobj=file, mode="r:*") as members,
              tqdm(total=archive.stat().st_size, unit="B", unit_scale=True, desc=f"extracting {archive.name}",
                   dynamic_ncols=True) as progress):
            for member in members:  # in the order of the file: going back in a .tgz means unpacking it anew
                _check_path(archive, member)
                name = str(PurePosixPath(member.name))  # without a leading ./
                if pattern.fullmatch(name):
                    _write(archive, members, member, Path(root) / name)
                    found += 1
                progress.update(file.tell() - progress.n)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(f"{archive}: cannot be read to its end ({' '.join(str(error).split())}): it is cut short or "
                        "damaged: delete it and fetch it again") from error
    if not found:
        raise UserError(f"{archive}: holds none of the files {wanted.split('(')[0]}...: is it the official archive?")


def _check_path(archive, member):
    """One member that points out of the folder makes the whole archive suspect."""
    try:  # below a folder that does not exist: links that the user made below root are the user's affair
        tarfile.data_filter(member, "/no-such-folder")
    except tarfile.FilterError as error:
        raise UserError(f"{archive}: is unsafe, not the official archive, and was not unpacked further: "
                        f"{error}") from error
    if PurePosixPath(member.name).is_absolute():  # the filter would only cut the slash off
        raise UserError(f"{archive}: is unsafe, not the official archive, and was not unpacked further: {member.name} "
                        "is an absolute path")


def _write(archive, members, member, path):
    if not member.isreg() or member.size > LARGEST:
        raise UserError(f"{archive}: is unsafe, not the official archive: {member.name} is "
                        + (f"{member.size} bytes" if member.isreg() else "no plain file"))
    # A link under the file's name is replaced, never written through.
    if path.is_file() and not path.is_symlink() and path.stat().st_size == member.size:
        return
    content = members.extractfile(member).read()
    with atomic(path) as temporary:
        temporary.write_bytes(content)
