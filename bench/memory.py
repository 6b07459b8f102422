"""Which batch fits which GPU: the forecasts of a config's trainings, as tables."""

from pathlib import Path

from bench.forecast import CARDS, CONTEXT, FRAGMENTATION, GIB, NCCL, USABLE, WORKSPACE, outlook
from bench.training import PRESENT, TRAINED
from coco14.classes import CLASS_NAMES as COCO_NAMES
from data.datasets import open_dataset
from errors import UserError
from tool.config import parse
from voc12.classes import CLASS_NAMES as VOC_NAMES


def classes_of(settings, default):
    """The number of classes of the settings' data set, or the default where it is not in place."""
    if not (Path(settings.dataset_root) / "classes.txt").exists():
        return default
    return open_dataset(settings).n_classes


def outlooks(config, processes, n_classes, names=TRAINED):
    """{stage: `bench.forecast.Outlook`} of a config file's trainings.

    processes: that share each batch. n_classes: where there is no data set yet. Raises UserError for a batch that they
    cannot share.
    """
    found = {}
    for name in names:
        settings = parse(name, argv=["--config", str(config)])
        if problem := settings.batch_problem(processes):
            raise UserError(f"{config}: section {name}: {problem}")
        found[name] = outlook(name, settings, classes_of(settings, n_classes), processes)
    return found


def warnings(config, names, processes, gib):
    """What the driver says before these trainings on GPUs of so many GiB: a line for each that will not fit."""
    kind = parse("dataset", argv=["--config", str(config)]).kind
    lines, n_classes = [], len(COCO_NAMES if kind == "coco14" else VOC_NAMES)  # where the set is yet to be made
    for name, each in outlooks(config, processes, n_classes, names).items():
        needed, parts = each.needed() / GIB, each.fitting_parts(gib)
        if needed > gib:
            remedy = f"set {name}.accumulate={parts}" if parts else f"lower {name}.crop_size, or take a larger GPU"
            lines.append(f"{name} may need {needed:.1f} GiB of the GPU's {gib:.1f} (a forecast): {remedy}")
    return lines


def print_memory(config, processes, n_classes):
    """Print what each training of a config needs on a GPU and what fits which. Returns it as a dict."""
    found = outlooks(config, processes, n_classes)
    print("Forecast, not measured. GiB on each GPU at the peak of a step:\n")
    _print_needs(found, processes)
    print(
        f"\nAllowance, none of it measured: {CONTEXT / GIB:.1f} GiB for the CUDA context and its kernels, "
        f"{WORKSPACE / GIB:.1f} for cuDNN's and cuBLAS's workspace, {100 * FRAGMENTATION:.0f} % of the tensors for "
        f"fragmentation, {NCCL / GIB:.1f} for NCCL if there are several processes. "
        f"Images are taken to show {PRESENT} classes each.\n"
    )
    where = f"{processes} GPUs of the size" if processes > 1 else "one GPU of the size"
    print(f"On {where}, of which {100 * USABLE:.0f} % are taken as usable: the smallest `--accumulate` with which the")
    print("batch fits, and how many images fit each GPU at once:\n")
    _print_cards(found)
    return {name: _as_dict(each) for name, each in found.items()}


def _print_needs(found, processes):
    rows = [
        "| training | batch | at once | parameters | gradients | momentum | inputs | activations | allowance | all |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, each in found.items():
        one, needed = each.given, each.needed()
        gradients, inputs = one.split(processes, each.parts)
        rest = needed - one.tensors(processes, each.parts)
        parts = (one.fixed, gradients, one.state, inputs, one.activations, rest, needed)
        cells = [name, each.batch * processes, one.images, *(f"{part / GIB:.2f}" for part in parts)]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    print("\n".join(rows))


def _print_cards(found):
    print(f"| training | {' | '.join(f'{gib} GB' for gib in CARDS)} |\n| --- |{' --- |' * len(CARDS)}")
    for name, each in found.items():
        cells = []
        for gib in CARDS:
            parts, most = each.fitting_parts(gib * USABLE), each.most_images(gib * USABLE)
            cells.append(f"{parts or 'none'} (at most {most})" if most else "does not fit")
        print(f"| {name} | {' | '.join(cells)} |")


def _as_dict(each):
    cards = {
        str(gib): {"accumulate": each.fitting_parts(gib * USABLE), "most_images": each.most_images(gib * USABLE)}
        for gib in CARDS
    }
    return {**vars(each.given), "activations": each.given.activations, "needed": each.needed(), "cards": cards}
