"""CAM files: the maps of one image's classes, ID.npz."""

import zipfile

import numpy as np

from errors import UserError
from files import atomic, check_file, stamp_zip
from tool.values import brief

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
        found = brief(" ".join(map(str, keys.tolist())))
        raise UserError(f"{path}: its keys are no class numbers from 0 to {n_classes - 1} in order: {found}")
    if size is not None and cam.shape[1:] != tuple(size):
        (height, width), (rows, columns) = size, cam.shape[1:]
        raise UserError(f"{path}: its maps are {columns} x {rows} (width x height), its image {width} x {height}")
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
            raise UserError(
                f"{path}: unpacks to {declared / 2**30:.1f} GiB, more than {MAX_CAM_BYTES >> 30} GiB: it "
                "is no CAM of make_cam.py"
            )
        with np.load(path, allow_pickle=False) as data:
            return np.asarray(data["keys"]), np.asarray(data["cam"])
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such CAM: run make_cam.py for this list first") from error
    except Exception as error:  # a damaged zip ends in errors of many kinds, a damaged array's header in any
        raise UserError(f"{path}: is no whole CAM file: delete it and run make_cam.py again") from error
