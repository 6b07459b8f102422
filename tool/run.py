"""A run's folder: what the stages leave there, what each of it was made from, and which of it can be used again.

config.yaml  classes.txt  log.jsonl      settings as used, names of the classes, what each stage took
ckpt/NAME.pt  ckpt/NAME_state/           results of training with their records inside, states to continue from
cam/ is_cam/ ae_is_cam/ ir_label/ ...    outputs of an image each, with the folder's record in settings.yaml
eval/NAME.json                           scores, with their record
"""

import shutil
from pathlib import Path

from errors import UserError, nearest
from files import atomic, check_file, in_threads, read_stamp, remove_leftovers, save_lines, writing
from tool.json_file import load_json
from tool.parallel import is_main
from tool.record import ANEW, checkpoint_record, difference, refuse_other, with_new_names
from tool.settings import from_plain, plain
from tool.stages import BY_NAME, maker
from tool.yaml_file import dump_yaml, read_yaml

SHOWN = 5  # other runs, by name


class Run:
    """path: the run's folder, which need not exist yet."""

    def __init__(self, path):
        self.path = Path(path)

    def __truediv__(self, name):
        return self.path / name

    def __fspath__(self):
        return str(self.path)

    def __str__(self):
        return str(self.path)

    def require_folder(self):
        """Raises UserError for a run that is not there."""
        if not self.path.is_dir():
            others = sorted(path.parent.name for path in self.path.parent.glob("[!.]*/config.yaml"))
            there = f": {self.path.parent} holds {', '.join(others[:SHOWN])}" if others else ""
            hint = nearest(self.path.name, others) or there
            raise UserError(f"{self.path}: no such run folder{hint}: give --run RUN, to report.py RUN before the flags")

    def config(self):
        """The settings as used, {section: {key: value}}; {} for a run that has none yet."""
        path = self / "config.yaml"
        config = read_yaml(path) if path.exists() else None
        if config is None:
            return {}
        sections = [config, *config.values()] if isinstance(config, dict) else [None]
        if not all(isinstance(section, dict) and all(isinstance(key, str) for key in section) for section in sections):
            raise UserError(f"{path}: must hold sections of keys and values: delete it if it is damaged")
        return config

    def used_settings(self, section):
        """The settings, of the stage's class, with which a stage last ran; its defaults if it has not."""
        try:
            return from_plain(BY_NAME[section].settings, self.config().get(section, {}))
        except ValueError as error:  # in a file that anyone may have edited
            raise UserError(f"{self / 'config.yaml'}: section {section}: {error}: fix it") from error

    def keep_settings(self, section, settings):
        """Keep the settings as used, one section a stage, in config.yaml."""
        remove_leftovers(self.path)
        config, used = self.config(), plain(settings)
        if config.get(section) == used:
            return
        config[section] = used
        with atomic(self / "config.yaml") as temporary:
            temporary.write_text(dump_yaml(config))

    def keep_class_names(self, class_names):
        """Keep the names of the classes with the networks that know them, in the form of the dataset's classes.txt."""
        save_lines(self / "classes.txt", class_names)

    def refuse_old_names(self):
        """Raises UserError for a run of an earlier version, with AE-IS-CAM in cam/ and the CAM in classifier_cam/."""
        moves = []
        if not (self / "ae_is_cam").exists() and "output" not in (_folder_record(self / "cam") or {"output": "cam"}):
            moves.append(f"mv {self / 'cam'} {self / 'ae_is_cam'}")
        if (self / "classifier_cam").exists():
            moves.append(f"mv {self / 'classifier_cam'} {self / 'cam'}")
        if moves:
            raise UserError(
                f"{self.path}: is of an earlier version, whose folders of maps had other names: rename them: "
                f"{' && '.join(moves)}"
            )

    def record(self, name):
        """The record of an output folder or a checkpoint. Raises UserError if its stage has not made it."""
        path = self / name
        if path.suffix == ".pt":
            record = checkpoint_record(path)
        else:
            self.refuse_old_names()
            record = _folder_record(path)
        if record is None:
            raise UserError(f"{path} is missing or unfinished: run {maker(name) or 'the stage that makes it'} first")
        return record

    def sources(self, *names):
        """{name: record} of folders and checkpoints, to be part of the record of what is made from them."""
        return {name: self.record(name) for name in names}

    def trained_settings(self, name, stage):
        """The settings, of the stage's class, with which a checkpoint was trained. UserError if there is none."""
        record = self.record(name)
        try:
            return from_plain(BY_NAME[stage].settings, record.get("settings", record))
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{self / name}: its record is damaged ({error}): train it anew") from error

    def is_trained(self, name, record, resume):
        """Whether a checkpoint was trained just as the record says. Raises UserError if it was otherwise.

        resume: "auto", or "never" to train in any case. Clears what a call left that was killed right after its result.
        """
        path = self / name
        known = checkpoint_record(path) if resume == "auto" else None
        if known is None:
            return False
        refuse_other(path, known, record, ANEW)
        print(f"{path}: already trained with these settings on this data")
        if is_main():
            shutil.rmtree(states_path(path), ignore_errors=True)
        return True

    def claim(self, name, record):
        """Tie an output folder to its record, so that outputs of two configurations never mix.

        Raises UserError saying what differs from the folder's record. Removes what a killed process left half written.
        """
        self.refuse_others(name, record)
        folder = self / name
        remove_leftovers(folder)
        if _folder_record(folder) is None:
            keep_record(folder, {**record, "output": name})

    def refuse_others(self, name, record):
        """Raises UserError for an output folder of another record, or whose outputs have lost theirs."""
        self.refuse_old_names()
        folder = self / name
        known = _folder_record(folder)
        if known is not None:
            refuse_other(folder, known, record)
        elif any(not path.name.startswith(".") for path in folder.glob("*.*")):
            raise UserError(
                f"{folder}: holds files, but settings.yaml, which says how they were made, is gone: delete it"
            )

    def evaluated(self, name, record):
        """The result of an evaluation if it was made just as the record says, else None: it is then to be made."""
        try:
            known = load_json(self / name)
        except UserError:  # damaged: to be made anew
            return None
        return known if known and difference(known.get("record", {}), record) is None else None


def outdated(stamps, outputs):
    """Those IDs, in order, whose output is missing, cut short or made from another image in one of the folders.

    stamps: {ID: stamp that its outputs must have}, see `files`. outputs: {folder: suffix of its files}.
    """

    def is_current(image_id):
        found = (read_stamp(folder / f"{image_id}{suffix}") for folder, suffix in outputs.items())
        return all(stamp == stamps[image_id] for stamp in found)

    return [image_id for image_id, current in zip(stamps, in_threads(is_current, stamps)) if not current]


def require_outputs(stamps, folder, suffix, script):
    """Raises UserError, before hours are spent, if another stage's output of an image is not as `outdated` asks."""
    wrong = outdated(stamps, {folder: suffix})
    if not wrong:
        return
    path = folder / f"{wrong[0]}{suffix}"
    what = "was made from another image or other labels"
    if not path.exists():
        what = "is missing"
    elif read_stamp(path) is None:
        what = "is cut short"
    others = f", as are {len(wrong) - 1} more of {len(stamps)}" if len(wrong) > 1 else ""
    raise UserError(f"{path}: {what}{others}: run {script} for this list first; what it has made already stays")


def states_path(path):
    """The folder in which the training whose result is to be at path keeps its states."""
    return path.with_name(f"{path.stem}_state")


def keep_record(folder, record):
    """Write the record of what a folder holds."""
    with atomic(Path(folder) / "settings.yaml") as temporary:
        temporary.write_text(dump_yaml(record))


def is_made(folder, record):
    """Whether a folder, whose record is written last, holds just what the record says. If not, the record goes."""
    known = _folder_record(folder)
    if known is not None and difference(known, record) is None:
        return True
    path = Path(folder) / "settings.yaml"
    with writing(path):
        path.unlink(missing_ok=True)
    return False


def _folder_record(folder):
    path = Path(folder) / "settings.yaml"
    check_file(path)
    if not path.exists():
        return None
    record = read_yaml(path)
    if not isinstance(record, dict):
        raise UserError(f"{path}: must hold keys and values: delete what lies beside it and run its stage again")
    return with_new_names(record)
