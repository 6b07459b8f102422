"""Images named on a command line, and names for what is made of them."""

import itertools
import os
from collections import Counter
from pathlib import Path

from data.image import IMAGE_SUFFIXES
from errors import UserError
from files import check_file

LONGEST_NAME = 200  # bytes: the names of outputs and of temporary files have up to 50 more, and 255 is the end


def find_images(paths, out):
    """({file, each once and in order: its folder below the one that was named}, a line for each that is none).

    Folders are searched in depth, but for hidden ones, for links to folders, which may lead in circles, and for `out`,
    the folder of the outputs.
    """
    found, problems = {}, []
    for path in map(Path, paths):
        try:
            files = _search(path, out, problems)
        except (UserError, OSError) as error:
            problems.append(
                f"{path}: cannot be searched: {error.strerror}" if isinstance(error, OSError) else str(error)
            )
            continue
        for file, folder in files:
            if len(os.fsencode(file.name)) > LONGEST_NAME:
                problems.append(
                    f"{file}: its name has more than {LONGEST_NAME} bytes, too many for the names of what is "
                    "made of it: rename it"
                )
            else:
                found.setdefault(os.path.abspath(file), (file, folder))
    return dict(found.values()), problems


def _search(path, out, problems):
    """[(image, its folder below path)] of a folder, or of one file. Adds a line for each folder that cannot be read."""
    if not path.is_dir():
        check_file(path)
        if not path.exists():
            raise UserError(f"{path}: no such image or folder")
        return [(path, Path())]
    own = os.path.realpath(out)
    if os.path.realpath(path) == own:
        raise UserError(f"{path}: is the folder of the outputs too: give another by --out")
    files = []
    for folder, below, names in os.walk(
        path, onerror=lambda error: problems.append(f"{error.filename}: cannot be searched: {error.strerror}")
    ):
        below[:] = sorted(
            name for name in below if not name.startswith(".") and os.path.realpath(os.path.join(folder, name)) != own
        )
        files += [
            (Path(folder, name), Path(folder).relative_to(path))
            for name in sorted(names)
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")
        ]
    if not files:
        raise UserError(f"{path}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return files


def output_names(files, out, endings):
    """{file: NAME} so that no two files share an output OUT/NAME + ending and none of these is an input.

    files: as `find_images` returns them. A NAME is that of the file below the folder that was searched, without the
    suffix, or with it where files of one folder differ in nothing else.
    """
    taken = {os.path.realpath(path).casefold() for path in files}
    alike = Counter(str(folder / path.stem).casefold() for path, folder in files.items())
    names = {}
    for path, folder in files.items():
        more = (f"{path.name}_{number}" for number in itertools.count(2))
        alone = [path.stem] if alike[str(folder / path.stem).casefold()] == 1 else []
        for name in itertools.chain(alone, [path.name, f"{path.resolve().parent.name}_{path.name}"], more):
            outputs = {os.path.realpath(out / folder / f"{name}{ending}").casefold() for ending in endings}
            if not outputs & taken:
                break
        taken |= outputs
        names[path] = folder / name
    return names
