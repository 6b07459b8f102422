"""Records: what every result was made from, by content and never by path, so that none is taken for another's.

A record is a dict of plain values that lies with the result, in a folder's settings.yaml, inside a checkpoint, or in an
evaluation's JSON:

    stage     its name in `tool.stages`
    version   of AE-SIPE, for those who read it: it is not compared, and older records lack it
    settings  those that decide what it computes, `tool.settings.deciding`
    inputs    {one of INPUTS: digest of its content}
    sources   {output of another stage that it reads, such as "ae_is_cam": that output's record}
    precision of a training: what its networks were computed in, which "auto" does not tell
    result    of a checkpoint: digest of its tensors
    output    of a folder: its name
"""

import hashlib
import json
import zipfile

from conventions import VERSION
from errors import UserError
from files import check_file
from tool.settings import deciding
from tool.stages import BY_NAME
from tool.values import brief
from tool.yaml_file import read_yaml

INPUTS = {
    "classes": "the class names",
    "list": "the list of images",
    "labels": "the image labels",
    "images": "the images",
    "masks": "the masks",
    "weights": "the initial weights",
    "runs": "what is in the runs",
}
PARTS = ("settings", "inputs", "sources")
EARLIER = "by an earlier version, which did not record its data"
ANEW = "choose another session_name, or give --resume never to train it anew"
IN_CHECKPOINT = "archive/record.json"
OLD_NAMES = {"cam": "ae_is_cam", "classifier_cam": "cam"}  # of the folders of maps whose record has no "output"


def make_record(stage, settings, inputs, sources=None):
    """The record of what a stage is about to make. sources: {name: record}."""
    return {
        "stage": stage,
        "version": VERSION,
        "settings": deciding(settings),
        "inputs": inputs,
        "sources": sources or {},
    }


def difference(known, record):
    """How a known result's record differs from what is asked for now, to be put after "was made"; None if not at all.

    A setting that one of the records lacks stands for its default. Their versions may differ: what changes results
    changes a setting.
    """
    known = with_new_names(known)
    if not {"stage", *PARTS} <= known.keys():
        return EARLIER
    if not all(isinstance(known[part], dict) for part in PARTS):
        return "by settings that are not known, since its record is damaged"
    if known["stage"] != record["stage"]:
        return f"by another stage ({known['stage']})"
    defaults = deciding(BY_NAME[record["stage"]].settings()) if record["stage"] in BY_NAME else {}
    old, new = {**defaults, **known["settings"]}, {**defaults, **record["settings"]}
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if differing:
        values = ", ".join(f"{key}: {brief(old.get(key))} there, {brief(new.get(key))} now" for key in differing)
        return f"with other settings ({values})"
    old, new = known.get("precision"), record.get("precision")
    if old and new and old != new:
        return f"in {old}, and this machine computes in {new}"
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


def with_new_names(record):
    """A record with the sources named as today: see OLD_NAMES."""
    if not isinstance(record.get("sources"), dict):
        return record
    sources = {}
    for name, source in record["sources"].items():
        source = source if isinstance(source, dict) else {}
        is_old = source.get("stage") == "make_cam" and "output" not in source
        sources[OLD_NAMES.get(name, name) if is_old else name] = with_new_names(source)
    return {**record, "sources": sources}


def refuse_other(what, known, record, remedy="delete it or choose another session_name"):
    """Raises UserError if a known result at `what` is not the one that is asked for now."""
    differing = difference(known, record)
    if differing:
        raise UserError(f"{what} was made {differing}: {remedy}")


def checkpoint_record(path):
    """The record of a checkpoint, None if there is no checkpoint or no record.

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
    return read_yaml(beside) if beside.exists() else None


def recorded_input(path, name):
    """What a checkpoint's record holds of an input; None if it holds nothing, or is damaged: who loads it says so."""
    try:
        return checkpoint_record(path)["inputs"][name]
    except (UserError, KeyError, TypeError):  # no record at all, or one in another form
        return None


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
