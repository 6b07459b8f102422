"""Files of a run."""

import json
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import yaml

from errors import UserError
from files import atomic, remove_leftovers

# Map of AESIPE.forward -> folder of the run. The method's last map is the one that the later stages read.
CAM_FOLDERS = {"ae_is_cam": "cam", "is_cam": "is_cam", "cam": "classifier_cam"}


PNG_END = b"IEND\xaeB`\x82"


def save_cam(path, keys, cam, bits=16):
    """keys: uint8 [k], classes with background 0 first. cam: [k,H,W] in [0,1], stored as float16 or, with 8 bits, as
    uint8 in steps of 1/255."""
    cam = np.asarray(cam, np.float16) if bits == 16 else np.rint(np.asarray(cam) * 255).astype(np.uint8)
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, keys=np.asarray(keys, np.uint8), cam=cam)


def load_cam(path):
    """Returns (keys [k] int64, cam [k,H,W] float32). Raises UserError if the file is missing or broken."""
    try:
        with np.load(path, allow_pickle=False) as data:
            keys, stored = data["keys"].astype(np.int64), data["cam"]
            cam = stored.astype(np.float32)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such CAM: run make_cam.py for this list first") from error
    except (OSError, ValueError, KeyError, EOFError, TypeError, NotImplementedError, zlib.error,
            zipfile.BadZipFile) as error:
        raise UserError(f"{path}: is no whole CAM file: delete it and run make_cam.py again") from error
    if cam.ndim != 3 or keys.shape != cam.shape[:1]:
        raise UserError(f"{path}: holds {keys.shape[0]} classes but maps of shape {list(cam.shape)}")
    return keys, cam / 255 if stored.dtype == np.uint8 else cam


def is_whole(path):
    """Whether an output, .npz or .png, is there to its end."""
    try:
        if path.suffix == ".npz":
            return zipfile.is_zipfile(path)
        with open(path, "rb") as file:
            file.seek(-len(PNG_END), 2)
            return file.read() == PNG_END
    except OSError:
        return False


def missing_ids(ids, folders, suffix):
    """Those IDs, in order, whose output is not whole in every folder."""
    with ThreadPoolExecutor(8) as pool:
        whole = pool.map(lambda image_id: all(is_whole(folder / f"{image_id}{suffix}") for folder in folders), ids)
        return [image_id for image_id, there in zip(ids, whole) if not there]


def require_outputs(ids, folder, suffix, stage):
    """Raises UserError, before hours are spent, if another stage's output of an image is missing or cut short."""
    missing = missing_ids(ids, [folder], suffix)
    if missing:
        path = folder / f"{missing[0]}{suffix}"
        others = f", as are {len(missing) - 1} more of {len(ids)}" if len(missing) > 1 else ""
        raise UserError(f"{path}: is {'cut short' if path.exists() else 'missing'}{others}: run {stage} for this list "
                        "first; what it has made already stays")


def save_json(path, value):
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def load_json(path):
    """Returns the value, or None if there is no such file."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path}: is not valid JSON: delete it and run its stage again") from error


def claim_folder(folder, settings, source=None):
    """Tie an output folder to the settings that made it, so that outputs of two configurations never mix.

    settings: plain values (`tool.config.settings`). source: the folder or file that the stage reads, whose own record
    becomes part of this one. Raises UserError naming the first setting that differs from the folder's record. Removes
    what a killed process left half written.
    """
    record = {**settings, "source": source_record(source)}
    path = Path(folder) / "settings.yaml"
    if path.exists():
        known = yaml.safe_load(path.read_text())
        differing = differing_settings(known, record)
        if differing:
            key = differing[0]
            raise UserError(f"{folder} was made with other settings ({key}: {brief(known.get(key))} there, "
                            f"{brief(record.get(key))} now): delete it or choose another session_name")
        remove_leftovers(folder)
        return
    with atomic(path) as temporary:
        temporary.write_text(yaml.safe_dump(record, sort_keys=False))


def differing_settings(known, record):
    """The keys whose values differ between two records of settings; a key that one lacks counts as None there."""
    return [key for key in {**known, **record} if known.get(key) != record.get(key)]


def source_record(source):
    """The settings that made a folder or a checkpoint, so that what is made from it can name them.

    Raises UserError if its stage has not made it. None for None.
    """
    if source is None:
        return None
    source = Path(source)
    path = source / "settings.yaml" if source.is_dir() else source.with_suffix(".yaml")
    if not path.exists():
        raise UserError(f"{source} is missing or unfinished: run the stage that makes it first")
    return yaml.safe_load(path.read_text())


def save_settings(run, section, settings):
    """Keep the settings as used, one section a stage, in the run's config.yaml."""
    config = load_run_config(run)
    config[section] = settings
    with atomic(Path(run) / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False))


def load_run_config(run):
    """The settings as used, {section: {key: value}}; {} for a run that has none yet."""
    path = Path(run) / "config.yaml"
    try:
        config = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict) or not all(isinstance(section, dict) for section in config.values()):
        raise UserError(f"{path}: must hold sections of keys and values: delete it if it is damaged")
    return config


def save_class_names(run, class_names):
    """Keep the names of the classes with the networks that know them, in the form of the dataset's classes.txt."""
    with atomic(Path(run) / "classes.txt") as temporary:
        temporary.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")


def brief(value):
    """A value in at most 60 characters, for messages."""
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
