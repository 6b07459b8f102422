"""Records: what every result was made from, by content and never by path, so that none is taken for another's.

A record is a dict of plain values that lies with the result, in a folder's settings.yaml, inside a checkpoint, or in an
evaluation's JSON:

    stage     its name in `tool.stages`
    settings  those that decide what it computes, `tool.settings.deciding`
    inputs    {one of INPUTS: digest of its content}
    sources   {output of another stage that it reads, such as "cam": that output's record}
    result    of a checkpoint: digest of its tensors
"""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

from errors import UserError
from files import atomic, check_file, remove_leftovers, writing
from tool.io import load_json
from tool.parallel import is_main
from tool.settings import brief, deciding, from_plain
from tool.stages import BY_NAME
from tool.yaml_file import dump_yaml, read_yaml

INPUTS = {
    "classes": "the class names",
    "list": "the list of images",
    "labels": "the image labels",
    "images": "the images",
    "masks": "the masks",
    "weights": "the initial weights",
    "runs": "what is in the runs",
}
EARLIER = "by an earlier version, which did not record its data"
ANEW = "choose another session_name, or give --resume never to train it anew"
IN_CHECKPOINT = "archive/record.json"


def make_record(stage, settings, inputs, sources=None):
    """The record of what a stage is about to make. sources: {name: record}."""
    return {"stage": stage, "settings": deciding(settings), "inputs": inputs, "sources": sources or {}}


def difference(known, record):
    """How a known result's record differs from what is asked for now, to be put after "was made"; None if not at all.

    A setting that one of the records lacks stands for its default.
    """
    if not {"stage", "settings", "inputs", "sources"} <= known.keys():
        return EARLIER
    if known["stage"] != record["stage"]:
        return f"by another stage ({known['stage']})"
    defaults = deciding(BY_NAME[record["stage"]].settings()) if record["stage"] in BY_NAME else {}
    old, new = {**defaults, **known["settings"]}, {**defaults, **record["settings"]}
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if differing:
        values = ", ".join(f"{key}: {brief(old.get(key))} there, {brief(new.get(key))} now" for key in differing)
        return f"with other settings ({values})"
    old, new = known["inputs"], record["inputs"]
    differing = next((key for key in INPUTS if old.get(key) != new.get(key)), None)
    if differing:
        return (
            f"from other data ({INPUTS[differing]}: {brief(old.get(differing))} there, {brief(new.get(differing))} now)"
        )
    old, new = known["sources"], record["sources"]
    for name in {**old, **new}:
        if name not in old or name not in new:
            return f"from {', '.join(old) or 'nothing'}, not from {', '.join(new) or 'nothing'}"
        if inner := difference(old[name], new[name]):
            return f"from another {name}, which was made {inner}"
        if old[name].get("result") != new[name].get("result"):
            return f"from another {name}, which has been trained anew since"
    return None


def refuse_other(what, known, record, remedy="delete it or choose another session_name"):
    """Raises UserError if a known result at `what` is not the one that is asked for now."""
    differing = difference(known, record)
    if differing:
        raise UserError(f"{what} was made {differing}: {remedy}")


def finished(path, record, resume):
    """Whether the checkpoint at path was trained just as the record says. Raises UserError if otherwise.

    resume: "auto", or "never" to train in any case. Clears what a call left that was killed right after its result.
    """
    known = checkpoint_record(path) if resume == "auto" else None
    if known is None:
        return False
    refuse_other(path, known, record, ANEW)
    print(f"{path}: already trained with these settings on this data")
    if is_main():
        shutil.rmtree(states_path(path), ignore_errors=True)
    return True


def states_path(path):
    """The folder in which the training whose result is to be at path keeps its states."""
    return path.with_name(f"{path.stem}_state")


def claim_folder(folder, record):
    """Tie an output folder to its record, so that outputs of two configurations never mix.

    Raises UserError saying what differs from the folder's record. Removes what a killed process left half written.
    """
    path = Path(folder) / "settings.yaml"
    if path.exists():
        refuse_other(folder, read_record(path), record)
    remove_leftovers(folder)
    if not path.exists():
        keep_record(folder, record)


def keep_record(folder, record):
    """Write the record of what a folder holds."""
    with atomic(Path(folder) / "settings.yaml") as temporary:
        temporary.write_text(dump_yaml(record))


def is_made(folder, record):
    """Whether a folder, whose record is written last, holds just what the record says. If not, the record goes."""
    path = Path(folder) / "settings.yaml"
    if path.exists() and difference(read_record(path), record) is None:
        return True
    with writing(path):
        path.unlink(missing_ok=True)
    return False


def read_record(path):
    """The record in a YAML file beside outputs, or in a checkpoint. Raises UserError."""
    path = Path(path)
    if path.suffix != ".pt":
        record = read_yaml(path)
    elif (record := checkpoint_record(path)) is None:
        raise UserError(f"{path}: is missing or unfinished: run the stage that makes it first")
    if not isinstance(record, dict):
        raise UserError(f"{path}: must hold keys and values: delete what lies beside it and run its stage again")
    return record


def checkpoint_record(path):
    """The record of a checkpoint, {} if an earlier version wrote it without one beside it, None if there is none.

    Earlier versions kept the settings in a YAML file beside it, which is then what comes back: flat, without "stage".
    """
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if IN_CHECKPOINT in archive.namelist():
                return json.loads(archive.read(IN_CHECKPOINT))
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile and json let through errors of many kinds for damaged files
        raise UserError(f"{path}: is no whole checkpoint ({type(error).__name__}): delete it") from error
    beside = path.with_suffix(".yaml")
    return read_record(beside) if beside.exists() else None


def recorded_input(path, name):
    """What a checkpoint's record holds of an input; None if it holds nothing, or is damaged: who loads it says so."""
    try:
        return checkpoint_record(path)["inputs"][name]
    except (UserError, KeyError, TypeError):  # no record at all, or one in another form
        return None


def source(run, name):
    """{name: record} of a folder or checkpoint of the run, to be part of the record of what is made from it.

    Raises UserError if its stage has not made it.
    """
    path = Path(run) / name
    if path.suffix == ".pt":
        return {name: read_record(path)}
    if not (path / "settings.yaml").exists():
        raise UserError(f"{path} is missing or unfinished: run the stage that makes it first")
    return {name: read_record(path / "settings.yaml")}


def trained_settings(path, stage):
    """The settings, of the stage's class, with which a checkpoint was trained. Raises UserError if there is none."""
    record = read_record(path)
    try:
        return from_plain(BY_NAME[stage].settings, record.get("settings", record))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: its record is damaged ({error}): train it anew") from error


def weights_input(settings):
    """{"weights": what the encoder begins with}: "imagenet", "none", or the content of a file.

    Of a checkpoint of this project its tensors count, of another file every byte.
    """
    path = settings.weights_file
    if path is None:
        return {"weights": settings.weights}
    check_file(path)
    if not path.is_file():
        raise UserError(f"weights {path}: no such file (give imagenet, none, or a file)")
    record = checkpoint_record(path) if zipfile.is_zipfile(path) else None
    if record and "result" in record:
        return {"weights": record["result"]}
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"weights": digest.hexdigest()[:32]}


def evaluated(path, record):
    """The result of an evaluation if it was made just as the record says, else None: it is then to be made."""
    try:
        known = load_json(path)
    except UserError:  # damaged: to be made anew
        return None
    return known if known and difference(known.get("record", {}), record) is None else None
