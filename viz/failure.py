"""The paper's failure: a wrong seed that affinity enhancement (AE) expands.

Judged per image and foreground class, on the network's grid, with the truth resized to it by nearest; cells whose truth
is 255 are not counted. A seed of class k is wrong where the truth is not k. AE

- expands a wrong seed if there is one before it, there are more after it, and the share of right seeds (precision)
  falls by at least MARGIN;
- repairs a wrong seed if there is one before it, there are fewer after it, and the precision rises by at least MARGIN;
- loses a class that has seeds before it and none after.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from conventions import BACKGROUND, IGNORE
from viz.network import localize, seed_labels
from viz.pictures import greyed, nearest, overlay, thumbnail

MARGIN = 0.05
COLOURS = np.array(((0, 0, 0), (59, 142, 208), (224, 129, 47)), np.uint8)  # of no, right and wrong seeds


class SeedChange(NamedTuple):
    """Cells of one class in one image whose seed is right or wrong, before and after AE. cells: of the grid."""

    image_id: str
    label: int
    right_before: int
    wrong_before: int
    right_after: int
    wrong_after: int
    cells: int

    @property
    def precision_before(self):
        """Share of right seeds; there is at least one seed."""
        return self.right_before / (self.right_before + self.wrong_before)

    @property
    def precision_after(self):
        """None if AE left no seed."""
        total = self.right_after + self.wrong_after
        return self.right_after / total if total else None

    @property
    def verdict(self):
        """ "expanded", "repaired", "lost" or "kept", see the module."""
        if self.precision_after is None:
            return "lost"
        gain = self.precision_after - self.precision_before
        if self.wrong_before and self.wrong_after > self.wrong_before and gain <= -MARGIN:
            return "expanded"
        if self.wrong_after < self.wrong_before and gain >= MARGIN:
            return "repaired"
        return "kept"

    @property
    def growth(self):
        """Wrong cells that AE added, as a share of the grid."""
        return (self.wrong_after - self.wrong_before) / self.cells


def seed_changes(image_id, before, after, truth):
    """The SeedChange of each foreground class that has a counted seed before AE.

    before, after: class indices of the seeds [h,w], 255 where there is none. truth: on the same grid.
    """
    known, changes = truth != IGNORE, []
    for label in np.setdiff1d(before[known], (BACKGROUND, IGNORE)):
        counts = [
            int((known & (seeds == label) & is_right).sum())
            for seeds in (before, after)
            for is_right in (truth == label, truth != label)
        ]
        changes.append(SeedChange(image_id, int(label), *counts, int(truth.size)))
    return changes


def count_failures(layout, model, ids):
    """The SeedChanges of a network over the images that have a mask and a label; one forward pass each."""
    changes = []
    for image_id in tqdm(ids, desc="report: seeds before and after AE", unit="image", dynamic_ncols=True):
        if layout.has_mask(image_id) and layout.is_labelled(image_id):
            maps = localize(model, layout.image(image_id), layout.labels(image_id))
            before, after = (seed_labels(maps["keys"], maps[name]) for name in ("seeds", "ae_seeds"))
            changes += seed_changes(image_id, before, after, nearest(layout.mask(image_id), before.shape))
    return changes


def draw_change(layout, model, change):
    """{title: picture} of a SeedChange: image, the class's seeds before and after AE in COLOURS, truth."""
    pixels, truth = layout.image(change.image_id), layout.mask(change.image_id)
    image, maps = pixels.permute(1, 2, 0).numpy(), localize(model, pixels, layout.labels(change.image_id))
    pictures = {"image": image}
    for name, title in (("seeds", "seeds before AE"), ("ae_seeds", "seeds after AE")):
        seeds = seed_labels(maps["keys"], maps[name])
        cells = nearest(truth, seeds.shape)
        marks = np.where((seeds == change.label) & (cells != IGNORE), 1 + (cells != change.label), 0)
        pictures[title] = overlay(greyed(image), marks, COLOURS)
    return {title: thumbnail(picture) for title, picture in {**pictures, "truth": truth}.items()}


def failure_summary(changes, class_names):
    """Counts for the page: a dict, or None without changes.

    counts: {verdict: number}; images: of which changes are from; precision: (before, after) over all seeds;
    classes: [(name, judged, expanded, repaired)] by share of expanded; worst: the SeedChanges that AE expanded, by
    growth.
    """
    if not changes:
        return None
    counts = dict.fromkeys(("expanded", "repaired", "lost", "kept"), 0) | Counter(each.verdict for each in changes)
    right, wrong, right_after, wrong_after = (sum(change[i] for change in changes) for i in range(2, 6))
    classes = []
    for label in sorted({change.label for change in changes}):
        own = [change.verdict for change in changes if change.label == label]
        classes.append((class_names[label], len(own), own.count("expanded"), own.count("repaired")))
    expanded = [change for change in changes if change.verdict == "expanded"]
    return {
        "counts": counts,
        "judged": len(changes),
        "images": len({change.image_id for change in changes}),
        "precision": (right / (right + wrong), right_after / max(1, right_after + wrong_after)),
        "classes": sorted(classes, key=lambda row: -row[2] / row[1]),
        "margin": MARGIN,
        "worst": sorted(expanded, key=lambda change: -change.growth),
    }
