"""Where VOC 2012 and SBD come from: trees and archives that lie somewhere, or a download."""

import errno
import http.client
import os
import socket
from pathlib import Path
from typing import NamedTuple

from errors import UserError
from files import atomic
from voc12.extract import extract

TIMEOUT = 60  # seconds without a byte before a host counts as down
ID = r"\d{4}_\d{6}"


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


TREE = "VOCdevkit/VOC2012"
SOURCES = {  # addresses and sums as torchvision has them
    "voc": Source(
        "VOC 2012 trainval",
        "VOCtrainval_11-May-2012.tar",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "6cd6e144f989b92b3379bac3b3de84fd",
        TREE,
        rf"{TREE}/(JPEGImages/{ID}\.jpg|Annotations/{ID}\.xml|SegmentationClass/{ID}\.png"
        r"|ImageSets/Segmentation/(train|val)\.txt)",
        ("SegmentationClass", "ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt"),
        "name an extracted VOCdevkit/VOC2012 by --voc_root",
    ),
    # The evaluation server hands it to those who register: torchvision knows neither a URL nor a sum.
    "test": Source(
        "VOC 2012 test",
        "VOC2012test.tar",
        "http://host.robots.ox.ac.uk:8080",
        None,
        TREE,
        rf"{TREE}/(JPEGImages/{ID}\.jpg|ImageSets/Segmentation/test\.txt)",
        ("ImageSets/Segmentation/test.txt",),
        "",
    ),
    "sbd": Source(
        "SBD",
        "benchmark.tgz",
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
        "82b4d87ceb2ed10f6038a1cba92111cb",
        "benchmark_RELEASE/dataset",
        rf"benchmark_RELEASE/dataset/(cls/{ID}\.mat|(train|val)\.txt)",
        ("cls",),
        "name masks of your own by --aug_dir",
    ),
}


def locate(kind, root, places=(), download=False, mirror=None):
    """The folder of an extracted tree, after extracting or downloading its archive into root if need be.

    kind: key of SOURCES. places: folders that are searched after root for the tree or the archive, or archives.
    mirror: URL of a folder that holds the archives under their own names.
    Returns None if it is nowhere and may not or cannot be downloaded. Raises UserError as `extract` and `fetch`.
    """
    source, root = SOURCES[kind], Path(root)
    tree = root / source.tree
    unfinished = tree / f".{source.name}.unfinished"
    places = [root, *map(Path, places)]
    if not unfinished.exists():
        found = find_tree(source, places)
        if found:
            return found
    archive = find_archive(source, places)
    if archive is None and download and source.md5:
        archive = fetch(source, root, mirror)
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
    partial = path.with_name(f".{path.name}.partial")
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    print(f"downloading {url} to {path}", flush=True)
    try:
        download_url(url, str(path.parent), partial.name, source.md5)
        os.replace(partial, path)
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        # A RuntimeError is torchvision's checksum: the partial file stands for nothing, so it goes.
        partial.unlink(missing_ok=True)
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise UserError(f"{path}: cannot be written: {error.strerror}: make room and run this again") from error
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
    try:
        whole = check_integrity(str(archive), source.md5)
    except OSError as error:
        raise UserError(f"{archive}: cannot be read: {error.strerror}") from error
    if not whole:
        raise UserError(
            f"{archive}: its MD5 is not {source.md5}: it is cut short or damaged: delete it and fetch "
            f"{source.url} again"
        )


def missing(kind, root, places=()):
    """The error for a part that is nowhere: where it was looked for and every way to get it."""
    source = SOURCES[kind]
    looked = ", ".join(map(str, [root, *places]))
    return UserError(
        f"{source.title} is missing (looked in {looked}): fetch {source.url}, put it into {root} or name "
        f"its folder by --sources, {source.flag}, or give --download"
    )
