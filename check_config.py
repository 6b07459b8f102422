"""Check a config file for every stage before the first one starts, and write it with its overrides applied.

    python check_config.py CONFIG OUT FROM TO [section.key=value ...]

CONFIG is read, OUT is written; FROM and TO are the first and the last stage that are to run. Prints the run's folder.
What one stage would find wrong only hours later is said here: settings, lists, weights, maps that nobody exports.
"""

import sys
from pathlib import Path

import yaml

from data.layout import Layout
from errors import UserError
from files import atomic
from tool.config import override, parse, read_config, run_main
from tool.stages import CAM_FOLDERS, STAGES

LISTS = ("train", "train_aug", "val")  # of every dataset that its stage makes


def check_pipeline(chosen):
    """Raises UserError for what the stages that are to run would not find. chosen: {name of a stage: its settings}."""
    check_maps(chosen.get("eval_cam"))
    made = set()
    for stage in STAGES:
        if stage.name in chosen:
            check_reads(stage, chosen, made)
            made.update(_written(stage, chosen[stage.name]))
    check_lists(chosen)


def _written(stage, settings):
    return [CAM_FOLDERS[name] for name in settings.maps] if stage.name == "make_cam" else stage.writes


def _read(stage, settings):
    """{what a stage reads in the run's folder: whether of every image}."""
    if stage.name == "eval_cam":
        return {CAM_FOLDERS[name]: True for name in settings.maps}
    values = {name: getattr(settings, name, "") for name in ("folder", "labels")}
    reads = {name.format(**values): every for name, every in stage.reads.items()}
    return {name: every for name, every in reads.items() if name != "truth"}


def check_maps(evaluated):
    wrong = [name for name in (evaluated and evaluated.crf_maps) or () if name not in evaluated.maps]
    if wrong:
        raise UserError(f"eval_cam.crf_maps names {wrong[0]}, which eval_cam.maps does not: add it there")


def check_reads(stage, chosen, made):
    """made: what the stages before this one will have left in the run's folder."""
    settings, maps = chosen[stage.name], {folder: kind for kind, folder in CAM_FOLDERS.items()}
    for name in _read(stage, settings):
        if name not in made and not (settings.run / name).exists():
            to_export = name in maps and "make_cam" in chosen
            remedy = f"add {maps[name]} to make_cam.maps" if to_export else "run the stage that makes it first"
            raise UserError(f"{stage.name} reads {settings.run / name}, which is not there, and no stage from --from on "
                            f"makes it: {remedy}")
    weights = getattr(settings, "weights_file", None)
    if weights is not None and not weights.is_file() and str(weights) not in {str(settings.run / name) for name in made}:
        raise UserError(f"{stage.name}.weights: {weights}: no such file (give imagenet, none, or a file)")


def check_lists(chosen):
    """Every list is there, and each stage's images are among those that the stage before it makes something of."""
    made = {}  # folder of the run -> (stage, IDs)
    for stage in STAGES:
        settings = chosen.get(stage.name)
        name = getattr(settings, "train_list", getattr(settings, "list", None))
        if name is None:
            continue
        ids = _ids(stage.name, name, settings, chosen.get("dataset"))
        if ids is None:
            continue
        for folder in (folder for folder, every in _read(stage, settings).items() if every and folder in made):
            maker, there = made[folder]
            lacking = [image_id for image_id in ids if image_id not in there
                       and not list((settings.run / folder).glob(f"{image_id}.*"))]
            if lacking:
                raise UserError(f"{stage.name}.list is {name}, but {len(lacking)} of its {len(ids)} images, such as "
                                f"{lacking[0]}, are not in {maker}.list: {folder} would not hold them")
        made |= {folder: (stage.name, set(ids)) for folder in _written(stage, settings)}
        if stage.name == "train_aesipe" and settings.val_every and settings.val_list not in LISTS:
            _ids(stage.name, settings.val_list, settings, chosen.get("dataset"))


def _ids(stage, name, settings, dataset):
    """The IDs of a list; None of a dataset that its own stage has yet to make. Raises UserError if there is no list."""
    root = Path(settings.dataset_root) if settings.dataset_root else None
    if root is not None and (root / "classes.txt").exists() and (root / "lists").is_dir():
        if stage == "report" and not (root / "lists" / f"{name}.txt").exists():
            return None
        return Layout(root).ids(name)
    if dataset is None and root is not None:
        raise UserError(f"{root}: holds no dataset (classes.txt, lists/): give common.dataset_root, or begin with the "
                        "stage dataset")
    if dataset is not None and dataset.kind != "folder" and name not in (*LISTS, "test"):
        raise UserError(f"{stage}: there will be no list {name}: the lists are {', '.join(LISTS)}")
    return None


def main():
    source, out, first, last, *assignments = sys.argv[1:]
    with atomic(out) as temporary:
        temporary.write_text(yaml.safe_dump(override(read_config(source), assignments), sort_keys=False))
    names = [stage.name for stage in STAGES]
    try:
        settings = {name: parse(name, argv=["--config", out]) for name in names}
    except UserError as error:
        raise UserError(str(error).replace(out, source)) from error
    check_pipeline({name: settings[name] for name in names[names.index(first) : names.index(last) + 1]})
    print(settings["dataset"].run)


if __name__ == "__main__":
    run_main(main)
