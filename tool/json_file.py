"""JSON files with a checksum: the results of evaluations."""

import hashlib
import json
from pathlib import Path

from errors import UserError
from files import atomic, check_file, remove_leftovers


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
