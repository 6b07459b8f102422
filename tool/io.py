"""Files of a run."""

import hashlib
import json
from pathlib import Path

from errors import UserError
from files import atomic, check_file, in_threads, read_stamp, remove_leftovers, save_lines
from tool.yaml_file import dump_yaml, read_yaml


def outdated(stamps, folders, suffix):
    """Those IDs, in order, whose output is missing, cut short or made from another image in one of the folders.

    stamps: {ID: stamp that its outputs must have}, see `files`.
    """

    def is_current(image_id):
        return all(read_stamp(folder / f"{image_id}{suffix}") == stamps[image_id] for folder in folders)

    return [image_id for image_id, current in zip(stamps, in_threads(is_current, stamps)) if not current]


def require_outputs(stamps, folder, suffix, script):
    """Raises UserError, before hours are spent, if another stage's output of an image is not as `outdated` asks."""
    wrong = outdated(stamps, [folder], suffix)
    if not wrong:
        return
    path = folder / f"{wrong[0]}{suffix}"
    what = (
        "is missing"
        if not path.exists()
        else "is cut short"
        if read_stamp(path) is None
        else "was made from another image or other labels"
    )
    others = f", as are {len(wrong) - 1} more of {len(stamps)}" if len(wrong) > 1 else ""
    raise UserError(f"{path}: {what}{others}: run {script} for this list first; what it has made already stays")


def save_json(path, value):
    """Write a dict, and with it its checksum."""
    remove_leftovers(Path(path).parent)
    with atomic(path) as temporary:
        temporary.write_text(json.dumps({**value, "checksum": _checksum(value)}, indent=1) + "\n")


def load_json(path):
    """The dict in a file of `save_json`, or None if there is no such file. One without a checksum is of an earlier
    version. Raises UserError for a damaged one."""
    check_file(path)
    try:
        value = json.loads(Path(path).read_text())
        if not isinstance(value, dict) or value.pop("checksum", None) not in (None, _checksum(value)):
            raise ValueError("other content than was written")
        return value
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: is not valid JSON, or changed since it was written: delete it and run its stage again"
        ) from error


def _checksum(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def save_settings(run, section, settings):
    """Keep the settings as used, one section a stage, in the run's config.yaml."""
    remove_leftovers(run)
    config = load_run_config(run)
    if config.get(section) == settings:
        return
    config[section] = settings
    with atomic(Path(run) / "config.yaml") as temporary:
        temporary.write_text(dump_yaml(config))


def load_run_config(run):
    """The settings as used, {section: {key: value}}; {} for a run that has none yet."""
    path = Path(run) / "config.yaml"
    config = read_yaml(path) if path.exists() else None
    if config is None:
        return {}
    sections = [config, *config.values()] if isinstance(config, dict) else [None]
    if not all(isinstance(section, dict) and all(isinstance(key, str) for key in section) for section in sections):
        raise UserError(f"{path}: must hold sections of keys and values: delete it if it is damaged")
    return config


def save_class_names(run, class_names):
    """Keep the names of the classes with the networks that know them, in the form of the dataset's classes.txt."""
    save_lines(Path(run) / "classes.txt", class_names)
