"""The content of a dataset's files: a digest of each and what was found right with it, computed once.

They are kept beside the dataset in INDEX, or, where that cannot be written, in a spare folder such as the run's; a file
whose size or times changed is looked at again by the next stage. So nothing is read twice in eleven stages, and a list
of 10,000 images costs as many calls of stat in each: many file systems answer them slowly.
"""

import hashlib
import json
import os
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from errors import UserError
from files import PNG_END, atomic, check_file

INDEX = ".aesipe_index.json"
# What the two formats that nearly all photographs have begin and end with.
ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": PNG_END}


class Facts(NamedTuple):
    """digest: of the bytes, 32 hexadecimal digits. size: (H, W). top: the largest class in a mask, -1 for images."""

    digest: str
    size: tuple
    top: int = -1


class Index:
    """root: of the dataset. spare: a folder for the index where root cannot be written, or None."""

    def __init__(self, root, spare=None):
        self.root, self.places = Path(root), [Path(place) for place in (root, spare) if place is not None]
        self._changed, self._seen = False, set()

    def look(self, path, find_facts):
        """The Facts of a file. find_facts: function (path, bytes) -> (size, top), which raises UserError."""
        key = os.path.relpath(path, self.root)
        known = self._known.get(key)
        if key in self._seen:
            return _facts(known)
        check_file(path)
        try:
            status = os.stat(path)
            signature = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            if known is None or known[:3] != signature:
                content = Path(path).read_bytes()
                (height, width), top = find_facts(path, content)
                known = [*signature, digest(content), height, width, top]
                self._known[key], self._changed = known, True
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        self._seen.add(key)
        return _facts(known)

    def save(self):
        """Keep what was found since it was read, in the first place that can be written; others may go on looking."""
        if not self._changed:
            return
        self._changed = False  # before the copy: what is found from now on is for the next call
        text = json.dumps(self._known.copy())
        for place in self.places:
            try:
                with atomic(place / INDEX) as temporary:
                    temporary.write_text(f"{digest(text.encode())}\n{text}\n", encoding="utf-8")
            except UserError:  # a dataset that others own: the next place
                continue
            return
        self._changed = True

    @cached_property
    def _known(self):
        """{path from root: [size, mtime, ctime, digest, height, width, top]}; of a damaged index nothing."""
        known = {}
        for place in reversed(self.places):
            try:
                check_file(place / INDEX)
                check, text = (place / INDEX).read_text(encoding="utf-8").splitlines()
                known |= json.loads(text) if digest(text.encode()) == check else {}
            except (OSError, ValueError, UserError):
                pass
        return known


def _facts(known):
    return Facts(known[3], (known[4], known[5]), known[6])


def digest(content):
    """32 hexadecimal digits that differ where bytes differ."""
    return hashlib.sha256(content).hexdigest()[:32]


def ends_well(content):
    """Whether the bytes of an image file end as its format does: one that does not must be decoded to know."""
    end = ENDS.get(content[:2])
    return end is not None and content.endswith(end)
