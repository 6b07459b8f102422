"""Images named on a command line, and names for what is made of them."""

import itertools
import os
from pathlib import Path

from data.layout import IMAGE_SUFFIXES, image_files
from errors import UserError


def find_images(paths, out):
    """(files, each once and in order; a line for each path that has none). Folders are not searched in depth."""
    files, problems = {}, []
    for path in map(Path, paths):
        try:
            found = [path]
            if path.is_dir():
                if out.is_dir() and out.samefile(path):
                    raise UserError(f"{path}: is the folder of the outputs too: give another by --out")
                found = sorted(path / name for names in image_files(path).values() for name in names)
            if not found:
                problems.append(f"{path}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
            elif path == found[0] and not path.is_file():
                problems.append(f"{path}: no such image or folder")
            else:
                files |= {os.path.abspath(each): each for each in found}
        except OSError as error:
            problems.append(f"{path}: cannot be searched: {error.strerror}")
    return list(files.values()), problems


def output_names(files, out, endings):
    """{file: NAME} so that no two files share an output OUT/NAME + ending and none of these is an input."""
    taken = {os.path.realpath(path).casefold() for path in files}
    names = {}
    for path in files:
        more = (f"{path.name}_{number}" for number in itertools.count(2))
        for name in itertools.chain([path.stem, path.name, f"{path.resolve().parent.name}_{path.name}"], more):
            outputs = {os.path.realpath(out / f"{name}{ending}").casefold() for ending in endings}
            if not outputs & taken:
                break
        taken |= outputs
        names[path] = name
    return names
