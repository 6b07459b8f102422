"""What a dataset in the layout of `data.layout` holds, and all that is wrong with it.

    python -m data.check DATASET

Images whose headers and ends are as they should be are not decoded; masks are. Ends with status 2 if training
could not work, else with 0, even where evaluation would stop.
"""

import argparse
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from conventions import IGNORE
from data.image import IMAGE_SUFFIXES
from data.layout import Layout, read_label_lines
from data.usable import check_image
from errors import UserError

TRAINING, EVALUATION, NOTE = "Training could not work", "Evaluation would stop or mislead", "Worth a look"
EXAMPLES = 10
USED_LISTS = {"train_aug", "train", "val"}  # by run_pipeline.sh unless told otherwise


class Findings:
    """What is wrong: {severity: {kind: examples}}."""

    def __init__(self):
        self.found = {TRAINING: {}, EVALUATION: {}, NOTE: {}}

    def add(self, severity, kind, example):
        self.found[severity].setdefault(kind, []).append(str(example))

    def __str__(self):
        lines = []
        for severity, kinds in self.found.items():
            lines += [f"\n{severity}:"] if kinds else []
            for kind, examples in kinds.items():
                more = f" and {len(examples) - EXAMPLES} more" if len(examples) > EXAMPLES else ""
                lines.append(f"  {kind} ({len(examples)}): {'; '.join(examples[:EXAMPLES])}{more}")
        return "\n".join(lines) or "\nNothing is wrong."


def is_training(list_name):
    return list_name.startswith("train")


def check_lists(layout, findings):
    """Returns {list: its IDs, each once} of the lists that can be read."""
    lists = {}
    for name in sorted({path.stem for path in (layout.root / "lists").glob("*.txt")} | USED_LISTS):
        try:
            ids = layout.ids(name)
        except UserError as error:
            severity = TRAINING if name == "train_aug" else EVALUATION
            findings.add(severity, "lists missing or wrong", error)
            continue
        for image_id in (image_id for image_id, times in Counter(ids).items() if times > 1):
            findings.add(NOTE, "IDs more than once in a list", f"{image_id} in {name}")
        lists[name] = list(dict.fromkeys(ids))
    trained = {image_id for name, ids in lists.items() if is_training(name) for image_id in ids}
    for name, ids in lists.items():
        for image_id in ids if not is_training(name) else ():
            if image_id in trained:
                findings.add(EVALUATION, "training images in a list to test on", f"{image_id} in {name}")
    return lists


def check_labels(layout, lists, findings):
    """Returns {ID: its known classes} as image_labels.txt says."""
    labels = {}
    try:
        lines = list(read_label_lines(layout.root / "image_labels.txt"))
    except UserError as error:
        findings.add(TRAINING, "labels missing or wrong", error)
        return labels
    known = set(layout.class_names[1:])
    for number, image_id, names in lines:
        for name in sorted(set(names) - known):
            findings.add(TRAINING, "classes that classes.txt lacks", f"{name!r} in line {number} of image_labels.txt")
        if image_id in labels:
            findings.add(TRAINING, "IDs with two lines in image_labels.txt", f"{image_id}, line {number}")
        labels[image_id] = known & set(names)
    trained = {image_id: name for name, ids in lists.items() if is_training(name) for image_id in ids}
    for image_id, name in trained.items():
        if image_id not in labels:
            findings.add(TRAINING, "training images without a line in image_labels.txt", f"{image_id} in {name}")
        elif not labels[image_id]:
            findings.add(NOTE, "training images without any class", f"{image_id} in {name}")
    counts = Counter(name for image_id in lists.get("train_aug", ()) for name in labels.get(image_id, ()))
    for name in layout.class_names[1:]:
        if not counts[name]:
            findings.add(NOTE, "classes without an image in train_aug", name)
    if not counts:
        findings.add(TRAINING, "labels missing or wrong", "no image of train_aug has a class")
    return labels


def image_problems(layout, image_id):
    """A list of (kind, example) of the image's file and mask, and whether each concerns the mask."""
    found = []
    names = layout.files().get(image_id, ())
    size = None
    try:
        size = check_image(layout, image_id)
    except UserError as error:
        if not names:
            suffixed = any(image_id.lower().endswith(suffix) for suffix in IMAGE_SUFFIXES)
            found.append(("images missing", image_id + " (IDs have no suffix)" * suffixed, False))
        else:
            found.append(("images unreadable" if len(names) == 1 else "IDs of two files", error, False))
    if not layout.has_mask(image_id):
        return found
    try:
        mask = layout.mask(image_id)
    except UserError as error:
        return [*found, ("masks unreadable", error, True)]
    if size is not None and mask.shape != size:
        found.append(
            ("masks of another size than their image", f"{image_id}: mask {list(mask.shape)}, image {list(size)}", True)
        )
    wrong = mask[(mask >= layout.n_classes) & (mask != IGNORE)]
    if wrong.size:
        found.append(
            (
                f"masks with values other than 0 to {layout.n_classes - 1} and {IGNORE}",
                f"{image_id}: {wrong.max()}",
                True,
            )
        )
    return found


def check_files(layout, lists, findings):
    """Images and masks of all lists."""
    lists_of = {}
    for name, ids in lists.items():
        for image_id in ids:
            lists_of.setdefault(image_id, []).append(name)
    with ThreadPoolExecutor(8) as pool:
        for image_id, problems in zip(lists_of, pool.map(lambda each: image_problems(layout, each), lists_of)):
            for kind, example, of_mask in problems:
                trains = not of_mask and any(map(is_training, lists_of[image_id]))
                findings.add(TRAINING if trains else EVALUATION, kind, example)
    for name, ids in lists.items():
        lacking = [image_id for image_id in ids if not layout.has_mask(image_id)]
        if len(lacking) < len(ids):  # a list without any mask is not evaluated, and that is no error
            for image_id in lacking:
                findings.add(EVALUATION, f"images without a mask in {name}, where others have one", image_id)
    unused = sorted(layout.files().keys() - lists_of.keys())
    for image_id in unused:
        findings.add(NOTE, "images in no list", image_id)


def summary(layout, lists, labels):
    """What was found: counts, and a table of the classes' images in each list."""
    masks = layout.mask_folder.name if layout.mask_folder else "none: evaluation is left out"
    lines = [
        f"{layout.root}: {len(layout.files())} images, {layout.n_classes - 1} classes and "
        f"{layout.class_names[0]}, {len(labels)} labelled images; masks: {masks}"
    ]
    rows = {
        "images": {name: len(ids) for name, ids in lists.items()},
        "with a mask": {name: sum(map(layout.has_mask, ids)) for name, ids in lists.items()},
        "with labels": {name: sum(image_id in labels for image_id in ids) for name, ids in lists.items()},
    }
    for class_name in layout.class_names[1:]:
        rows[f"  {class_name}"] = {
            name: sum(class_name in labels.get(image_id, ()) for image_id in ids) for name, ids in lists.items()
        }
    width = max(map(len, rows))
    lines.append(" ".join([" " * width, *(f"{name:>9}" for name in lists)]))
    for title, cells in rows.items():
        lines.append(" ".join([f"{title:{width}}", *(f"{cells[name]:>{max(9, len(name))}}" for name in lists)]))
    return "\n".join(lines)


def check(root):
    """Returns (text, Findings) of a dataset. Raises UserError if it cannot be looked at."""
    layout, findings = Layout(root), Findings()
    layout.files()  # one listing, before threads ask for it; without a folder of images there is nothing to check
    lists = check_lists(layout, findings)
    labels = check_labels(layout, lists, findings)
    check_files(layout, lists, findings)
    return f"{summary(layout, lists, labels)}\n{findings}", findings


def main():
    parser = argparse.ArgumentParser(prog="data.check", description="Say what is wrong with a dataset.")
    parser.add_argument("dataset", help="its folder, in VOC layout (docs/own_data.md)")
    sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    try:
        text, findings = check(parser.parse_args().dataset)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text)
    return 2 if findings.found[TRAINING] else 0


if __name__ == "__main__":
    sys.exit(main())
