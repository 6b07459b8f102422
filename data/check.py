"""What a data set in the layout of `data.layout` holds, and all that is wrong with it.

    python -m data.check DATASET

Images whose headers and ends are as they should be are not decoded; masks are. Ends with status 2 if training
could not work, which the first stage, prepare_dataset.py, says as well; else with 0, even where evaluation would stop.
"""

import argparse
import os
import sys
from collections import Counter
from difflib import get_close_matches
from pathlib import Path

from conventions import VERSION
from data.layout import Layout
from data.usable import CHECKED, check_image, check_labels, check_mask_if_any, problem_of
from errors import UserError
from files import in_threads

TRAINING, EVALUATION, NOTE = "Training could not work", "Evaluation would stop or mislead", "Worth a look"
EXAMPLES = 10
ALIKE = 0.85  # of difflib, from 0 to 1, as cat and catt are: car and cat have 0.67
USED_LISTS = {"train_aug", "train", "val"}  # by run_pipeline.sh unless told otherwise


class Findings:
    """What is wrong: {severity: {kind: examples}}."""

    def __init__(self):
        self.found = {TRAINING: {}, EVALUATION: {}, NOTE: {}}

    def add(self, severity, kind, example):
        examples = self.found[severity].setdefault(kind, [])
        if str(example) not in examples[-1:]:  # a file that is missing, or the like, is found at every image
            examples.append(str(example))

    def __str__(self):
        lines = []
        for severity, kinds in self.found.items():
            lines += [f"\n{severity}:"] if kinds else []
            for kind, examples in kinds.items():
                more = f" and {len(examples) - EXAMPLES} more" if len(examples) > EXAMPLES else ""
                lines.append(f"  {kind} ({len(examples)}): {'; '.join(examples[:EXAMPLES])}{more}")
        return "\n".join(lines) or "\nNothing is wrong."


def read_lists(layout, findings):
    """{list: its IDs, each once} of the lists that can be read."""
    lists = {}
    for name in sorted({*layout.lists(), *USED_LISTS}):
        try:
            ids = layout.ids(name)
        except UserError as error:
            stops = name == "train_aug" or layout.has_list(name)  # prepare_dataset.py reads all that there are
            findings.add(TRAINING if stops else EVALUATION, "lists missing or wrong", error)
            continue
        for image_id in (image_id for image_id, times in Counter(ids).items() if times > 1):
            findings.add(NOTE, "IDs more than once in a list", f"{image_id} in {name}")
        lists[name] = list(dict.fromkeys(ids))
    return lists


def check_lists(layout, lists, ids, trained, findings):
    """What lists say of each other and of the files and masks that there are."""
    for name, listed in lists.items():
        for image_id in () if name.startswith("train") else trained.intersection(listed):
            findings.add(EVALUATION, "training images in a list to test on", f"{image_id} in {name}")
        lacking = [image_id for image_id in listed if not layout.has_mask(image_id)]
        for image_id in lacking if len(lacking) < len(listed) else ():  # without any, it is not evaluated: no error
            findings.add(EVALUATION, f"images without a mask in {name}, where others have one", image_id)
    for image_id in sorted(layout.files.keys() - {*ids}):
        lacks = "" if layout.is_labelled(image_id) else " and without a line in image_labels.txt"
        findings.add(NOTE, f"images in no list{lacks}", image_id)


def check_files(layout, lists, ids, trained, findings):
    """The images and masks of all lists. Returns {ID: the largest class in its mask} of masks that are right."""
    wrong = set()
    for check, kind in ((check_image, "images"), (check_mask_if_any, "masks")):
        asked = {image_id for name, checks in CHECKED.items() if check in checks for image_id in lists.get(name, ())}
        needed = asked | trained if check == check_image else asked
        problems = in_threads(lambda image_id, check=check: problem_of(layout, image_id, (check,)), ids)
        for image_id, problem in zip(ids, problems):
            if problem:
                wrong.add(image_id)
                findings.add(TRAINING if image_id in needed else EVALUATION, f"{kind} missing or wrong", problem)

    masked = [image_id for image_id in ids if image_id not in wrong and layout.has_mask(image_id)]
    return dict(zip(masked, in_threads(lambda image_id: layout.mask_facts(image_id).top, masked)))


def check_names_of_masks(layout, findings):
    """Files beside the masks that are the mask of no image: nothing reads them. Images in no list may have masks."""
    for name in sorted(path.name for path in layout.mask_folder.glob("[!.]*")) if layout.mask_folder else ():
        if not (name.endswith(".png") and name.removesuffix(".png") in layout.files):
            findings.add(EVALUATION, "files in the folder of masks that are no ID.png of an image, so not read", name)


def check_classes_of_masks(layout, tops, labels, findings):
    """What masks that are right by themselves say of classes and labels. tops: of `check_files`."""
    if not any(tops.values()):  # as of tools that write 255 for the object
        for image_id in tops:
            findings.add(
                EVALUATION, "masks without a class, as all are: 1 and up are classes, 255 is not counted", image_id
            )
    for image_id, top in tops.items():
        name = layout.class_names[top]
        if top and name not in labels.get(image_id, [name]):
            findings.add(
                NOTE, "masks with a class that image_labels.txt does not give the image", f"{name} in {image_id}"
            )


def read_labels(layout, lists, ids, trained, findings):
    """{ID: its classes} of the images in lists whose labels are right."""
    labels = {}
    for image_id in ids:
        problem = problem_of(layout, image_id, (check_labels,))
        if problem is None:
            labels[image_id] = {layout.class_names[1 + index] for index in layout.present(image_id)}
        if image_id in trained and problem:
            findings.add(TRAINING, "labels missing or wrong", problem)
        elif image_id in trained and not labels[image_id]:
            findings.add(NOTE, "training images without any class", image_id)
    counts = Counter(name for image_id in lists.get("train_aug", ()) for name in labels.get(image_id, ()))
    for name in layout.class_names[1:]:
        if not counts[name]:
            findings.add(NOTE, "classes without an image in train_aug", name)
        elif counts[name] == 1:
            findings.add(NOTE, "classes of one image in train_aug", name)
        later = {other.casefold(): other for other in layout.class_names[1:] if other > name}
        if twins := get_close_matches(name.casefold(), later, 1, ALIKE):
            findings.add(NOTE, "classes of nearly the same name", f"{name} and {later[twins[0]]}")
    if not counts:
        findings.add(TRAINING, "labels missing or wrong", "no image of train_aug has a class")
    return labels


def summary(layout, lists, labels):
    """What was found: counts, and a table of the classes' images in each list."""
    masks = layout.mask_folder.name if layout.mask_folder else "none: evaluation is left out"
    shown = {name: Counter(n for key in ids for n in labels.get(key, ())) for name, ids in lists.items()}
    rows = {
        "images": [len(ids) for ids in lists.values()],
        "with a mask": [sum(map(layout.has_mask, ids)) for ids in lists.values()],
        "with labels": [sum(key in labels for key in ids) for ids in lists.values()],
    }
    for name in layout.class_names[1:]:
        rows[f"  {name}"] = [shown[each][name] for each in lists]
    width = max(map(len, rows))
    lines = [
        f"{layout.root}: {len(layout.files)} images, {layout.n_classes - 1} classes and {layout.class_names[0]}, "
        f"{len(labels)} labelled image{'s' * (len(labels) != 1)}; masks: {masks}",
        " ".join([" " * width, *(f"{name:>9}" for name in lists)]),
    ]
    for title, counts in rows.items():
        cells = [f"{count:>{max(9, len(name))}}" for name, count in zip(lists, counts)]
        lines.append(" ".join([f"{title:{width}}", *cells]))
    return "\n".join(lines)


def check(root):
    """Returns (text, Findings) of a data set. Raises UserError if it cannot be looked at."""
    if not os.path.exists(classes := Path(root) / "classes.txt"):
        raise UserError(f"{classes}: is missing: is this a data set's folder, and has prepare_dataset.py been run?")
    layout, findings = Layout(root), Findings()
    lists = read_lists(layout, findings)
    ids = list(dict.fromkeys(image_id for each in lists.values() for image_id in each))
    training = [name for name in lists if name.startswith("train") and "val" not in name]  # trainval is both
    trained = {image_id for name in training for image_id in lists[name]}
    check_lists(layout, lists, ids, trained, findings)
    check_names_of_masks(layout, findings)
    tops = check_files(layout, lists, ids, trained, findings)
    labels = read_labels(layout, lists, ids, trained, findings)
    check_classes_of_masks(layout, tops, labels, findings)
    return f"{summary(layout, lists, labels)}\n{findings}", findings


def _refuse(message):
    raise UserError(f"{message} (see --help)")


def main():
    parser = argparse.ArgumentParser(prog="data.check", description="Say what is wrong with a data set.")
    parser.add_argument("dataset", help="its folder, in VOC layout (docs/own_data.md)")
    parser.add_argument("--version", action="version", version=f"AE-SIPE {VERSION}")
    parser.error = _refuse
    sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    try:
        text, findings = check(parser.parse_args().dataset)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    status = 2 if findings.found[TRAINING] else 0
    try:
        print(text, flush=True)
    except BrokenPipeError:  # who reads our output has enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


if __name__ == "__main__":
    sys.exit(main())
