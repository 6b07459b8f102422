"""Archives whose content nobody vouches for: of their members only plain files of expected names are written."""

import io
import os
import re
import shutil
import stat
import tarfile
import zipfile
from functools import partial
from pathlib import Path, PurePosixPath

from errors import UserError
from files import atomic, check_file
from progress import progress_bar

LARGEST = 64 << 20  # bytes; the largest image, mask or annotation of VOC and SBD has a hundredth of it
LARGEST_HEADER = 8 << 10  # bytes of a long name or of further facts about a member: tarfile reads them in one go
TOTAL = 16 << 30  # bytes of all members; VOC unpacks to 2, SBD to 1.6 GB
MOST = 200_000  # members, of which both modules remember all; VOC and SBD have some 40,000 each, COCO 82,783
LARGEST_DIRECTORY = 32 << 20  # bytes of a zip's table of members, read in one go; COCO's longest has 9 MB
CHUNK = 1 << 20  # bytes


class UnsafeError(Exception):
    """What is wrong with a hostile archive."""


class Header(tarfile.TarInfo):
    """What a tar file says of a member. tarfile sets the type after the size, and reads what is no file in one go."""

    @property
    def type(self):
        return tarfile.TarInfo.type.__get__(self)

    @type.setter
    def type(self, value):
        tarfile.TarInfo.type.__set__(self, value)
        if self.size > LARGEST_HEADER and not self.isreg():
            raise UnsafeError(f"a header claims {self.size} bytes")


class BoundedFile(io.FileIO):
    """A zip file, of which zipfile would read a table of members of any size."""

    def read(self, size=-1):
        size = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
        if size > LARGEST_DIRECTORY:
            raise UnsafeError(f"its table of members claims {size} bytes")
        return super().read(size)


def extract(archive, root, wanted, largest=LARGEST):
    """Write the members of an archive whose names fit `wanted` below root; those that are there whole are kept.

    archive: .tar, .tgz or .zip. wanted: regular expression of whole names, such as
    `VOCdevkit/VOC2012/JPEGImages/\\w+\\.jpg`, that no name fits which leads elsewhere. largest: bytes of a member. Each
    file is written to a temporary name and renamed, so that a call that was killed is finished by the next, and a link
    under its name is replaced, never written through. None is flushed to the disk: the caller calls os.sync, and this
    again after a power cut before that.
    Raises UserError if the archive is cut short, or unsafe, or holds none of the wanted members.
    """
    if not hasattr(tarfile, "data_filter"):
        raise UserError(f"{archive}: cannot be unpacked safely by this Python: use 3.10.12, 3.11.4 or newer")
    archive, found = Path(archive), False
    unpack = _unpack_zip if archive.suffix == ".zip" else _unpack_tar
    try:
        total = archive.stat().st_size
        with progress_bar(f"dataset: extracting {archive.name}", total=total, unit="B", unit_scale=True) as progress:
            found = unpack(archive, Path(root), re.compile(wanted), largest, progress)
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


def _unpack_tar(archive, root, wanted, largest, progress):
    """Whether any member was wanted."""
    found = False
    with open(archive, "rb") as file, tarfile.open(fileobj=file, tarinfo=Header) as members:
        for member in _within_bounds(members):
            name = member.name.removeprefix("./")
            if wanted.fullmatch(name):
                if not member.isreg():
                    raise UnsafeError(f"{member.name} is no plain file")
                # Read at once: what is wrong with the archive is not to be said of the file that is written.
                content = partial(lambda each: io.BytesIO(members.extractfile(each).read()), member)
                _write(content, member.name, member.size, largest, root / name)
                found = True
            progress.update(file.tell() - progress.n)
    return found


def _within_bounds(members):
    """The members that are no bombs and lead nowhere else, in order: going back in a .tgz means unpacking it anew."""
    total = 0
    for member in members:
        total += member.size
        if member.size < 0 or total > TOTAL or len(members.members) > MOST:
            raise UnsafeError(f"it unpacks to more than {TOTAL} bytes or {MOST} files")
        tarfile.data_filter(member, "/no-such-folder")  # one that leads elsewhere makes all of them suspect
        yield member


def _unpack_zip(archive, root, wanted, largest, progress):
    """Whether any member was wanted. zipfile gives no member more bytes than its table says, so that counts here."""
    with BoundedFile(archive) as file, zipfile.ZipFile(file) as members:
        infos = members.infolist()
        if len(infos) > MOST or sum(info.file_size for info in infos) > TOTAL:
            raise UnsafeError(f"it unpacks to more than {TOTAL} bytes or {MOST} files")
        for info in infos:
            if ".." in PurePosixPath(info.filename).parts or info.filename.startswith("/") or "\\" in info.filename:
                raise UnsafeError(f"{info.filename!r} would be written elsewhere")
        chosen = [info for info in infos if wanted.fullmatch(info.filename)]
        for info in chosen:
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                raise UnsafeError(f"{info.filename} is no plain file")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack in one go
                raise UnsafeError(f"{info.filename} is packed in another way than zip files are")
            _write(partial(members.open, info), info.filename, info.file_size, largest, root / info.filename)
            progress.update(info.compress_size)
    return bool(chosen)


def _write(open_member, name, size, largest, path):
    if size > largest:
        raise UnsafeError(f"{name} is {size} bytes")
    if path.is_file() and not path.is_symlink() and path.stat().st_size == size and _holds(path, open_member):
        return
    with open_member() as content, atomic(path, flush=False) as temporary, open(temporary, "wb") as file:
        shutil.copyfileobj(content, file, CHUNK)


def _holds(path, open_member):
    """Whether a file has a member's content: after a power cut one of the right size may hold zeros."""
    check_file(path)
    with open_member() as content, open(path, "rb") as file:
        while block := content.read(CHUNK):
            if file.read(len(block)) != block:
                return False
    return True
