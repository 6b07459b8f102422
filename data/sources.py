"""Where official data sets come from: trees and archives that lie somewhere, or a download."""

import errno
import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from data.extract import LARGEST, extract
from errors import UserError
from files import atomic, rename, writing
from progress import progress_bar

TIMEOUT = 60  # seconds without a byte before a host counts as down
CHUNK = 1 << 20  # bytes
GB = 10**9


class Source(NamedTuple):
    """A part of the data set: what it is called, its archive, and how its tree is known."""

    title: str
    name: str  # of the archive
    url: str
    md5: str | None
    tree: str  # where the archive unpacks to
    wanted: str  # members of it, as a regular expression
    signs: tuple  # any of these in a folder makes it the tree; patterns as those of shells
    flag: str  # names the tree by hand
    size: int = 0  # bytes of the archive, and of what is wanted of it
    unpacked: int = 0
    largest: int = LARGEST  # bytes of a member
    others: tuple = ()  # more addresses of the archive, for when the host of `url` is down


def locate(source, settings, download=False):
    """The folder of a Source's extracted tree, after extracting or downloading its archive if need be.

    settings: of the dataset stage. dataset_root is where archives are unpacked, and is searched first for the tree or
    the archive; then the sources, folders or archives. download: if it is nowhere, fetch it into dataset_root.
    Returns None if it is nowhere. Raises UserError as `extract` and `fetch`.
    """
    root, places = Path(settings.dataset_root), [Path(place) for place in settings.sources]
    gone = next((place for place in places if not place.exists()), None)
    if gone is not None:
        raise UserError(f"--sources {gone}: no such folder or archive")
    places.insert(0, root)
    tree = root / source.tree
    unfinished = tree / f".{source.name}.unfinished"
    if not unfinished.exists():
        found = find_tree(source, places)
        if found:
            return found
    archive = find_archive(source, places)
    if archive is not None:
        _verify(source, archive)
    elif download:
        archive = fetch(source, root, settings.mirror)
    elif unfinished.exists():
        raise UserError(f"{tree}: was extracted only in part, and {source.name} is gone: put it into {root} again")
    else:
        return None
    with atomic(unfinished) as temporary:
        temporary.touch()
    os.sync()  # or a power cut could keep members, and not the sign that they may be cut short
    extract(archive, root, source.wanted, source.largest)
    os.sync()  # all members together: one by one all of it takes eight times as long
    unfinished.unlink()
    return tree


def require(source, settings):
    """As `locate`, with a download if settings.download. What is nowhere is a UserError that says how to get it."""
    tree = locate(source, settings, settings.download)
    if tree is None:
        looked = ", ".join(map(str, [settings.dataset_root, *settings.sources]))
        raise UserError(
            f"{source.title} is missing (looked in {looked}): fetch {source.url}, put it into "
            f"{settings.dataset_root} or name its folder by --sources, {source.flag + ', ' * bool(source.flag)}or give "
            "--download"
        )
    return tree


def find_tree(source, places):
    """The first tree in the places or a level below them, or None."""
    last = Path(source.tree).name
    below = [place / tree for place in _with_subfolders(places) for tree in (source.tree, last)]
    return next((tree for tree in [*places, *below] if any(_holds(tree, sign) for sign in source.signs)), None)


def _holds(tree, sign):
    return next(tree.glob(sign), None) is not None if "*" in sign else (tree / sign).exists()


def find_archive(source, places):
    """The first archive of that name among the places, in them or a level below them, or None."""
    files = [place for place in places if place.name == source.name]
    files += [place / source.name for place in _with_subfolders(places)]
    return next((path for path in files if path.is_file()), None)


def _with_subfolders(places):
    for place in places:
        if place.is_dir():
            yield place
            yield from (path for path in sorted(place.iterdir()) if path.is_dir())


def missing_bytes(source, settings):
    """What extracting and, with settings.download, fetching a Source will still write into dataset_root."""
    root, places = Path(settings.dataset_root), [Path(place) for place in settings.sources]
    tree = root / source.tree
    unfinished = (tree / f".{source.name}.unfinished").exists()
    if not unfinished and find_tree(source, [root, *places]):
        return 0
    there = sum(path.stat().st_size for path in tree.iterdir()) if unfinished else 0
    fetched = 0
    if find_archive(source, [root, *places]) is None:
        partial = _partial(root / source.name)
        fetched = source.size - (partial.stat().st_size if partial.exists() else 0)
    return max(0, fetched) + max(0, source.unpacked - there)


def check_space(root, needed, what):
    """The free bytes of the disk of a folder, which need not exist yet. Raises UserError if they are fewer than needed.

    what: needs them, for the message."""
    there = next(path for path in (root, *root.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise UserError(
            f"{root}: {what} need {needed / GB:.1f} GB, and {free / GB:.1f} GB are free: make room, or give a "
            "--dataset_root on another disk"
        )
    return free


def fetch(source, root, mirror=None):
    """Download an archive into root and return its path. A download that was stopped is continued; where an address
    fails, the next one is tried.

    Raises UserError saying what to put where by hand.
    """
    if mirror and not mirror.startswith(("http://", "https://")):
        raise UserError(f"--mirror {mirror}: must start with http:// or https:// (folders are named by --sources)")
    path = Path(root) / source.name
    partial = _partial(path)
    failures = []
    for url in [f"{mirror.rstrip('/')}/{source.name}"] if mirror else [source.url, *source.others]:
        print(f"downloading {url} to {path}", flush=True)
        failure = _fetch_from(url, source, path)
        if failure is None:
            rename(partial, path)
            return path
        failures.append(f"{url}: cannot be fetched ({failure})")
    there = partial.stat().st_size if partial.exists() else 0
    go_on = f"run this again to continue from byte {there}, " * bool(there)
    raise UserError(
        f"{', '.join(failures)}: {go_on}fetch it on another machine and put it into {path.parent} as {path.name}, or "
        "name another host by --mirror"
    )


def _fetch_from(url, source, path):
    """Download to `_partial(path)`. Returns None, or why it failed."""
    partial = _partial(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _download(url, partial)
        except (OSError, ValueError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):  # `writing` says it
                raise
            return " ".join(str(error).split()) or type(error).__name__
        if source.md5 and md5_of(partial) != source.md5:
            partial.unlink()
            return f"its MD5 is not {source.md5}"
    return None


def _partial(path):
    return path.with_name(f".{path.name}.download")


def _download(url, path):
    """Fetch what a file that is there lacks, all of it where the host does not give parts."""
    there = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if there and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # it was whole
            return
        raise
    with response:
        there = there if response.status == http.client.PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length", "")
        total = there + int(length) if length.isdigit() else None
        title = f"dataset: fetching {url.rpartition('/')[2]}"
        with (
            open(path, "ab" if there else "wb") as file,
            progress_bar(title, total=total, initial=there, unit="B", unit_scale=True) as progress,
        ):
            while block := response.read(CHUNK):
                file.write(block)
                progress.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    if total is not None and path.stat().st_size != total:
        raise ValueError(f"the host gave {path.stat().st_size} of {total} bytes")


def md5_of(path):
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _verify(source, archive):
    if source.md5 is None:
        return
    print(f"checking {archive}", flush=True)
    if md5_of(archive) != source.md5:
        raise UserError(
            f"{archive}: its MD5 is not {source.md5}: it is cut short or damaged: delete it and fetch "
            f"{source.url} again"
        )
