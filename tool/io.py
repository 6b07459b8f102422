"""Files of a run."""

import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from errors import UserError
from files import PNG_END, atomic, ends_with, remove_leftovers, save_lines
from tool.yaml_file import dump_yaml, read_yaml

# Map of AESIPE.forward -> folder of the run. The method's last map is the one that the later stages read.
CAM_FOLDERS = {"ae_is_cam": "cam", "is_cam": "is_cam", "cam": "classifier_cam"}

MAX_CAM_BYTES = 2 << 30  # unpacked


def save_cam(path, keys, cam, bits=16):
    """keys: uint8 [k], classes with background 0 first. cam: [k,H,W] in [0,1], stored as float16 or, with 8 bits, as
    uint8 in steps of 1/255."""
    cam = np.asarray(cam, np.float16) if bits == 16 else np.rint(np.asarray(cam) * 255).astype(np.uint8)
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, keys=np.asarray(keys, np.uint8), cam=cam)


def load_cam(path):
    """Returns (keys [k] int64 in 0-254, cam [k,H,W] float32, finite). Raises UserError if the file is missing, broken
    or unpacks to more than MAX_CAM_BYTES."""
    try:
        with zipfile.ZipFile(path) as archive:  # which never unpacks more than is declared
            declared = sum(member.file_size for member in archive.infolist())
        if declared > MAX_CAM_BYTES:
            raise UserError(f"{path}: unpacks to {declared / 2**30:.1f} GiB, more than {MAX_CAM_BYTES >> 30} GiB: it "
                            "is no CAM of make_cam.py")
        with np.load(path, allow_pickle=False) as data:
            keys, cam = np.asarray(data["keys"]), np.asarray(data["cam"])
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such CAM: run make_cam.py for this list first") from error
    except Exception as error:  # a damaged zip ends in errors of many kinds, a damaged array's header in any
        raise UserError(f"{path}: is no whole CAM file: delete it and run make_cam.py again") from error
    if cam.ndim != 3 or 0 in cam.shape or keys.shape != cam.shape[:1]:
        raise UserError(f"{path}: holds {keys.size} classes but maps of shape {list(cam.shape)}")
    if keys.dtype.kind not in "ui" or keys.min() < 0 or keys.max() > 254:
        raise UserError(f"{path}: its keys are no class numbers from 0 to 254")
    if cam.dtype == np.uint8:
        return keys.astype(np.int64), cam.astype(np.float32) / 255
    with np.errstate(over="ignore"):
        values = cam.astype(np.float32) if cam.dtype.kind == "f" else np.array(np.nan)
    if not np.isfinite(values).all():
        raise UserError(f"{path}: its maps hold values that are no finite floats or bytes")
    return keys.astype(np.int64), values


def is_whole(path):
    """Whether an output, .npz or .png, is there to its end."""
    try:
        return zipfile.is_zipfile(path) if path.suffix == ".npz" else ends_with(path, PNG_END)
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
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
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
        known = read_record(path)
        differing = differing_settings(known, record)
        if differing:
            key = differing[0]
            raise UserError(f"{folder} was made with other settings ({key}: {brief(known.get(key))} there, "
                            f"{brief(record.get(key))} now): delete it or choose another session_name")
        remove_leftovers(folder)
        return
    with atomic(path) as temporary:
        temporary.write_text(dump_yaml(record))


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
    return read_record(path)


def save_settings(run, section, settings):
    """Keep the settings as used, one section a stage, in the run's config.yaml."""
    config = load_run_config(run)
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


def read_record(path):
    """The settings in a YAML file that a stage wrote beside its outputs. Raises UserError."""
    record = read_yaml(path)
    if not isinstance(record, dict):
        raise UserError(f"{path}: must hold keys and values: delete what lies beside it and run its stage again")
    return record


def save_class_names(run, class_names):
    """Keep the names of the classes with the networks that know them, in the form of the dataset's classes.txt."""
    save_lines(Path(run) / "classes.txt", class_names)


def brief(value):
    """A value in at most 60 characters, for messages."""
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
