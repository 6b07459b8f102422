"""A finished run, which may have come from another machine without its dataset."""

from dataclasses import replace
from pathlib import Path

from data.content import class_digest
from data.layout import read_class_names
from errors import UserError
from tool.record import recorded_input
from tool.stages import AESIPE, BY_NAME, DEEPLAB


def trained_class_names(run, dataset_root):
    """Names of the classes that the run's networks know, background first.

    From the run's classes.txt; of a run made before runs kept it, from that of dataset_root or, if that is None, of the
    dataset in the run's config.yaml. Raises UserError if there is no such run, no network in it or none of these files,
    or if a network was trained with others.
    """
    run.require_folder()
    path = _class_names_path(run, dataset_root)
    names = read_class_names(path)
    for checkpoint in sorted((run / "ckpt").glob("*.pt")):
        if recorded_input(checkpoint, "classes") not in (None, class_digest(names)):
            raise UserError(
                f"{path}: holds other class names than {checkpoint} was trained with: put the dataset's "
                "classes.txt there"
            )
    return names


def require_network(run):
    """Raises UserError for a run that has no network to ask."""
    if not ((run / DEEPLAB).exists() or (run / AESIPE).exists()):
        raise UserError(
            f"{run}: has neither {DEEPLAB} nor {AESIPE}: is --run the folder of a run whose training is finished?"
        )


def with_dataset(settings, stage=None):
    """The settings of a tool, with the run's dataset where they name none.

    stage: whose dataset it is; None: that of the first section of the run's config.yaml that names one. Raises
    UserError if there is none.
    """
    if settings.dataset_root is not None:
        return settings
    run = settings.run
    used = (run.used_settings(name) for name in run.config() if name in BY_NAME and stage in (None, name))
    made = next((each for each in used if each.dataset_root is not None), None)
    if made is None:
        of_stage = f" of {stage}" if stage else ""
        raise UserError(f"{run / 'config.yaml'}: names no dataset{of_stage}: give --dataset_root")
    return replace(settings, dataset_root=made.dataset_root, dataset_format=made.dataset_format)


def _class_names_path(run, dataset_root):
    if (run / "classes.txt").exists():
        return run / "classes.txt"
    require_network(run)
    config = run.config()
    trained = {**config.get("deeplab_train", {}), **config.get("train_aesipe", {})}
    root = dataset_root or trained.get("dataset_root")
    if root is None or not (Path(root) / "classes.txt").exists():
        raise UserError(
            f"{run / 'classes.txt'}: is missing, and so is {root or 'DATASET'}/classes.txt: give the "
            "dataset that the run was trained on by --dataset_root, or copy its classes.txt into the run"
        )
    return Path(root) / "classes.txt"
