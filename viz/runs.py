"""What a run's folder says about it: settings, log and scores."""

import hashlib
import json
import math
from dataclasses import dataclass

import numpy as np

from errors import UserError
from files import check_file
from tool.json_file import load_json
from tool.record import checkpoint_record
from tool.run import Run
from tool.stages import STAGES

MAP_NAMES = {"cam": "CAM", "is_cam": "IS-CAM", "ae_is_cam": "AE-IS-CAM"}
COUNTED = ("step", "did", "seconds", "peak_memory_mb", "peak_gpu_memory_mb", "images_per_second", "lr")
WHERE = (
    "run_root",
    "session_name",
    "num_workers",
    "device",
    "save_every",
    "resume",
    "skip_bad",
    "tracker",
)  # change no result


@dataclass(frozen=True)
class RunContent:
    """folder: a `tool.run.Run`. name: to tell it from others. config: sections of config.yaml, {} without. log: records
    of log.jsonl. scores: see `collect_scores`."""

    folder: Run
    name: str
    config: dict
    log: list
    scores: list


def read_runs(paths):
    """Returns their contents; what is missing in one is left empty. Raises UserError if there is no folder or a file is
    broken."""
    folders = [Run(path) for path in paths]
    for folder in folders:
        folder.require_folder()
        folder.refuse_old_names()
    names = [folder.path.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = list(map(str, folders))
    return [
        RunContent(folder, name, folder.config(), read_log(folder / "log.jsonl"), collect_scores(folder))
        for folder, name in zip(folders, names)
    ]


def content(runs):
    """A digest of all that a report reads of the runs, but for what reports write themselves."""
    digest = hashlib.sha256()
    for run in runs:
        config = {section: values for section, values in run.config.items() if section != "report"}
        log = [record for record in run.log if record["stage"] != "report"]
        digest.update(json.dumps([run.name, config, log], sort_keys=True).encode())
        folder = run.folder.path
        for pattern in ("eval/*.json", "*/settings.yaml", "deeplab/*/settings.yaml"):
            for path in sorted(folder.glob(pattern)):
                if path.parent.name != "report" and path.exists():  # not a link to nothing
                    check_file(path)
                    digest.update(f"{path.relative_to(folder)}".encode() + path.read_bytes())
        for path in sorted(folder.glob("ckpt/*.pt")):
            digest.update(json.dumps(checkpoint_record(path), sort_keys=True).encode())
    return digest.hexdigest()[:32]


def read_log(path):
    """The records of a JSON lines file that name a stage; without the file none.

    A line that a killed process left half written, or whose numbers are none, is passed over.
    """
    check_file(path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    records = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("stage"), str) and _is_sound(record):
            records.append(record)
    return records


def _is_sound(record):
    """Whether what the readers of a log count with are numbers; losses alone may be infinite or none."""
    counted = [record[key] for key in COUNTED if record.get(key) is not None]
    val = record.get("val", {})
    return (
        all(is_number(value) and math.isfinite(value) for value in counted)
        and isinstance(record.get("step", 0), int)
        and isinstance(val, dict)
        and all(is_number(value) for value in val.values())
    )


def is_number(value):
    """Whether a value is a number that a float can hold, or NaN or infinite."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)


def steps_of(log, stage, key):
    """The records of a training stage that hold a key, by step; of a stage that began anew, the later ones."""
    kept = []
    for record in log:
        if record["stage"] == stage and key in record and isinstance(record.get("step"), int):
            while kept and kept[-1]["step"] >= record["step"]:
                kept.pop()
            kept.append(record)
    return kept


def collect_scores(run):
    """All scores of a run: a list of (stage, list of the dataset, background weight or None, crf, scores)."""
    rows, folder = [], run / "eval"
    for path in (folder / "cam.json", folder / "seg.json", *sorted(folder.glob("deeplab_*.json"))):
        result = load_json(path)
        try:
            rows += _rows(path.name, result) if result else ()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path}: holds no scores of this project: delete it and run its stage again") from error
    return rows


def _rows(name, result):
    """The rows of one file. Raises one of the errors that `collect_scores` takes if a part is missing or another."""
    list_name = result["list"]
    if name == "cam.json":
        for kind, title in MAP_NAMES.items():
            for part in result["maps"].get(kind, []):
                yield title, list_name, float(part["background_weight"]), part["crf"], _scores(part)
    elif name == "seg.json":
        yield "pseudo label", list_name, None, False, _scores(result)
    else:
        for key in ("plain", "crf"):
            if key in result:
                yield "DeepLabV3", list_name, None, key == "crf", _scores(result[key])


def _scores(result):
    """The scores of `tool.metric.scores`, looked at."""
    n_classes = len(result["iou"])
    shares = [result["miou"], *(value for value in result["iou"].values() if value is not None)]
    if not all(is_number(value) and 0 <= value <= 1 for value in shares):
        raise ValueError("scores beyond 0 to 1")
    if "confusion" in result and np.asarray(result["confusion"], np.int64).shape != (n_classes, n_classes + 1):
        raise ValueError("a confusion matrix of another size")
    return result


def usage(log):
    """Time and memory per stage from the log's lines of finished stages: a list of dicts.

    Keys: stage, did (images or steps), seconds, memory and gpu_memory (MiB, None if unknown), device, processes. A
    stage that took several calls has the sum of their work and time and the peak of their memory.
    """
    rows = {}
    for record in log:
        if record.get("finished"):
            row = rows.setdefault(record["stage"], {"stage": record["stage"], "did": 0, "seconds": 0.0})
            row["did"] += record.get("did") or 0
            row["seconds"] += record.get("seconds") or 0
            for key, source in (("memory", "peak_memory_mb"), ("gpu_memory", "peak_gpu_memory_mb")):
                row[key] = max(row.get(key) or 0, record.get(source) or 0) or None
            row |= {"device": record.get("device"), "processes": record.get("processes")}
    return list(rows.values())


def setting_rows(runs):
    """Settings per stage: {stage: [(key, [value of each run], whether they differ)]}.

    Where a run was made is left out. A stage that a run did not reach does not differ: its values are None.
    """
    sections = dict.fromkeys([*(stage.name for stage in STAGES), *(section for run in runs for section in run.config)])
    table = {}
    for section in sections:
        reached = [run.config[section] for run in runs if section in run.config]
        for key in sorted({key for part in reached for key in part} - set(WHERE)):
            values = [run.config.get(section, {}).get(key) for run in runs]
            differs = any(part.get(key) != reached[0].get(key) for part in reached)
            table.setdefault(section, []).append((key, values, differs))
    return table
