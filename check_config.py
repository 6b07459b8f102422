"""Check a config file for every stage before the first one starts, and write it with its overrides applied.

    python check_config.py CONFIG OUT [section.key=value ...]

CONFIG is read, OUT is written. Prints the run's folder. RUN_STAGES in the environment names the stages that are to run
(all), GPUS and NNODES on how many processes: GPUS on each of NNODES machines.
What one stage would find wrong only hours later is said here: settings, lists, images too large for the scales or not
there for the report, weights, packages, maps that nobody exports, and batches that the processes cannot share out. A
training that the GPU's memory will hardly hold is warned of.
"""

import os
import re
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from coco14.classes import FEW
from conventions import VERSION
from data.datasets import open_dataset
from data.usable import check_scaled_image, require_images, usable_ids
from errors import UserError, missing_package
from files import atomic, check_file
from tool.config import override, parse, read_config, run_main
from tool.settings import DRIVER, MAPS
from tool.stages import BY_NAME, SCORES, STAGES, writer
from tool.tracker import TRACKERS
from tool.yaml_file import dump_yaml

LISTS = ("train", "train_aug", "val")  # of every dataset that its stage makes
SCALED = ("make_cam", "make_seg_labels", "deeplab_test")  # stages that resize whole images
LIBRARIES = {"timm": "timm", "smp": "segmentation-models-pytorch"}  # before a colon in a name -> as pip calls them
MORE_LISTS = {"voc12": ("test",), "coco14": ("train_all", "val_all", FEW)}


def check_pipeline(chosen, settings):
    """Raises UserError for what the stages that are to run would not find.

    chosen: {name of a stage: its settings}. settings: those of the other stages too.
    """
    made = set()
    for stage in STAGES:
        if stage.name in chosen:
            check_reads(stage, chosen, settings, made)
            made.update(stage.written(chosen[stage.name]))
    check_libraries(chosen)
    check_lists(chosen)
    if "report" in chosen and _in_place(chosen["report"]):
        require_images(open_dataset(chosen["report"]), chosen["report"].figure, "report.figure")


def first_needed(stage, settings):
    """The stage to begin with so that this one will find what it reads."""
    if not _in_place(settings[stage.name]):
        return BY_NAME["dataset"]
    run, reads = settings[stage.name].run, stage.read(settings[stage.name])
    makers = [writer(name) or BY_NAME["make_cam"] for name in reads if not (run / name).exists()]
    return min((first_needed(maker, settings) for maker in makers), key=STAGES.index, default=stage)


def check_reads(stage, chosen, every, made):
    """every: the settings of all stages. made: what the stages before this one will have left in the run's folder."""
    settings = chosen[stage.name]
    for name in stage.read(settings):
        if name not in made and not (settings.run / name).exists():
            if name not in MAPS and writer(name) is None and writer(name.partition("/")[0]) is None:
                refuse_unwritten(stage.name, name, settings)
            to_export = name in MAPS and "make_cam" in chosen
            begin = first_needed(writer(name) or BY_NAME["make_cam"], every).name
            remedy = f"add {name} to make_cam.maps" if to_export else f"begin with --from {begin}"
            if name == SCORES:
                remedy = "give make_seg_labels.keep_scores=true" + f", and {remedy}" * (begin not in chosen)
            raise UserError(
                f"{stage.name} reads {settings.run / name}, which is not there, and no stage from --from on makes it: "
                f"{remedy}"
            )
    weights = getattr(settings, "weights_file", None)
    if weights is not None and str(weights) not in {str(settings.run / name) for name in made}:
        check_file(weights)
        if not weights.is_file():
            raise UserError(f"{stage.name}.weights: {weights}: no such file (give imagenet, none, or a file)")


def refuse_unwritten(stage, name, settings):
    """Raises UserError for a folder that no stage writes and that is not there. name: its; a setting says it."""
    key = "labels" if hasattr(settings, "labels") else "folder"
    usual, truth = getattr(type(settings)(), key), ", or truth" * (key == "labels")
    raise UserError(
        f"{stage}.{key} is {name}, but no stage writes it and {settings.run / name} is not there: name a folder of the "
        f"run, such as {usual}{truth}"
    )


def check_libraries(chosen):
    """Raises UserError for what a stage, unless it is done, would miss of other packages when its turn comes."""
    for name, settings in chosen.items():
        if all((settings.run / each).exists() for each in BY_NAME[name].written(settings)):
            continue
        asked = {key: getattr(settings, key, "") for key in ("network", "backbone", "tracker")}
        if asked["network"].startswith("torchvision:"):
            del asked["backbone"]  # its encoder is in its name
        for key, value in asked.items():
            tracker = TRACKERS[value].package if key == "tracker" and value else None
            package = tracker or LIBRARIES.get(value.partition(":")[0])
            if package and find_spec(package.replace("-", "_")) is None:
                raise missing_package(f"{name}.{key} {value}", package)
        check_network(settings, asked["network"], asked.get("backbone", ""))


def check_network(settings, network, backbone):
    """Builds a network of a library that alone knows its names, and which of them serve here; without weights."""
    if network.startswith("smp:"):
        from deeplab.model import build

        build(settings, 2, "none")
    elif backbone.startswith("timm:"):
        from net.backbone import build_backbone

        build_backbone(backbone, "none")


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
        if stage.name in SCALED:
            check_sizes(stage.name, name, settings)
        if getattr(settings, "labels", None) == "truth":
            check_masks(stage.name, open_dataset(settings), ids)
        for folder, every in stage.read(settings).items():
            if not every or folder not in made:
                continue
            maker, there = made[folder]
            lacking = [name for name in ids if name not in there]
            if lacking and (settings.run / folder).is_dir():
                on_disk = {path.stem for path in (settings.run / folder).iterdir()}
                lacking = [name for name in lacking if name not in on_disk]
            if lacking:
                raise UserError(
                    f"{stage.name}.list is {name}, but {len(lacking)} of its {len(ids)} images, such as "
                    f"{lacking[0]}, are not in {maker}.list: {folder} would not hold them"
                )
        made |= {folder: (stage.name, set(ids)) for folder in stage.written(settings)}
        if getattr(settings, "val_every", 0) and settings.val_list not in LISTS:
            _ids(stage.name, settings.val_list, settings, chosen.get("dataset"))


def check_sizes(stage, name, settings):
    """Raises UserError for an image of the list that cannot be resized by the stage's scales, unless it is left out."""
    try:
        usable_ids(
            open_dataset(settings), name, (partial(check_scaled_image, settings.scales),), settings.skip_bad, show=False
        )
    except UserError as error:
        raise UserError(f"{stage}: {error}") from error


def check_masks(stage, dataset, ids):
    lacking = next((image_id for image_id in ids if not dataset.has_mask(image_id)), None)
    if lacking is not None:
        raise UserError(f"{stage}.labels is truth, but {dataset.root} has no mask of {lacking}: give labels, or masks")


def _in_place(settings):
    """Whether the dataset can be looked at now: it is not one that its own stage has yet to make."""
    root = Path(settings.dataset_root) if settings.dataset_root else None
    layout_there = root is not None and (root / "classes.txt").exists() and (root / "lists").is_dir()
    return layout_there or settings.dataset_format != "voc"


def _ids(stage, name, settings, dataset):
    """The IDs of a list; None of a dataset that its own stage has yet to make. Raises UserError if there is no list."""
    if _in_place(settings):
        return open_dataset(settings).ids(name)
    if dataset is None and settings.dataset_root:
        raise UserError(
            f"{settings.dataset_root}: holds no dataset (classes.txt, lists/): give common.dataset_root, or begin with "
            "the stage dataset"
        )
    lists = LISTS + (MORE_LISTS.get(dataset.kind, ()) if dataset is not None else ())
    if dataset is not None and dataset.kind != "folder" and name not in lists:
        raise UserError(f"{stage}: there will be no list {name}: the lists are {', '.join(lists)}")
    return None


def main():
    source, out, *assignments = arguments(sys.argv[1:])
    names = [stage.name for stage in STAGES]
    with atomic(out) as temporary:
        temporary.write_text(dump_yaml(override(read_config(source), assignments)))
        try:
            settings = {name: parse(name, argv=["--config", str(temporary)]) for name in names}
            chosen = {name: settings[name] for name in (os.environ.get("RUN_STAGES") or " ".join(names)).split()}
            settings["dataset"].run.refuse_old_names()
            processes = check_batches(source, chosen)
            for name in ("make_ir_labels", "train_irn"):
                if settings[name].refine == "crf":  # the stage does nothing
                    chosen.pop(name, None)
            check_pipeline(chosen, settings)
        except UserError as error:
            raise UserError(str(error).replace(str(temporary), source)) from error
        except OSError as error:  # of another file than the one that is being written
            raise UserError(f"{error.filename or source}: {error.strerror or error}") from error
    warn_of_memory(out, chosen, processes)
    print(settings["dataset"].run)


def arguments(words):
    """CONFIG, OUT and what follows; --help prints what they are, --version the version."""
    if {"-h", "--help"} & {*words}:
        print(__doc__.strip())
        sys.exit()
    if "--version" in words:
        print(f"AE-SIPE {VERSION}")
        sys.exit()
    if len(words) < 2 or "=" in Path(words[1]).name:
        raise UserError("CONFIG and OUT are needed: python check_config.py CONFIG OUT [section.key=value ...]")
    source, out = (os.path.realpath(word) for word in words[:2])
    if out == source or (os.path.exists(out) and not os.path.isfile(out)):
        raise UserError(f"{words[1]}: would be overwritten: name a new file as OUT")
    return words


def check_batches(source, chosen):
    """Raises UserError if a stage that is to run cannot share its batches out. Returns the number of processes."""
    processes = 1
    for name in ("GPUS", "NNODES"):
        number = os.environ.get(name) or "1"
        if not re.fullmatch("[1-9][0-9]{0,3}", number):
            raise UserError(f"{name}={number} must be a whole number from 1 up")
        processes *= int(number)
    for section, settings in chosen.items():
        if problem := settings.batch_problem(processes):
            raise UserError(f"{source}: section {section}: {problem}")
    return processes


def warn_of_memory(config, chosen, processes):
    """A line for each training, not yet done, that the GPU's memory will not hold: a forecast, so it stops nothing."""
    names = [
        stage.name
        for stage in STAGES
        if stage.name in chosen and chosen[stage.name].device not in ("cpu", "mps")
        if any(name.endswith(".pt") and not (chosen[stage.name].run / name).exists() for name in stage.writes)
    ]
    if not names or not DRIVER.exists():  # elsewhere the seconds that torch's import takes are saved
        return
    import torch

    if not torch.cuda.is_available():
        return  # the stages say why
    from bench.memory import warnings

    try:
        lines = warnings(config, names, processes, torch.cuda.get_device_properties(0).total_memory / 2**30)
    except Exception as error:  # what is wrong with the settings the stages will say
        lines = [f"no forecast of memory ({' '.join(str(error).split())[:200]})"]
    for line in lines:
        print(f"warning: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_main(main)
