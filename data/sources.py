"""Where official data sets come from: trees and archives that lie somewhere, or a download."""

import errno
import http.client
import socket
from pathlib import Path
from typing import NamedTuple

from data.extract import extract
from errors import UserError
from files import atomic, remove_leftovers

TIMEOUT = 60  # seconds without a byte before a host counts as down


class Source(NamedTuple):
    """A part of the data set: what it is called, its archive, and how its tree is known."""

    title: str
    name: str  # of the archive
    url: str
    md5: str | None
    tree: str  # where the archive unpacks to
    wanted: str  # members of it, as a regular expression
    signs: tuple  # any of these in a folder makes it the tree
    flag: str  # names the tree by hand


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
    if archive is None and download:
        archive = fetch(source, root, settings.mirror)
    if archive is None:
        if unfinished.exists():
            raise UserError(f"{tree}: was extracted only in part, and {source.name} is gone: put it into {root} again")
        return None
    _verify(source, archive)
    with atomic(unfinished) as temporary:
        temporary.touch()
    extract(archive, root, source.wanted)
    unfinished.unlink()
    return tree


def require(source, settings):
    """As `locate`, with a download if settings.download. What is nowhere is a UserError that says how to get it."""
    tree = locate(source, settings, settings.download)
    if tree is None:
        looked = ", ".join(map(str, [settings.dataset_root, *settings.sources]))
        raise UserError(
            f"{source.title} is missing (looked in {looked}): fetch {source.url}, put it into "
            f"{settings.dataset_root} or name its folder by --sources, {source.flag}, or give --download"
        )
    return tree


def find_tree(source, places):
    """The first tree in the places or a level below them, or None."""
    last = Path(source.tree).name
    below = [place / tree for place in _with_subfolders(places) for tree in (source.tree, last)]
    return next((tree for tree in [*places, *below] if any((tree / sign).exists() for sign in source.signs)), None)


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


def fetch(source, root, mirror=None):
    """Download an archive into root and return its path. Raises UserError saying what to put where by hand."""
    from torchvision.datasets.utils import download_url

    if mirror and not mirror.startswith(("http://", "https://")):
        raise UserError(f"--mirror {mirror}: must start with http:// or https:// (folders are named by --sources)")
    url = f"{mirror.rstrip('/')}/{source.name}" if mirror else source.url
    path = Path(root) / source.name
    remove_leftovers(root)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    print(f"downloading {url} to {path}", flush=True)
    with atomic(path) as partial:
        try:
            download_url(url, str(path.parent), partial.name, source.md5)
        except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:  # RuntimeError: another MD5
            if getattr(error, "errno", None) == errno.ENOSPC:  # `atomic` says it
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{url}: cannot be fetched ({reason}): fetch it on another machine and put it into "
                f"{path.parent} as {path.name}, or name another host by --mirror"
            ) from error
        finally:
            socket.setdefaulttimeout(timeout)
    return path


def _verify(source, archive):
    if source.md5 is None:
        return
    from torchvision.datasets.utils import check_integrity

    print(f"checking {archive}", flush=True)
    if not check_integrity(str(archive), source.md5):
        raise UserError(
            f"{archive}: its MD5 is not {source.md5}: it is cut short or damaged: delete it and fetch "
            f"{source.url} again"
        )
