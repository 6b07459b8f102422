"""Files of a run."""

import hashlib
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from errors import UserError
from files import atomic, check_file, read_stamp, remove_leftovers, save_lines, stamp_zip
from tool.settings import brief
from tool.yaml_file import dump_yaml, read_yaml

MAX_CAM_BYTES = 2 << 30  # unpacked


def save_cam(path, keys, cam, bits=16, stamp=""):
    """keys: uint8 [k], classes with background 0 first. cam: [k,H,W] in [0,1], stored as float16 or, with 8 bits, as
    uint8 in steps of 1/255. stamp: see `files`."""
    cam = np.asarray(cam, np.float16) if bits == 16 else np.rint(np.asarray(cam) * 255).astype(np.uint8)
    with atomic(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, keys=np.asarray(keys, np.uint8), cam=cam)
        stamp_zip(temporary, stamp)


def load_cam(path, n_classes=255, size=None):
    """Returns (keys [k] int64 in 0..n_classes-1, ascending; cam [k,H,W] float32 in [0,1]).

    size: (H, W) that it must have, if given. Raises UserError if the file is missing or damaged, unpacks to more than
    MAX_CAM_BYTES, or is not of these classes and this size.
    """
    keys, cam = _read_cam(path)
    if cam.ndim != 3 or 0 in cam.shape or keys.shape != cam.shape[:1]:
        raise UserError(f"{path}: holds {keys.size} classes but maps of shape {list(cam.shape)}")
    if keys.dtype.kind not in "ui" or keys[0] != 0 or (keys[1:] <= keys[:-1]).any() or keys[-1] >= n_classes:
        raise UserError(f"{path}: its keys are no class numbers from 0 to {n_classes - 1} in order: {_brief_keys(keys)}")
    if size is not None and cam.shape[1:] != tuple(size):
        raise UserError(f"{path}: its maps are {list(cam.shape[1:])}, its image {list(size)}")
    if cam.dtype == np.uint8:
        return keys.astype(np.int64), cam.astype(np.float32) / 255
    with np.errstate(over="ignore"):
        values = cam.astype(np.float32) if cam.dtype.kind == "f" else np.array(np.nan)
    if not (values.min() >= 0 and values.max() <= 1):  # NaN is neither
        raise UserError(f"{path}: its maps hold values that do not lie in [0, 1]")
    return keys.astype(np.int64), values


def _read_cam(path):
    """The arrays of a CAM file as they are. Raises UserError for a missing, damaged or huge one."""
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:  # which never unpacks more than is declared
            declared = sum(member.file_size for member in archive.infolist())
        if declared > MAX_CAM_BYTES:
            raise UserError(f"{path}: unpacks to {declared / 2**30:.1f} GiB, more than {MAX_CAM_BYTES >> 30} GiB: it "
                            "is no CAM of make_cam.py")
        with np.load(path, allow_pickle=False) as data:
            return np.asarray(data["keys"]), np.asarray(data["cam"])
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such CAM: run make_cam.py for this list first") from error
    except Exception as error:  # a damaged zip ends in errors of many kinds, a damaged array's header in any
        raise UserError(f"{path}: is no whole CAM file: delete it and run make_cam.py again") from error


def _brief_keys(keys):
    return brief(" ".join(map(str, keys.tolist())))


def outdated(stamps, folders, suffix):
    """Those IDs, in order, whose output is missing, cut short or made from another image in one of the folders.

    stamps: {ID: stamp that its outputs must have}, see `files`.
    """
    def is_current(image_id):
        return all(read_stamp(folder / f"{image_id}{suffix}") == stamps[image_id] for folder in folders)

    with ThreadPoolExecutor(8) as pool:
        return [image_id for image_id, current in zip(stamps, pool.map(is_current, stamps)) if not current]


def require_outputs(stamps, folder, suffix, script):
    """Raises UserError, before hours are spent, if another stage's output of an image is not as `outdated` asks."""
    wrong = outdated(stamps, [folder], suffix)
    if not wrong:
        return
    path = folder / f"{wrong[0]}{suffix}"
    what = "is missing" if not path.exists() else "is cut short" if read_stamp(path) is None else \
        "was made from another image or other labels"
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
        raise UserError(f"{path}: is not valid JSON, or changed since it was written: delete it and run its stage "
                        "again") from error


def _checksum(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def save_settings(run, section, settings):
    """Keep the settings as used, one section a stage, in the run's config.yaml."""
    remove_leftovers(run)
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


def save_class_names(run, class_names):
    """Keep the names of the classes with the networks that know them, in the form of the dataset's classes.txt."""
    save_lines(Path(run) / "classes.txt", class_names)
