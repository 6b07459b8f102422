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

from conventions import BACKGROUND, IGNORE
from progress import progress_bar
from viz.network import SEEDS
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
    def precision(self):
        """Shares of right seeds before AE, where there is at least one seed, and after it, None if it left none."""
        before, after = self.right_before + self.wrong_before, self.right_after + self.wrong_after
        return self.right_before / before, self.right_after / after if after else None

    @property
    def verdict(self):
        """ "expanded", "repaired", "lost" or "kept", see the module."""
        before, after = self.precision
        if after is None:
            return "lost"
        if 0 < self.wrong_before < self.wrong_after and after - before <= -MARGIN:
            return "expanded"
        return "repaired" if self.wrong_after < self.wrong_before and after - before >= MARGIN else "kept"


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


def count_failures(artist, ids):
    """The SeedChanges of the network of an artist's first run over the images that have a mask and a label."""
    changes, layout = [], artist.layout
    for image_id in progress_bar("report: seeds before and after AE", ids):
        if layout.has_mask(image_id) and layout.is_labelled(image_id):
            before, after = (artist.maps(0, image_id)[name] for name in SEEDS)
            changes += seed_changes(image_id, before, after, nearest(layout.mask(image_id), before.shape))
    return changes


def draw_change(artist, change):
    """{title: picture} of a SeedChange: image, the class's seeds before and after AE in COLOURS, truth."""
    image, truth = artist.layout.image(change.image_id).permute(1, 2, 0).numpy(), artist.layout.mask(change.image_id)
    pictures = {"image": image}
    for name, title in zip(SEEDS, ("seeds before AE", "seeds after AE")):
        seeds = artist.maps(0, change.image_id)[name]
        cells = nearest(truth, seeds.shape)
        marks = np.where((seeds == change.label) & (cells != IGNORE), 1 + (cells != change.label), 0)
        pictures[title] = overlay(greyed(image), marks, COLOURS)
    return {title: thumbnail(picture) for title, picture in {**pictures, "truth": truth}.items()}


def failure_summary(changes, class_names):
    """Counts for the page: a dict, or None without changes.

    counts: Counter of the verdicts; images: of which changes are from; precision: (before, after) over all seeds;
    classes: [(name, judged, expanded, repaired)] by share of expanded; worst: the SeedChanges that AE expanded, by
    growth.
    """
    if not changes:
        return None
    verdicts = Counter((change.label, change.verdict) for change in changes)
    right, wrong, right_after, wrong_after = (sum(change[i] for change in changes) for i in range(2, 6))
    classes = []
    for label, judged in sorted(Counter(change.label for change in changes).items()):
        classes.append((class_names[label], judged, verdicts[label, "expanded"], verdicts[label, "repaired"]))
    expanded = [change for change in changes if change.verdict == "expanded"]
    return {
        "counts": Counter(change.verdict for change in changes),
        "judged": len(changes),
        "images": len({change.image_id for change in changes}),
        "precision": (right / (right + wrong), right_after / max(1, right_after + wrong_after)),
        "classes": sorted(classes, key=lambda row: -row[2] / row[1]),
        "margin": MARGIN,
        "worst": sorted(expanded, key=lambda change: (change.wrong_before - change.wrong_after) / change.cells),
    }
